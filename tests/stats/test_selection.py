"""Rank tests, regions of practical equivalence, and zeros beyond what is expected."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from zinbtools.stats.equivalence import Answer, conclude, position
from zinbtools.stats.rank_tests import adjusted, rank_test
from zinbtools.stats.zero_excess import ZeroExcess, zero_excess


def test_rank_test_is_the_study_s() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=30).round(1), rng.normal(0.5, size=40).round(1)
    found = rank_test(first, second)
    # the study: scipy's test of the other model's values against this model's, alternative "greater"
    assert found.pval_first == stats.mannwhitneyu(second, first, alternative="greater").pvalue
    assert found.pval_second == stats.mannwhitneyu(first, second, alternative="greater").pvalue
    assert (found.n_first, found.n_second) == (30, 40)
    assert found.first == np.median(first)


@pytest.mark.parametrize(("n_first", "n_second"), [(3, 3), (4, 7), (8, 8)])
def test_rank_test_of_few_runs_is_exact(n_first: int, n_second: int) -> None:
    rng = np.random.default_rng(n_first)
    first, second = rng.normal(size=n_first), rng.normal(0.7, size=n_second)
    found = rank_test(first, second)
    for pval, side in ((found.pval_first, "less"), (found.pval_second, "greater")):
        exact = stats.mannwhitneyu(first, second, alternative=side, method="exact").pvalue
        assert pval == pytest.approx(exact, rel=1e-12)


def test_rank_test_of_few_runs_holds_its_level_with_ties() -> None:
    """Of all 20 ways to put tied numbers into two samples of three."""
    numbers = np.array([1.0, 1.0, 2.0, 2.0, 2.0, 3.0])
    pvals = [
        rank_test(numbers[list(own)], np.delete(numbers, own)).pval_first for own in combinations(range(6), 3)
    ]
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(np.array(pvals) <= level + 1e-12) <= level


def test_rank_test_of_more_runs_is_the_normal_approximation() -> None:
    """Of 9 against 8 too, which scipy would compute exactly where it chooses."""
    first, second = np.arange(9.0), np.arange(8) + 2.5
    expected = stats.mannwhitneyu(first, second, alternative="less", method="asymptotic").pvalue
    assert rank_test(first, second).pval_first == expected


def test_rank_test_leaves_out_what_is_not_known() -> None:
    assert rank_test([1.0, np.nan, 3.0], [2.0]).n_first == 2
    assert np.isnan(rank_test([np.nan], [2.0]).pval_first)


def test_both_directions_are_adjusted_together() -> None:
    tests = {"a": rank_test(range(10), range(20, 30)), "b": rank_test(range(10), range(10))}
    raw = [tests["a"].pval_first, tests["a"].pval_second, tests["b"].pval_first, tests["b"].pval_second]
    expected = stats.false_discovery_control(raw)
    found = adjusted(tests)
    assert [*found["a"], *found["b"]] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("interval", "where"),
    [
        ((1.1, 2), "above"),
        ((-2, -1.1), "below"),
        ((-1, 1), "inside"),
        ((-1.1, 0), "below or inside"),
        ((-1.1, 1), "below or inside"),
        ((-1.1, 1.1), "open"),
        ((0.9, 3), "open"),
        ((1, 3), "open"),
        ((-3, -1), "below or inside"),
    ],
)
def test_position(interval: tuple[float, float], where: str) -> None:
    assert position(*interval, rope=1.0) == where


def test_every_verdict_can_be_reached() -> None:
    cases = [("above", True), ("above", False), ("below", True), ("inside", False), ("open", True)]
    assert tuple(conclude(*case) for case in cases) == tuple(Answer)  # type: ignore[arg-type]
    assert conclude("below or inside", True) == Answer.NB
    assert {type(conclude(*case)) for case in cases} == {str}  # type: ignore[arg-type]


def counts(rng: np.random.Generator, p: np.ndarray, n: int) -> np.ndarray:
    return rng.binomial(300, p, (n, len(p))).astype(float)


def test_zero_excess_by_hand() -> None:
    """Student's t with 2 degrees of freedom has the tail ``1/2 - t / (2 sqrt(2 + t^2))``."""
    null = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])  # 0, 1 and 2 more than expected, and none
    found = zero_excess(np.array([26.0, 30.0]), np.array([22.0, 30.0]), null, np.tile([1.0, 5.0], (3, 1)))
    t = 3 / np.sqrt(4 / 3)
    tail = 0.5 - t / (2 * np.sqrt(2 + t**2))
    assert found.excess.tolist() == [4, 0]
    assert found.null_mean.tolist() == [1, 0]
    assert found.null_sd.tolist() == [1, 0]
    assert found.pval == pytest.approx([tail, 1])
    assert (found.share, found.null_share, found.null_share_sd) == pytest.approx((4 / 56, 1 / 56, 1 / 56))
    assert found.pval_pooled == pytest.approx(tail)


def test_one_zero_more_is_no_excess() -> None:
    """Replicates that hardly ever have a zero hardly differ; yet one that has one is no wonder."""
    null = np.zeros((50, 1))
    null[0] = 1.0
    for observed, pval in ((1.0, 1 - np.exp(-0.22)), (5.0, stats.poisson.sf(4, 0.22))):
        found = zero_excess(np.array([observed]), np.array([0.2]), null, np.zeros_like(null))
        assert [found.pval[0], found.pval_pooled] == pytest.approx([pval, pval])


def test_zero_excess_without_a_zero() -> None:
    found = zero_excess(np.zeros(1), np.ones(1), np.zeros((2, 1)), np.array([[1.0], [3.0]]))
    assert (found.share, found.null_share) == (-1, -2)


@pytest.mark.parametrize(
    ("gene", "pooled", "found"), [(0.025, 1.0, True), (1.0, 0.025, True), (0.026, 0.026, False)]
)
def test_genes_and_their_sum_each_get_half_of_alpha(gene: float, pooled: float, found: bool) -> None:
    unknown = np.full(2, np.nan)
    adjusted_pvals = np.array([gene, 1.0])
    excess = ZeroExcess(unknown, unknown, unknown, unknown, adjusted_pvals, 0.1, 0.0, 0.0, pooled)
    assert excess.found(0.05) is found
    assert excess.n_genes(gene) == (1 if gene < 1 else 2)
    assert not excess._replace(null_share=0.2).found(0.05)


def test_replicates_of_fewer_cells_are_scaled() -> None:
    """Of a quarter of the cells: the level is right, and the mean and error are those of all of them."""
    rng, found, sizes = np.random.default_rng(3), 0, (1200, 300)
    p = rng.uniform(0.05, 0.95, 50)
    for _ in range(400):
        observed, null = rng.binomial(1200, p).astype(float), rng.binomial(300, p, (50, 50)).astype(float)
        excess = zero_excess(observed, 1200 * p, null, np.tile(300 * p, (50, 1)), sizes[0] / sizes[1])
        found += excess.pval_pooled <= 0.05
    assert 8 <= found <= 34
    assert excess.null_sd.mean() == pytest.approx(np.sqrt(1200 * p * (1 - p)).mean(), rel=0.05)


def test_a_true_model_lacks_zeros_as_often_as_it_should() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.95, 100)
    expected = 300 * p
    found = 0
    for _ in range(400):
        null = counts(rng, p, 50)
        found += zero_excess(counts(rng, p, 1)[0], expected, null, np.tile(expected, (50, 1))).found(0.05)
    assert found / 400 < 0.075  # 5 % and two standard errors


def test_zeros_in_excess_are_found_and_a_lack_is_not() -> None:
    rng = np.random.default_rng(2)
    p = np.full(50, 0.3)
    null, expected = counts(rng, p, 50), np.full((50, 50), 90.0)
    more = np.where(np.arange(50) < 5, p + 0.2, p)
    found = zero_excess(counts(rng, more, 1)[0], expected[0], null, expected)
    assert found.found(0.05)
    assert set(np.flatnonzero(found.pval_adj <= 0.025)) >= set(range(5))
    fewer = zero_excess(counts(rng, p - 0.2, 1)[0], expected[0], null, expected)
    assert not fewer.found(0.05)
    assert fewer.share < 0


def test_what_the_model_gets_wrong_of_its_own_counts_is_no_excess() -> None:
    rng = np.random.default_rng(3)
    p = np.full(50, 0.3)
    null, said = counts(rng, p, 50), np.full((50, 50), 80.0)  # it expects 80 of its own 90
    assert not zero_excess(counts(rng, p, 1)[0], said[0], null, said).found(0.01)
