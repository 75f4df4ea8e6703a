"""The functions that compiled code uses in the place of the C library's, against 50-digit arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from zinbtools.kernels import double

NEAR = np.random.default_rng(0).normal(0, 1e-3, 1000)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("log1p", [0, *10 ** np.arange(-18, 18, 0.2), *np.linspace(-0.999, 5, 101), *NEAR]),
        ("exp", [*np.linspace(-708, 708, 301), *np.linspace(-1, 1, 101), -1e-17, *NEAR]),
        ("log", [*10.0 ** np.arange(-300, 300, 2.7), *np.linspace(0.5, 2, 101), *(1 + NEAR)]),
    ],
)
def test_good_to_the_last_digits(name: str, arguments: list[float]) -> None:
    function = getattr(double, name)
    with mpmath.workdps(50):
        exact = [float(getattr(mpmath, name)(mpmath.mpf(float(argument)))) for argument in arguments]
    np.testing.assert_allclose([function(float(argument)) for argument in arguments], exact, rtol=2e-15)


def test_powers_without_bound_are_cut() -> None:
    assert double.exp(1e4) == double.exp(708.0)
    assert double.exp(-np.inf) == double.exp(-708.0)


def test_integers_sort_as_their_numbers_do() -> None:
    numbers = np.array([-np.inf, -3.5, -1e-300, 0.0, 1e-300, 2.0, np.inf])
    keys = [double.sortable(number) for number in numbers]
    assert keys == sorted(keys)
    assert [double.from_sortable(np.int64(key)) for key in keys] == numbers.tolist()
