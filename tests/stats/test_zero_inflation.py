"""Likelihood ratios, calls and classes of genes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from zinbtools.stats.count_models import CountFits, fit_counts
from zinbtools.stats.zero_inflation import (
    FEWEST_COUNTS,
    Call,
    GeneClass,
    boundary_pval,
    call,
    classes,
    dropout_likelihood_ratio,
    dropout_pval_adj,
    excess_zeros,
    likelihood_ratio,
    of_like_mean,
    power,
    simplest,
    threshold,
)

ZERO_INFLATED, NEGLIGIBLE, UNDECIDED = Call
ENOUGH = np.full(4, 100)  # cells with a count


def fits(log_likelihood: list[list[float]], **fields: np.ndarray) -> CountFits:
    """Of 100 cells, the log likelihoods in the order Poisson, NB, ZIP, ZINB."""
    unknown = {name: np.empty(0) for name in CountFits.__dataclass_fields__}
    heights = np.array(log_likelihood)
    known = {"n_cells": 100, "log_likelihood": heights, "null_log_likelihood": heights[:, 1]}
    known["coefficients"] = np.zeros((len(heights), 4, 1))
    return CountFits(**unknown | known | fields)  # type: ignore[arg-type]


def test_the_ratio_is_twice_the_gain_and_never_negative() -> None:
    found = fits([[-9.0, -7.5, np.nan, -7.5], [-9.0, -9.0, np.nan, -9.5]])
    assert likelihood_ratio(found, "poisson", "nb").tolist() == [3, 0]
    assert likelihood_ratio(found, "nb", "zinb").tolist() == [0, 0]


def test_the_ratio_of_a_dropout_is_against_the_negligible_ones() -> None:
    found = fits([[-9.0, -8.0, np.nan, -5.0]] * 2, null_log_likelihood=np.array([-6.5, -4.9]))
    assert dropout_likelihood_ratio(found).tolist() == [3, 0]


def test_a_negligible_dropout_has_the_level_as_its_power() -> None:
    assert power(np.array([1e6]), 0.1, 0.05, negligible=0.1) == pytest.approx(0.05)
    assert power(np.array([600.0]), 0.1, 0.05, negligible=0.01) < power(np.array([600.0]), 0.1, 0.05)


def test_the_threshold_is_that_of_benjamini_and_hochberg() -> None:
    """The p value of the k-th of m calls is at most alpha k / m."""
    assert threshold(np.array([0.01, 0.05, np.nan, 0.2]), 0.05) == pytest.approx(0.05 * 2 / 3)
    assert threshold(np.array([0.2, 0.3]), 0.05) == pytest.approx(0.05 / 2)  # the first call there could be
    assert threshold(np.array([np.nan]), 0.05) == 0.05


def test_calls_follow_from_where_the_interval_lies() -> None:
    adjusted = np.array([0.05, 0.06, 0.06, 0.06, np.nan, np.nan, 0.0])
    highest = np.array([0.1, 0.01, 0.011, np.nan, 0.005, np.nan, np.nan])
    expected = [ZERO_INFLATED, NEGLIGIBLE, UNDECIDED, UNDECIDED, UNDECIDED, UNDECIDED, ZERO_INFLATED]
    assert call(adjusted, highest, 0.05, 0.01).tolist() == expected


def test_genes_of_few_cells_are_neither_tested_nor_counted() -> None:
    pval = np.array([1e-9, 0.01, 0.04, 1e-9])
    n_counts = np.array([FEWEST_COUNTS - 1, FEWEST_COUNTS, 100, 0])
    np.testing.assert_allclose(dropout_pval_adj(pval, n_counts), [np.nan, 0.02, 0.04, np.nan])
    np.testing.assert_allclose(dropout_pval_adj(pval, n_counts, n_rates=5), [np.nan, np.nan, 0.04, np.nan])


@pytest.mark.parametrize("fitted", [(0, 2), (0, 1, 3)])
def test_no_dropout_is_needed_by_a_gene_of_few_cells(fitted: tuple[int, ...]) -> None:
    log_likelihood = np.full((2, 4), np.nan)
    log_likelihood[:, fitted] = np.array([-90.0, -50.0, -10.0])[: len(fitted)]
    found = fits(log_likelihood.tolist())
    family, tests = simplest(found, 0.05, np.array([FEWEST_COUNTS - 1, FEWEST_COUNTS]))
    assert family.tolist() == (["poisson", "zip"] if len(fitted) == 2 else ["nb", "zinb"])
    assert np.isnan(tests["zip" if len(fitted) == 2 else "zinb"]).tolist() == [True, False]


@pytest.mark.parametrize("n_groups", [1, 8])
def test_the_null_holds_where_genes_are_tested(n_groups: int) -> None:
    """NB counts of small inverse dispersions: p values are right from 20 cells per rate on, and not below."""
    random = np.random.default_rng(0)
    design = np.eye(n_groups)[np.arange(600) % n_groups]
    pval, seen = [], []
    for theta, mean in ((0.003, 1.0), (0.01, 1.0), (0.03, 0.3), (0.1, 1.0), (0.3, 1.0), (0.3, 10.0)):
        x = random.poisson(random.gamma(theta, mean / theta, (600, 150)))
        x = x[:, x.any(axis=0)]
        found = fit_counts(x, np.ones(600), covariates=design, families=["zinb"], negligible_dropout=0.01)
        pval.append(boundary_pval(dropout_likelihood_ratio(found)))
        seen.append((x > 0).sum(axis=0))
    p, tested = np.concatenate(pval), np.concatenate(seen) >= FEWEST_COUNTS * n_groups
    assert tested.sum() >= 300
    assert (p[tested] <= 0.01).mean() < 0.025
    assert (p[~tested] <= 0.01).mean() > 0.02


def test_excess_zeros_are_the_dropped_counts_among_all_zeros() -> None:
    """A quarter of 100 cells drops out, of which the NB would have made 40 % zero: 15 zeros are in excess."""
    found = fits([[0.0] * 4] * 4, lost=np.full((4, 4), 100 * 0.25 * (1 - 0.4)))
    shares = excess_zeros(found, np.array([60.0, 10.0, 1.0, 0.0]))
    np.testing.assert_allclose(shares, [0.25, 1.0, 1.0, np.nan])


def test_the_simplest_family_is_the_last_with_evidence() -> None:
    nothing, dispersed, inflated, empty = (
        [-90.0, -90.0, -90.0, -90.0],
        [-90.0, -50.0, -60.0, -50.0],
        [-90.0, -50.0, -60.0, -40.0],
        [np.nan] * 4,
    )
    family, tests = simplest(fits([nothing, dispersed, inflated, empty]), 0.05, ENOUGH)
    assert family.tolist() == ["poisson", "nb", "zinb", "poisson"]
    assert set(tests) == {"nb", "zip", "zinb"}
    for pval in tests.values():
        assert pval[0] == 1
        assert np.isnan(pval[3])
    assert tests["zinb"][1] == 1
    assert tests["zinb"][2] < 1e-4


@pytest.mark.parametrize(
    ("fitted", "families", "tested"),
    [
        ((0, 2), ["poisson", "zip"], {"zip"}),
        ((0, 1), ["poisson", "nb"], {"nb"}),
        ((0,), ["poisson"] * 2, set()),
    ],
)
def test_only_families_that_were_fitted_are_tested(
    fitted: tuple[int, ...], families: list[str], tested: set[str]
) -> None:
    log_likelihood = np.full((2, 4), np.nan)
    log_likelihood[:, fitted] = np.array([[-90.0, -90.0, -90.0], [-90.0, -50.0, -50.0]])[:, : len(fitted)]
    family, tests = simplest(fits(log_likelihood.tolist()), 0.05, ENOUGH[:2])
    assert family.tolist() == families
    assert set(tests) == tested


def test_every_class_can_be_reached() -> None:
    family = np.array(["poisson", "nb", "zip", "zinb", "poisson"], dtype=object)
    calls = np.array([UNDECIDED, UNDECIDED, NEGLIGIBLE, UNDECIDED, ZERO_INFLATED], dtype=object)
    explained = np.array([True, False, False, False, True])
    assert tuple(classes(family, calls, explained)) == tuple(GeneClass)
    assert {type(word) for word in classes(family, calls, explained)} == {str}  # which files can hold
    explained[3] = True
    assert classes(family, calls, explained)[3] == GeneClass.EXPLAINED


def test_groups_of_like_mean_are_no_smaller_than_a_hundred() -> None:
    assert [len(group) for group in of_like_mean(np.ones(199))] == [199]
    assert [len(group) for group in of_like_mean(np.ones(200))] == [100, 100]
