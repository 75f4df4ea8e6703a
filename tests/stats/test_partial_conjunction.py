"""Genes that are called in some of many studies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zinbtools.stats.partial_conjunction import n_replicated, partial_conjunction_pval


def test_one_of_one_is_the_p_value_itself():
    pval = np.random.default_rng(0).random((1, 20))
    np.testing.assert_array_equal(partial_conjunction_pval(pval, 1), pval[0])


def test_all_of_all_is_the_largest():
    pval = np.random.default_rng(0).random((5, 20))
    np.testing.assert_allclose(partial_conjunction_pval(pval, 5), pval.max(0))


def test_one_of_many_is_simes():
    pval = np.random.default_rng(0).random((5, 20))
    expected = [min(5 / (j + 1) * p for j, p in enumerate(sorted(column))) for column in pval.T]
    np.testing.assert_allclose(partial_conjunction_pval(pval, 1), np.minimum(expected, 1))


def test_studies_that_did_not_test_a_gene_do_not_count():
    pval = np.array([[0.001, 0.001], [0.004, np.nan], [np.nan, np.nan]])
    found = partial_conjunction_pval(pval, 2)
    assert found[0] == 0.004
    assert np.isnan(found[1])


@pytest.mark.parametrize("n_studies", [5, 20])
def test_false_discoveries_are_held(n_studies):
    """Of genes with something in m of K studies: how many are said to have it in more?"""
    random = np.random.default_rng(3)
    false, said = np.zeros(n_studies), np.zeros(n_studies)
    n_sets = 40
    for _ in range(n_sets):
        truth = random.binomial(n_studies, random.choice([0.0, 0.3, 0.7], (400, 1), p=[0.7, 0.2, 0.1]))[:, 0]
        there = random.random((n_studies, 400)).argsort(0) < truth
        pval = stats.norm.sf(random.normal(3.5 * there, 1))
        pval[random.random(pval.shape) < 0.1] = np.nan
        truth = (there & ~np.isnan(pval)).sum(0)
        for k in range(n_studies):
            found = n_replicated(pval) > k
            said[k] += found.any()
            false[k] += (found & (truth <= k)).sum() / max(found.sum(), 1)
    assert (false / n_sets < 0.06).all()
    assert said[1] == n_sets  # something is found in two studies


def test_what_is_found_in_more_studies_is_found_in_fewer():
    random = np.random.default_rng(1)
    pval = stats.norm.sf(random.normal(2 * (random.random((6, 300)) < 0.3), 1))
    found = n_replicated(pval)
    assert set(np.unique(found)) <= set(range(7))
    assert (found > 0).any()
