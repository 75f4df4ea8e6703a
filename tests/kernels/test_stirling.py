"""The constants of Stirling's remainder, against 50-digit arithmetic; `model.test_stirling` has its slope."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from zinbtools.kernels.double import polynomial
from zinbtools.kernels.stirling import DOUBLE, SINGLE


@pytest.mark.parametrize(("coefficients", "tolerance"), [(SINGLE, 7e-10), (DOUBLE, 4e-16)])
def test_remainder(coefficients: tuple[float, ...], tolerance: float) -> None:
    """Of t from 1 on, times t."""
    for t in (*np.linspace(1, 20, 58), 1e3, 1e6):
        with mpmath.workdps(50):
            stirling = (t - mpmath.mpf(1) / 2) * mpmath.log(t) - t + mpmath.log(2 * mpmath.pi) / 2
            exact = float(t * (mpmath.loggamma(t) - stirling))
        assert abs(polynomial(coefficients, 1 / t) - exact) < tolerance
