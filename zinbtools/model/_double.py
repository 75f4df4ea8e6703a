"""As `_vector`, in double precision: exponential and logarithm as vector instructions, good to 1e-13."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ._vector import inlined

f64 = np.float64
i64 = np.int64

_LN2_HIGH = f64(0.693145751953125)  # 16 bits, so that its multiples are exact
_LN2_LOW = f64(math.log(2) - 0.693145751953125 + 2.3190468138462996e-17)
_LN2 = f64(math.log(2))
_SQRT_HALF = i64(np.sqrt(np.float64(0.5)).view(np.int64))

# 2 atanh(s) = 2 s + s^3 P(s^2): Chebyshev interpolant of P for |s| < 0.172, to 3e-16
_ATANH = (
    0.666666666666667,
    0.39999999999899444,
    0.2857142862600327,
    0.22222211130259878,
    0.1818288945567496,
    0.15331710618210337,
    0.14616585424893172,
)
# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2: Chebyshev interpolant, to 7e-15
_EXP = (
    0.5,
    0.1666666666664829,
    0.04166666666665136,
    0.008333333353729397,
    0.0013888888905881542,
    0.00019841208732536384,
    2.4801536388690766e-05,
    2.762511557828763e-06,
    2.761380686153829e-07,
)
_TO_WHOLE = f64(1.5 * 2**52)  # what is added to it is rounded, and stands in the lowest bits


@inlined
def polynomial(coefficients: tuple[float, ...], x: np.float64) -> np.float64:
    last = len(coefficients) - 1
    value = f64(coefficients[last])
    for k in range(last - 1, -1, -1):
        value = value * x + coefficients[k]
    return value


@inlined
def exp(x: np.float64) -> np.float64:
    """``e^x``; arguments beyond +-708 count as +-708."""
    x = min(max(x, f64(-708)), f64(708))
    shifted = _add(x * f64(1 / math.log(2)), _TO_WHOLE)
    n = _add(shifted, -_TO_WHOLE)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    # the number that stands in the lowest bits goes into the exponent's place, and the others fall out
    power = i64((f64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    return (polynomial(_EXP, r) * r * r + r + f64(1)) * power


@njit(cache=True, fastmath=False, forceinline=True)
def _add(a: np.float64, b: np.float64) -> np.float64:
    """The sum, rounded as it stands: the compiler may not cancel one such sum against another."""
    return a + b


@inlined
def log(x: np.float64) -> np.float64:
    """Natural logarithm of a positive normal number."""
    exponent, mantissa = parts(x)
    return f64(exponent) * _LN2 + _log1p_near(mantissa - f64(1))


@inlined
def parts(x: np.float64) -> tuple[np.int64, np.float64]:
    """``k`` and ``x / 2^k`` between the square roots of 1/2 and 2, of a positive normal number."""
    exponent = _exponent(x)
    return exponent, i64(f64(x).view(np.int64) - (exponent << 52)).view(np.float64)


@inlined
def log1p(x: np.float64) -> np.float64:
    """``log(1 + x)`` for ``x > -1``, exact for small ``x`` too."""
    exponent = _exponent(x + f64(1))
    scale = _power_of_2(-exponent)
    return f64(exponent) * _LN2 + _log1p_near(x * scale + (scale - f64(1)))


@inlined
def _exponent(x: np.float64) -> np.int64:
    return i64((f64(x).view(np.int64) - _SQRT_HALF) >> 52)


@inlined
def _power_of_2(k: np.int64) -> np.float64:
    return i64((k + 1023) << 52).view(np.float64)


@inlined
def _log1p_near(f: np.float64) -> np.float64:
    """``log(1 + f)`` for ``sqrt(1/2) <= 1 + f < sqrt(2)``."""
    s = f / (f64(2) + f)
    square = s * s
    return f64(2) * s + s * square * polynomial(_ATANH, square)


@inlined
def sortable(x: np.float64) -> np.int64:
    """See `_vector.sortable`."""
    return _flip(f64(x).view(np.int64))


@inlined
def from_sortable(key: np.int64) -> np.float64:
    """The number whose `sortable` it is."""
    return i64(_flip(key)).view(np.float64)


@inlined
def _flip(bits: np.int64) -> np.int64:
    return i64(bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF))  # floats are sign and magnitude
