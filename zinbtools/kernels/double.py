"""Logarithm and exponential in double precision that the compiler turns into vector instructions.

The C library's are called one number at a time. These are free of branches and good to a few units in the
last place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from .compiling import cached_njit

f64 = np.float64
i64 = np.int64

# Who is silent on fastmath gets what the first caller has, and these rely on the order of their terms.
EXACT = {"fastmath": False, "error_model": "numpy"}
compiled = cached_njit(nogil=True, **EXACT)
inlined = cached_njit(fastmath={"contract"}, error_model="numpy", forceinline=True)
# What one other function calls is compiled within it, and not once for itself and once more there.
merged = cached_njit(nogil=True, inline="always", **EXACT)
# For loops that only add up: the order of the terms is free, so that eight are added at once. No licence to
# assume that nothing is infinite or NaN: failures must show.
summed = cached_njit(fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")

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


@intrinsic
def wide_vectors(typing_context: Any) -> Any:
    """Let the compiler use vectors of 512 bits in the function that calls this; by default it uses 256.

    A loop of exponentials and logarithms takes half the time then.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite knows attributes without value only, but writes what is in the set
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@inlined
def polynomial(coefficients: tuple[float, ...], x: np.float64) -> np.float64:
    """Evaluate a polynomial whose coefficients are in rising order of their powers."""
    last = len(coefficients) - 1
    value = f64(coefficients[last])
    for k in range(last - 1, -1, -1):
        value = value * x + coefficients[k]
    return value


@inlined
def exp(x: np.float64) -> np.float64:
    """``e^x``; arguments beyond +-708 count as +-708."""
    x = min(max(x, f64(-708)), f64(708))
    shifted = x * f64(1 / math.log(2)) + _TO_WHOLE
    n = shifted - _TO_WHOLE
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    # the number that stands in the lowest bits goes into the exponent's place, and the others fall out
    power = i64((f64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    return (polynomial(_EXP, r) * r * r + r + f64(1)) * power


@inlined
def log(x: np.float64) -> np.float64:
    """Natural logarithm of a positive normal number."""
    exponent = _exponent(x)
    reduced = i64(f64(x).view(np.int64) - (exponent << 52)).view(np.float64)
    return f64(exponent) * _LN2 + _log1p_near(reduced - f64(1))


@inlined
def mantissa(bits: np.int64) -> np.float64:
    """Read the mantissa, 1 to 2, of a positive normal number; ``bits >> 52`` is its exponent plus 1023."""
    return i64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)


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
    """Map to an integer that sorts as numbers do: the maximum of integers becomes vector instructions."""
    return _flip(f64(x).view(np.int64))


@inlined
def from_sortable(key: np.int64) -> np.float64:
    """Return the number whose `sortable` it is."""
    return i64(_flip(key)).view(np.float64)


@inlined
def _flip(bits: np.int64) -> np.int64:
    return i64(bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF))  # floats are sign and magnitude
