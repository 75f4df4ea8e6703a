"""Elementary functions in single precision that the compiler turns into vector instructions.

The C library's are called one number at a time. These are branch-free, so that a loop over an array runs on
eight or sixteen numbers at once, and good to two units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .compiling import cached_njit

f32 = np.float32
i32 = np.int32
u16 = np.uint16
u32 = np.uint32

# No licence to assume that nothing is infinite or NaN: failures must show.
FAST = {"reassoc", "contract", "nsz", "arcp"}

compiled = cached_njit(nogil=True, fastmath=FAST, error_model="numpy")
# Inlined always: where they were not, which of two equally named copies is called, and with it the rounding,
# would depend on whether the caller came from numba's cache.
inlined = cached_njit(fastmath=FAST, error_model="numpy", forceinline=True)

_VECTOR = 16  # numbers of 32 bits
_LN2 = f32(0.69314718)
_LN2_HIGH = f32(0.693359375)  # 9 bits, so that its multiples are exact, and so are those of the rest
_LN2_LOW = _LN2 - _LN2_HIGH
_SQRT_HALF = i32(0x3F3504F3)  # the bits of sqrt(1/2)


@compiled
def whole_vectors(n: int) -> int:
    """``n`` rounded up, so that a loop has no last few entries to be taken one by one."""
    return (n + _VECTOR - 1) // _VECTOR * _VECTOR


@inlined
def exp(x: np.float32) -> np.float32:
    """``e^x``; arguments beyond +-87 count as +-87."""
    x = min(max(x, f32(-87)), f32(87))
    n = np.floor(x * f32(1.44269504) + f32(0.5))
    r = _reduced(x, n)
    # minimax polynomial of (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2
    p = f32(1.9875691e-4)
    p = p * r + f32(1.3981999e-3)
    p = p * r + f32(8.3334519e-3)
    p = p * r + f32(4.1665796e-2)
    p = p * r + f32(1.6666666e-1)
    p = p * r + f32(0.5)
    return (p * r * r + r + f32(1)) * _power_of_2(i32(n))


@cached_njit(fastmath={"contract"}, error_model="numpy", forceinline=True)
def _reduced(x: np.float32, n: np.float32) -> np.float32:
    """``x - n log(2)``; with leave to reassociate, the compiler would add up the two parts of log(2)."""
    return x - n * _LN2_HIGH - n * _LN2_LOW


@inlined
def log(x: np.float32) -> np.float32:
    """Natural logarithm of a positive number."""
    exponent = _exponent(x)
    mantissa = i32(f32(x).view(np.int32) - (exponent << 23)).view(np.float32)
    return f32(exponent) * _LN2 + _log1p_near(mantissa - f32(1))


@inlined
def log_ratio(ratio: np.float32, ratio_minus_one: np.float32) -> np.float32:
    """``log(ratio)`` of a positive ratio whose difference from 1 is known exactly."""
    exponent = _exponent(ratio)
    mantissa = i32(f32(ratio).view(np.int32) - (exponent << 23)).view(np.float32)
    f = ratio_minus_one if exponent == 0 else mantissa - f32(1)
    return f32(exponent) * _LN2 + _log1p_near(f)


@inlined
def log1p(x: np.float32) -> np.float32:
    """``log(1 + x)`` for ``x > -1``, exact for small ``x`` too."""
    exponent = _exponent(x + f32(1))
    scale = _power_of_2(-exponent)
    return f32(exponent) * _LN2 + _log1p_near(x * scale + (scale - f32(1)))


@inlined
def _exponent(x: np.float32) -> np.int32:
    """``k`` such that ``x / 2^k`` lies between the square roots of 1/2 and 2."""
    return i32((f32(x).view(np.int32) - _SQRT_HALF) >> 23)


@inlined
def _power_of_2(k: np.int32) -> np.float32:
    return i32((k + 127) << 23).view(np.float32)


@inlined
def _log1p_near(f: np.float32) -> np.float32:
    """``log(1 + f)`` for ``sqrt(1/2) <= 1 + f < sqrt(2)``, by a minimax polynomial."""
    p = f32(7.0376836e-2)
    p = p * f + f32(-1.1514610e-1)
    p = p * f + f32(1.1676998e-1)
    p = p * f + f32(-1.2420141e-1)
    p = p * f + f32(1.4249323e-1)
    p = p * f + f32(-1.6668057e-1)
    p = p * f + f32(2.0000714e-1)
    p = p * f + f32(-2.4999994e-1)
    p = p * f + f32(3.3333331e-1)
    square = f * f
    return p * f * square - f32(0.5) * square + f


@inlined
def sortable(x: np.float32) -> np.int32:
    """Map to an integer that sorts as numbers do: the maximum of integers becomes vector instructions."""
    return _flip(f32(x).view(np.int32))


@inlined
def from_sortable(key: np.int32) -> np.float32:
    """Return the number whose `sortable` it is."""
    return i32(_flip(key)).view(np.float32)


@inlined
def _flip(bits: np.int32) -> np.int32:
    return i32(bits ^ ((bits >> 31) & 0x7FFFFFFF))  # floats are sign and magnitude


@inlined
def to_bfloat16(x: np.float32) -> np.uint16:
    """Round to the upper half of a number's bits."""
    bits = f32(x).view(np.uint32)
    return u16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


@inlined
def from_bfloat16(half: np.uint16) -> np.float32:
    """Read sixteen bits as a bfloat16 number."""
    return u32(u32(half) << 16).view(np.float32)


def load(row: np.ndarray, i: int) -> np.float32:
    """Entry ``i``: of float32, or of uint16 that holds the bits of bfloat16."""
    raise NotImplementedError("for compiled code only")


def store(row: np.ndarray, i: int, value: np.float32) -> None:
    """Set entry ``i``, as `load` reads it."""
    raise NotImplementedError("for compiled code only")


@overload(load)
def _load(row: Any, i: Any) -> Any:
    def single(row: Any, i: Any) -> Any:
        return row[i]

    def half(row: Any, i: Any) -> Any:
        return from_bfloat16(row[i])

    return single if row.dtype == types.float32 else half


@overload(store)
def _store(row: Any, i: Any, value: Any) -> Any:
    def single(row: Any, i: Any, value: Any) -> None:
        row[i] = value

    def half(row: Any, i: Any, value: Any) -> None:
        row[i] = to_bfloat16(value)

    return single if row.dtype == types.float32 else half
