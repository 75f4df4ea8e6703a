"""Gauss's rule for sums: exact where it must be, and close where the summands are smooth."""

from __future__ import annotations

import numpy as np
import pytest

from zinbtools.kernels.gram import gram_rule, lengths


@pytest.mark.parametrize("n", [3, 7, 8, 9, 50, 100_000])
def test_polynomials_up_to_twice_the_nodes_are_summed_exactly(n: int) -> None:
    places, weights = gram_rule(n, 7)
    k = np.linspace(-1, 1, n)
    at = 2 * places / (n - 1) - 1
    for degree in range(14):
        assert weights @ at**degree == pytest.approx((k**degree).sum(), abs=1e-12 * n)
    if n > 7:
        assert abs(weights @ at**14 - (k**14).sum()) > 1e-8 * n


def test_few_are_taken_one_by_one() -> None:
    places, weights = gram_rule(5, 40)
    np.testing.assert_array_equal(places, np.arange(5))
    np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize("n", [41, 300, 10_000, 1_000_000])
def test_a_bell_of_forty_nats_takes_forty_nodes(n: int) -> None:
    def bell(k: np.ndarray) -> np.ndarray:
        return np.exp(-40 * ((k - 0.5 * n) / (0.5 * n)) ** 2)

    places, weights = gram_rule(n, 40)
    assert weights @ bell(places) == pytest.approx(bell(np.arange(n)).sum(), rel=1e-13)


def test_lengths_grow_up_to_the_largest() -> None:
    found = lengths(40, 10**6)
    assert found[0] == 40
    assert found[-2] < 10**6 <= found[-1]
    assert (found[1:] / found[:-1] < 1.081).all()
