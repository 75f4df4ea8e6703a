"""Sums of multiples of a matrix's rows, which stay in the processor's registers until they are complete."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .single import inlined, load

_LANES = 16 if get_host_cpu_features().get("avx512f", False) else 8  # numbers in a vector
_WIDE = 8 * _LANES  # as many vectors at a time as leave registers for what is read
_INDEX = ir.IntType(64)
_SINGLES, _BITS, _HALVES = (
    ir.VectorType(number, _LANES) for number in (ir.FloatType(), ir.IntType(32), ir.IntType(16))
)


@inlined
def add_rows(matrix: np.ndarray, which: np.ndarray, factors: np.ndarray, total: np.ndarray) -> None:
    """Sum up multiples of rows of a matrix, (N, H), float32 or bfloat16, one after the other."""
    n_wide, n_vectors = total.size // _WIDE * _WIDE, total.size // _LANES * _LANES
    for h in range(0, n_wide, _WIDE):
        _add_wide(matrix, which, factors, total, h)
    for h in range(n_wide, n_vectors, _LANES):
        _add_vector(matrix, which, factors, total, h)
    for h in range(n_vectors, total.size):
        total[h] = 0
        for i in range(which.size):
            total[h] += factors[i] * load(matrix[which[i]], h)


def _adder(width: int) -> Any:
    """Make the function that fills ``width`` numbers of the total, from ``first`` on, by vectors."""

    @intrinsic
    def add(typing_context: Any, matrix: Any, which: Any, factors: Any, total: Any, first: Any) -> Any:
        halved = matrix.dtype != types.float32

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            *arrays, start = arguments
            rows, places, multiples, sums = (
                context.make_array(kind)(context, builder, array)
                for kind, array in zip(signature.args, arrays, strict=False)
            )
            n_units = cgutils.unpack_tuple(builder, rows.shape, 2)[1]
            (n,) = cgutils.unpack_tuple(builder, places.shape, 1)

            def vector(data: Any, at: Any, k: int, kind: Any) -> Any:
                """Point to vector ``k`` from a place of an array on."""
                at = builder.add(at, ir.Constant(_INDEX, k * _LANES))
                return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())

            # variables that the compiler keeps in registers
            parts = [
                cgutils.alloca_once_value(builder, ir.Constant(_SINGLES, None))
                for _ in range(width // _LANES)
            ]
            with cgutils.for_range(builder, n, intp=_INDEX) as loop:
                place = builder.load(builder.gep(places.data, [loop.index]))
                if place.type != _INDEX:
                    place = builder.sext(place, _INDEX)
                row = builder.add(builder.mul(place, n_units), start)
                multiple = _everywhere(builder, builder.load(builder.gep(multiples.data, [loop.index])))
                for k, part in enumerate(parts):
                    if halved:
                        bits = builder.zext(builder.load(vector(rows.data, row, k, _HALVES), align=2), _BITS)
                        bits = builder.shl(bits, ir.Constant(_BITS, [16] * _LANES))
                        numbers = builder.bitcast(bits, _SINGLES)
                    else:
                        numbers = builder.load(vector(rows.data, row, k, _SINGLES), align=4)
                    term = builder.fmul(numbers, multiple, flags=["contract"])
                    builder.store(builder.fadd(builder.load(part), term, flags=["contract"]), part)
            for k, part in enumerate(parts):
                builder.store(builder.load(part), vector(sums.data, start, k, _SINGLES), align=4)
            return context.get_dummy_value()

        return types.void(matrix, which, factors, total, types.int64), generate

    return add


def _everywhere(builder: Any, number: Any) -> Any:
    """Fill a vector with a number."""
    unset, first = ir.Constant(_SINGLES, ir.Undefined), ir.Constant(_BITS, None)
    return builder.shuffle_vector(builder.insert_element(unset, number, ir.IntType(32)(0)), unset, first)


_add_wide, _add_vector = _adder(_WIDE), _adder(_LANES)
