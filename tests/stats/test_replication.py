"""Overlap of calls and bootstrap p values against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zinbtools.stats.replication import overlap, rank_correlation
from zinbtools.stats.zero_inflation import bootstrap_pval, of_like_mean


def test_groups_hold_every_gene_once_and_are_ordered() -> None:
    mean = np.random.default_rng(0).lognormal(size=357)
    groups = list(of_like_mean(mean))
    assert sorted(np.concatenate(groups)) == list(range(357))
    assert [len(group) for group in groups] == [119, 119, 119]
    assert mean[groups[0]].max() <= mean[groups[1]].min()
    assert len(list(of_like_mean(mean[:150]))) == 1


def test_bootstrap_pval_is_a_share_of_the_genes_of_like_mean() -> None:
    rng = np.random.default_rng(1)
    mean, ratio = rng.lognormal(size=230), rng.chisquare(1, 230)
    null = rng.chisquare(1, (3, 230)) * (mean > np.median(mean))  # sparse genes have none
    null[0, 5] = ratio[7] = np.nan
    found = bootstrap_pval(ratio, null, mean)
    for group in of_like_mean(mean):
        pool = null[:, group].ravel()
        pool = pool[~np.isnan(pool)]
        for g in group:
            expected = np.nan if g == 7 else (1 + (pool >= ratio[g]).sum()) / (1 + len(pool))
            assert found[g] == pytest.approx(expected, nan_ok=True)
    sparse = next(of_like_mean(mean))
    assert np.nanmax(found[sparse]) < 0.01  # any ratio is larger than all of theirs


def test_bootstrap_pval_is_uniform_under_the_null() -> None:
    rng = np.random.default_rng(2)
    ratio, *null = rng.chisquare(1, (5, 2000)) * (rng.random((5, 2000)) < 0.5)
    pval = bootstrap_pval(ratio, np.array(null), np.ones(2000))
    for level in (0.01, 0.05, 0.2):
        assert (pval <= level).mean() == pytest.approx(level, rel=0.4)
    assert (pval[ratio == 0] == 1).all()


def test_overlap_by_chance_is_that_of_permutations() -> None:
    """Calls that lie where the means are large agree by that alone."""
    rng = np.random.default_rng(3)
    mean = np.arange(300.0)
    first, second = (rng.random(300) < np.where(mean >= 200, 0.3, 0.02) for _ in range(2))
    found = overlap(first, second, mean)
    draws = []
    for _ in range(4000):
        drawn = np.concatenate([rng.permutation(second[group]) for group in of_like_mean(mean)])
        draws.append((first & drawn).sum())
    draws = np.array(draws)
    jaccard = draws / (first.sum() + second.sum() - draws)
    assert found.n_both_expected == pytest.approx(draws.mean(), rel=0.03)
    assert found.jaccard_expected == pytest.approx(jaccard.mean(), rel=0.03)
    assert found.pval == pytest.approx((draws >= found.n_both).mean(), abs=0.03)
    by_chance_anywhere = stats.hypergeom(300, first.sum(), second.sum()).mean()
    assert found.n_both_expected > 1.5 * by_chance_anywhere


def test_overlap_counts() -> None:
    first, second = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    found = overlap(first, second, np.ones(5))
    assert found[:4] == (5, 3, 3, 2)
    assert found.jaccard == 0.5
    nothing = overlap(first & False, second, np.ones(5))
    assert (nothing.n_both, nothing.jaccard, nothing.jaccard_expected, nothing.pval) == (0, 0.0, 0.0, 1.0)
    nobody = overlap(first & False, first & False, np.ones(5))
    assert np.isnan(nobody.jaccard)
    assert nobody.pval == 1.0


def test_a_single_call_is_one() -> None:
    one = np.array([True, False])
    assert overlap(one, ~one & False, np.ones(2)).jaccard == 0


def test_rank_correlation_needs_variation_in_both() -> None:
    assert rank_correlation(np.arange(3) / 2, np.arange(3) / 2) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.arange(4.0), np.zeros(4)))


def test_rank_correlation_where_there_is_none() -> None:
    assert np.isnan(rank_correlation(np.array([0.1, 0.2]), np.array([0.1, 0.2])))
    assert np.isnan(rank_correlation(np.zeros(4), np.arange(4.0)))
