"""The Stirling remainder against 50-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from zinbtools.model import stirling as _stirling

mpmath.mp.dps = 50

POINTS = np.concatenate([np.geomspace(1e-3, 1, 40), np.linspace(1, 12, 60), np.geomspace(12, 1e8, 40)])


def exact(t: float) -> float:
    t = mpmath.mpf(float(t))
    stirling = (t - mpmath.mpf(1) / 2) * mpmath.log(t) - t + mpmath.log(2 * mpmath.pi) / 2
    return mpmath.loggamma(t) - stirling


def exact_slope(t: float) -> float:
    t = mpmath.mpf(float(t))
    return mpmath.digamma(t) - mpmath.log(t) + 1 / (2 * t)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 5e-13), (torch.float32, 3e-7)])
@pytest.mark.parametrize(
    ("function", "reference", "smallest"),
    [
        (_stirling.remainder, exact, 1),
        (_stirling.remainder_slope, exact_slope, 1),
        (_stirling.remainder_from_zero, exact, 0),
        (_stirling.remainder_slope_from_zero, exact_slope, 0),
    ],
)
def test_agrees_with_exact_values(function, reference, smallest, dtype, tolerance):
    t = torch.tensor(POINTS[smallest <= POINTS], dtype=dtype)
    expected = np.array([float(reference(value)) for value in t.tolist()])
    error = np.abs(function(t).double().numpy() - expected)
    assert (error <= tolerance * np.maximum(1, np.abs(expected))).all()
