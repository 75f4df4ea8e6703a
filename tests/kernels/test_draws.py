"""Counts that are drawn have their distribution, and the sums that are expected are its moments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from zinbtools.kernels import draws as kernels

N = 200_000
MEANS = (1e-4, 0.02, 0.7, 4.0, 29.0, 31.0, 900.0)
THETAS = (0.02, 1.0, 40.0, 1e7)
PAIRS = list(itertools.product(MEANS, THETAS))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def parameters(mean: float, theta: float, logit: float | None, n_genes: int) -> kernels.Decoded:
    """One cell, in which all genes are alike."""
    shape = (1, n_genes)
    return kernels.Decoded(
        np.full(shape, np.log(mean), dtype=np.float32),
        np.full(shape, theta),
        np.zeros((0, 0), dtype=np.float32) if logit is None else np.full(shape, logit, dtype=np.float32),
    )


def drawn(mean: float, theta: float, logit: float | None = None, n: int = N) -> np.ndarray:
    """The sums over one cell, of which the total is the count."""
    sums, rng = np.zeros((kernels.N_SUMS, n)), generator()
    words, single = kernels.random_words(rng, (1, n)), np.zeros((1, n), dtype=np.float32)
    kernels.add_counts(parameters(mean, theta, logit, n), words, rng, sums, single)
    np.testing.assert_array_equal(sums[kernels.TOTAL], single[0])
    return sums


def zinb_pmf(x: np.ndarray, mean: float, theta: float, logit: float | None) -> np.ndarray:
    pi = 0.0 if logit is None else 1 / (1 + np.exp(-logit))
    return pi * (x == 0) + (1 - pi) * stats.nbinom.pmf(x, theta, theta / (theta + mean))


@pytest.mark.parametrize(("mean", "theta"), PAIRS)
@pytest.mark.parametrize("logit", [None, -0.7])
def test_draws_have_their_distribution(mean: float, theta: float, logit: float | None) -> None:
    """Chi-square over the single counts, and over groups of them where they are rare."""
    counts = drawn(mean, theta, logit)[kernels.TOTAL]
    assert (counts == counts.astype(int)).all()
    largest = int(counts.max()) + 1
    expected = N * zinb_pmf(np.arange(largest), mean, theta, logit)
    seen = np.bincount(counts.astype(int), minlength=largest)
    groups = np.minimum(np.floor(np.cumsum(expected) / 25), (expected.sum() // 25) - 1).astype(int).clip(0)
    cells = np.array([np.bincount(groups, weights=w) for w in (seen, expected)])
    cells = cells[:, cells[1] > 5]
    rest = N - cells.sum(1)
    if rest[1] > 5:
        cells = np.column_stack([cells, rest])
    chi_square = ((cells[0] - cells[1]) ** 2 / cells[1]).sum()
    assert stats.chi2.sf(chi_square, max(cells.shape[1] - 1, 1)) > 1e-4


@pytest.mark.parametrize(("mean", "theta"), PAIRS)
@pytest.mark.parametrize("logit", [None, -30.0, -0.7, 12.0])
def test_expectations_are_the_distributions(mean: float, theta: float, logit: float | None) -> None:
    """Two draws of the same entry add up: mean, dropout, P(0) and P(dropout | 0)."""
    sums = np.zeros((4, 1, 3), dtype=np.float32)
    for _ in range(2):
        kernels.add_expectations(parameters(mean, theta, logit, 3), sums)
    pi = 0.0 if logit is None else 1 / (1 + np.exp(-logit))
    log_zero = -theta * np.log1p(mean / theta)
    zero = pi + (1 - pi) * np.exp(log_zero)
    # where dropout and an ordinary zero are both next to impossible, one may still be far likelier
    lost = 0.0 if logit is None else 1 / (1 + np.exp(np.clip(log_zero - logit, -700, 700)))
    expected = 2 * np.array([mean, pi, zero, lost])
    np.testing.assert_allclose(sums[:, 0], np.tile(expected, (3, 1)).T, rtol=2e-5, atol=1e-30)


def test_sums_are_those_of_the_counts() -> None:
    sums = drawn(2.0, 0.5)
    x = sums[kernels.TOTAL]
    assert (sums[kernels.CELLS] == 1).all()
    for row, expected in (
        (kernels.POSITIVE, x > 0),
        (kernels.ONES, x == 1),
        (kernels.SQUARES, x**2),
        (kernels.MAXIMUM, x),
    ):
        np.testing.assert_array_equal(sums[row], expected)


def test_a_rare_count_is_as_rare_as_it_should_be() -> None:
    """Counts that the leading bits of their random number do not settle."""
    counts = drawn(1e-4, 1e-3, n=4_000_000)[kernels.TOTAL]
    for least in (1, 3):
        expected = 4e6 * stats.nbinom.sf(least - 1, 1e-3, 1e-3 / (1e-3 + 1e-4))
        assert abs((counts >= least).sum() - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize(("mean", "theta"), PAIRS)
@pytest.mark.parametrize("logit", [None, 0.4])
def test_expected_sums_are_those_of_scipy(mean: float, theta: float, logit: float | None) -> None:
    sums = np.zeros((kernels.N_SUMS, 3))
    for _ in range(2):
        kernels.add_expected(parameters(mean, theta, logit, 3), sums)
    kept = 1.0 if logit is None else 1 / (1 + np.exp(logit))
    nb = stats.nbinom(theta, theta / (theta + mean))
    expected = {
        kernels.POSITIVE: nb.sf(0),
        kernels.ONES: nb.pmf(1),
        kernels.TOTAL: mean,
        kernels.SQUARES: mean + mean**2 * (1 + 1 / theta),
    }
    for row, value in expected.items():
        # the complement of a probability near 1 keeps its absolute precision
        np.testing.assert_allclose(sums[row], 2 * kept * value, rtol=2e-5, atol=2e-7)
