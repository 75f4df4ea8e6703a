"""Power against brute force, and against what tests of simulated counts and tables find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from zinbtools.stats.count_models import fit_counts
from zinbtools.stats.crossed import CrossedMean, crossed_mean
from zinbtools.stats.equivalence import position
from zinbtools.stats.power import (
    PilotCalls,
    SignedRoot,
    expected_verdict_power,
    gene_cells,
    gene_power,
    signed_root,
    verdict_needs,
    verdict_power,
)
from zinbtools.stats.zero_inflation import adjusted_pval, boundary_pval, dropout_likelihood_ratio, threshold


def zinb(x: np.ndarray, mu: float, theta: float, pi: float) -> np.ndarray:
    nb = stats.nbinom.pmf(x, theta, theta / (theta + mu))
    return pi * (x == 0) + (1 - pi) * nb


@pytest.mark.parametrize(
    ("mean", "theta", "pi", "null"), [(3.0, 2.0, 0.2, 0.01), (40.0, 0.7, 0.1, 0.0), (3.0, 2.0, 0.0, 0.01)]
)
def test_the_distance_is_that_of_all_counts_summed(mean: float, theta: float, pi: float, null: float) -> None:
    x = np.arange(3000)
    p = zinb(x, mean, theta, pi)

    def log_ratio(at: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(p, 1e-300) / np.maximum(zinb(x, *np.exp(at), null), 1e-300))

    def distance(at: np.ndarray) -> float:
        return float(p @ log_ratio(at))

    start = np.log([mean * (1 - pi), theta])
    options = {"xatol": 1e-8, "fatol": 1e-14}
    nearest = optimize.minimize(distance, start, method="Nelder-Mead", options=options)
    variance = p @ (log_ratio(nearest.x) - nearest.fun) ** 2
    found = signed_root(mean, theta, pi, null)
    assert found.shift == pytest.approx(np.sqrt(2 * nearest.fun), rel=1e-3)
    assert found.sd == pytest.approx(np.sqrt(variance / (2 * nearest.fun)), rel=5e-3)
    assert found.detected == pytest.approx(1 - p[0])


def test_groups_of_cells_are_as_good_as_all() -> None:
    means = 2 * np.random.default_rng(0).lognormal(0, 0.8, 500)
    found = signed_root(means, 1.5, 0.2, 0.01)
    assert found.detected == pytest.approx(np.mean(1 - zinb(np.zeros(1), means, 1.5, 0.2)), rel=1e-3)
    assert signed_root(np.repeat(means, 3), 1.5, 0.2, 0.01) == pytest.approx(found, rel=0.01)


def test_a_poisson_gene_has_power() -> None:
    poisson, almost = (gene_power(2.0, theta, 0.1, 500, level=0.01) for theta in (np.inf, 1e4))
    assert poisson == pytest.approx(almost, abs=0.01)
    assert poisson > gene_power(2.0, 1.0, 0.1, 500, level=0.01) + 0.1
    by_dropout = [signed_root(0.385, np.inf, pi, 0.01).shift for pi in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)]
    assert (np.diff(by_dropout) > 0).all()


@pytest.mark.parametrize(
    ("mean", "theta", "pi", "n"),
    [(4.0, 1.5, 0.1, 400), (1.0, 3.0, 0.2, 800), (12.0, 8.0, 0.05, 200), (8.0, 2.0, 0.0, 4000)],
)
def test_power_is_what_the_test_has(mean: float, theta: float, pi: float, n: int) -> None:
    """300 genes a kind: a share of a half has a standard error of .03."""
    rng = np.random.default_rng(1)
    mu = mean * rng.lognormal(0, 0.5, n)
    counts = rng.poisson(rng.gamma(theta, mu[:, None] / theta, (n, 300))) * (rng.random((n, 300)) >= pi)
    fits = fit_counts(counts, mu, families=("zinb",), negligible_dropout=0.01, interval_level=0.9)
    if pi == 0:
        right = fits.dropout_interval[:, 1] <= 0.01
    else:
        right = boundary_pval(dropout_likelihood_ratio(fits)) <= 0.01
    predicted = float(gene_power(mu, theta, pi, n, level=0.01))
    assert 0.2 < predicted < 0.95
    assert right.mean() == pytest.approx(predicted, abs=0.1)


def test_a_gene_with_few_counts_has_no_power() -> None:
    assert gene_power(0.01, 1.0, 0.5, 500) < 1e-3
    assert gene_power(100.0, 5.0, 0.5, 15) == 0


def test_the_interval_of_a_gene_without_dropout_ends_where_the_normal_law_has_it() -> None:
    """An estimate that is normal around 0, but never below, of the dropout in units of its error."""
    z, d = float(stats.norm.isf(0.05)), np.array([0.8, 1.6, 2.5])
    e = np.random.default_rng(0).normal(size=(100_000, 1))
    ratio = (e - d) ** 2 - np.minimum(e, 0) ** 2
    below = (np.maximum(e, 0) < d) & (ratio >= z**2)
    root = SignedRoot(1.0, 0.0, 1.0, 1.0)
    assert root.power_of_none(np.square(d * 10), z) == pytest.approx(1.0)
    few = SignedRoot(0.1, 0.0, 1.0, 1.0).power_of_none(np.square(d * 10), z)
    assert few == pytest.approx(below.mean(0), abs=0.01)


def test_cells_needed_have_the_power_and_one_less_does_not() -> None:
    n = gene_cells(2.0, 1.5, 0.2, power=0.9)
    assert gene_power(2.0, 1.5, 0.2, n) >= 0.9 > gene_power(2.0, 1.5, 0.2, n - 1)
    n = gene_cells(5.0, 1.5, 0.0)
    assert gene_power(5.0, 1.5, 0.0, n) >= 0.8 > gene_power(5.0, 1.5, 0.0, n - 1)
    assert gene_cells(1e-6, 1.5, 0.02) == np.inf


def test_a_dropout_that_is_negligible_cannot_be_called() -> None:
    with pytest.raises(ValueError, match="dropout must be 0, or above the negligible 0.01, found 0.01"):
        gene_power(1.0, 1.0, 0.01, 100)
    with pytest.raises(ValueError, match="give a dropout above 0"):
        gene_power(1.0, 1.0, 0.0, 100, negligible_dropout=0.0)


def roots(shifts: np.ndarray, seed: int) -> np.ndarray:
    """P values of genes whose likelihood ratios have these shifts."""
    root = np.maximum(np.random.default_rng(seed).normal(shifts), 0.0)
    return boundary_pval(root**2)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_the_level_is_that_of_the_calls_with_more_cells(factor: float) -> None:
    shifts = np.repeat([0.0, 1.5, 3.0], [1000, 200, 100])
    realised = [threshold(adjusted_pval(roots(factor * shifts, seed)), 0.05) for seed in range(40)]
    foretold = [PilotCalls(roots(shifts, 100 + seed)).level(factor, 0.05) for seed in range(10)]
    assert stats.norm.isf(np.mean(foretold)) == pytest.approx(stats.norm.isf(np.mean(realised)), abs=0.15)


def test_without_dropout_no_number_of_cells_promises_calls() -> None:
    levels = [PilotCalls(roots(np.zeros(500), seed)).level(4.0, 0.05) for seed in range(10)]
    assert np.median(levels) == pytest.approx(0.05 / 500)


@pytest.mark.parametrize(
    ("difference", "sd_restarts", "n_cells", "n_restarts"),
    [(0.45, 0.1, 100, 3), (0.4, 0.0, 100, 5), (0.0, 0.05, 200, 5), (-0.5, 0.1, 100, 3), (0.25, 0.1, 50, 4)],
)
def test_the_interval_lies_where_it_was_foretold(
    difference: float, sd_restarts: float, n_cells: int, n_restarts: int
) -> None:
    rng, rope = np.random.default_rng(3), 0.25
    where = []
    for _ in range(1000):
        table = rng.normal(0, 0.5, (n_restarts, n_cells)) + rng.normal(difference, 1, n_cells)
        found = crossed_mean(table + rng.normal(0, sd_restarts, (n_restarts, 1)))
        where.append(position(*found.interval(), rope).removesuffix(" or inside"))
    se = np.sqrt(1 / 40 + sd_restarts**2 / 6 + 0.25 / 240)
    pilot = CrossedMean(difference, se, 30.0, 1.0, sd_restarts, 6, 40)
    power = verdict_power(pilot, rope, n_cells, n_restarts)
    for name, predicted in power._asdict().items():
        assert where.count(name) / 1000 == pytest.approx(float(predicted), abs=0.06)


def test_what_the_pilot_leaves_open_is_averaged_over() -> None:
    pilot = crossed_mean(np.random.default_rng(0).normal(0.4, 1, (4, 60)))
    given = [verdict_power(pilot, 0.25, 600, 4, difference=d).above for d in (-0.5, 0.25, 1.0)]
    assert given[0] < 0.01 < given[1] < 0.05
    assert given[2] > 0.99
    assert verdict_power(pilot, 0.25, 10**6, 4, difference=1.0).above > 0.999
    expected = expected_verdict_power(pilot, 0.25, [60, 10**6], 10**4)
    share = stats.t.sf((0.25 - pilot.mean) / pilot.se, pilot.df)
    assert expected.above[1] == pytest.approx(share, abs=0.01)
    assert np.sum([part[1] for part in expected]) == pytest.approx(1, abs=0.01)


def test_a_pilot_foretells_itself() -> None:
    rng = np.random.default_rng(2)
    found = crossed_mean(rng.normal(size=(4, 30)) + 2 * rng.normal(size=30) + rng.normal(size=(4, 1)))
    assert found.at(4, 30) == pytest.approx(found)


def test_what_is_needed_has_the_power() -> None:
    pilot = CrossedMean(0.5, 0.1118, 20.0, 1.0, 0.1, 5, 100)
    restarts, cells = verdict_needs(pilot, 0.2, power=0.8)
    for n_restarts, n_cells in ((restarts, 100), (5, cells)):
        assert verdict_power(pilot, 0.2, n_cells, n_restarts).above >= 0.8
    assert verdict_power(pilot, 0.2, 100, restarts - 1).above < 0.8
    assert verdict_power(pilot, 0.2, cells - 1, 5).above < 0.8
    assert verdict_needs(pilot, 0.5) == (np.inf, np.inf)
