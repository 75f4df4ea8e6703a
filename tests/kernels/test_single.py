"""Elementary functions in single precision, against double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit

from zinbtools.kernels import single

f32 = np.float32


@pytest.fixture(scope="module")
def apply():
    """A compiled loop over an array, as the kernels have it."""
    loops = {}

    def over(function, x):
        if function not in loops:

            @njit(fastmath=single.FAST)
            def loop(x, out):
                for i in range(x.size):
                    out[i] = function(x[i])

            loops[function] = loop
        out = np.empty_like(x)
        loops[function](x, out)
        return out

    return over


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("exp", np.linspace(-86.9, 86.9, 20_001)),
        ("log", np.logspace(-37, 37, 20_001)),
        ("log1p", np.concatenate([np.logspace(-20, 30, 20_001), -np.logspace(-20, -0.01, 2_001)])),
    ],
)
def test_relative_error_is_a_few_units_in_the_last_place(apply, name, x):
    x = x.astype(f32)
    expected = getattr(np, name)(x.astype(float))
    np.testing.assert_allclose(apply(getattr(single, name), x), expected, rtol=4e-7, atol=1e-37)


@pytest.mark.parametrize(("x", "limit"), [(-1e30, -87), (-np.inf, -87), (200, 87), (np.inf, 87)])
def test_exp_is_clipped(apply, x, limit):
    np.testing.assert_allclose(apply(single.exp, np.array([x], f32)), np.exp(float(limit)), rtol=1e-6)


def test_log_ratio_is_exact_near_one(apply):
    difference = np.concatenate([np.logspace(-12, 3, 501), -np.logspace(-12, -0.3, 501)]).astype(f32)

    @njit(fastmath=single.FAST)
    def loop(difference, out):
        for i in range(difference.size):
            out[i] = single.log_ratio(f32(1) + difference[i], difference[i])

    out = np.empty_like(difference)
    loop(difference, out)
    np.testing.assert_allclose(out, np.log1p(difference.astype(float)), rtol=4e-7)


def test_keys_sort_as_the_numbers_do():
    x = np.array([-np.inf, -3.5, -1e-30, 0.0, 1e-38, 2.0, np.inf], f32)
    keys = [single.sortable(value) for value in x]
    assert keys == sorted(keys)
    assert [single.from_sortable(np.int32(key)) for key in keys] == x.tolist()


def test_bfloat16_is_torchs():
    x = np.random.default_rng(0).normal(0, 100, 1000).astype(f32)
    ours = np.array([single.to_bfloat16(value) for value in x], np.uint16)
    theirs = torch.tensor(x).bfloat16()
    np.testing.assert_array_equal(ours, theirs.view(torch.int16).numpy().view(np.uint16))
    back = [single.from_bfloat16(half) for half in ours]
    np.testing.assert_array_equal(back, theirs.float())
