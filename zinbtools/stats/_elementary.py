"""Logarithm and exponential in double precision that the compiler turns into vector instructions.

The C library's are called one number at a time. These are free of branches and good to a few units in the
last place.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Who is silent on fastmath gets what the first caller has, and these rely on the order of their terms.
compiled = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
inlined = njit(cache=True, fastmath=False, error_model="numpy", forceinline=True)
# For loops that only add up: the order of the terms is free, so that eight are added at once. No licence to
# assume that nothing is infinite or NaN: failures must show.
summed = njit(cache=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")

_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # the upper part has zeros at its end
_SQRT_HALF = np.int64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
_ONE = np.int64(1023)
_TO_WHOLE = 6755399441055744.0  # 1.5 * 2^52: what is added to it is rounded, and stands in the lowest bits


@inlined
def log1p(u: float) -> float:
    """``log(1 + u)`` for ``u >= 0``."""
    t = 1.0 + u
    bits = np.float64(t).view(np.int64)
    exponent = (bits - _SQRT_HALF) >> 52
    f = np.int64(bits - (exponent << 52)).view(np.float64) - 1.0
    lost = (u - (t - 1.0)) / t  # what rounding took from 1 + u
    # log(1 + f) = 2 artanh(s), and s is below 0.172
    s = f / (2.0 + f)
    z = s * s
    p = 2.0 / 21.0
    p = p * z + 2.0 / 19.0
    p = p * z + 2.0 / 17.0
    p = p * z + 2.0 / 15.0
    p = p * z + 2.0 / 13.0
    p = p * z + 2.0 / 11.0
    p = p * z + 2.0 / 9.0
    p = p * z + 2.0 / 7.0
    p = p * z + 2.0 / 5.0
    p = p * z + 2.0 / 3.0
    p = p * z + 2.0
    e = np.float64(exponent)
    return e * _LN2_HIGH + (s * p + (e * _LN2_LOW + lost))


@inlined
def exp(x: float) -> float:
    """``e^x``; arguments beyond +-700 count as +-700."""
    x = min(max(x, -700.0), 700.0)
    shifted = np.float64(x * 1.4426950408889634 + _TO_WHOLE)
    n = shifted - _TO_WHOLE
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * np.int64((shifted.view(np.int64) + _ONE) << 52).view(np.float64)
