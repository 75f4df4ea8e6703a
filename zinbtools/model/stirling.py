"""The remainder of Stirling's formula and its slope, on tensors; what it is: `kernels.stirling`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels.stirling import DOUBLE, SINGLE


def remainder(t: Tensor) -> Tensor:
    """``S(t)`` for ``t >= 1``."""
    w = t.reciprocal()
    return _polynomial(_coefficients(t), w) * w


def remainder_slope(t: Tensor) -> Tensor:
    """``dS/dt`` for ``t >= 1``."""
    w = t.reciprocal()
    rising = [(k + 1) * c for k, c in enumerate(_coefficients(t))]
    return -_polynomial(rising, w) * w * w


def remainder_from_zero(t: Tensor) -> Tensor:
    """``S(t)`` for any ``t > 0``, by ``S(t) = S(t + 1) + (t + 1/2) log(1 + 1/t) - 1``."""
    return remainder(t + 1) + (t + 0.5) * torch.log1p(t.reciprocal()) - 1


def remainder_slope_from_zero(t: Tensor) -> Tensor:
    """``dS/dt`` for any ``t > 0``."""
    return remainder_slope(t + 1) + torch.log1p(t.reciprocal()) - (t + 0.5) / (t * (t + 1))


def _coefficients(t: Tensor) -> Sequence[float]:
    return DOUBLE if t.dtype == torch.float64 else SINGLE


def _polynomial(coefficients: Sequence[float], w: Tensor) -> Tensor:
    value = w * coefficients[-1] + coefficients[-2]
    for c in reversed(coefficients[:-2]):
        value = value * w + c
    return value
