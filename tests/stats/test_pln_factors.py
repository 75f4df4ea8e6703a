from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from zinbtools.stats.pln_factors import normal_scores, pln_factors


def ratio_of_scores(sd: float, n: int) -> float:
    """R(s) of the module's docstring, written out."""
    rates = np.exp(sd * normal_scores(n))
    return n * np.sum(rates**2) / np.sum(rates) ** 2


def test_normal_scores_are_those_of_a_standard_normal_sample() -> None:
    scores = normal_scores(10_001)
    assert scores[5000] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(scores, -scores[::-1], atol=1e-12)
    assert scores.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("n", [20, 500])
def test_the_spread_solves_the_moments_of_a_finite_sample(n: int) -> None:
    rng = np.random.default_rng(n)
    counts = rng.poisson(np.exp(rng.normal(2, [0.3, 0.8, 1.5, 2.5], size=(n, 4))))
    fit = pln_factors(sparse.csr_array(counts), np.ones(n))
    np.testing.assert_allclose(fit.mean, counts.mean(axis=0))
    factorial = (counts * (counts - 1.0)).mean(axis=0) / counts.mean(axis=0) ** 2
    for sd, expected in zip(fit.sd, factorial, strict=True):
        assert ratio_of_scores(sd, n) == pytest.approx(expected, rel=2e-3)


def test_a_single_cell_may_hold_all_counts_of_a_gene() -> None:
    counts = np.zeros((100, 2))
    counts[3, 0], counts[:, 1] = 50, 4
    fit = pln_factors(sparse.csr_array(counts), np.ones(100))
    assert ratio_of_scores(fit.sd[0], 100) == pytest.approx(50 * 49 / 100 / 0.25, rel=0.02)
    assert fit.sd[1] == 0


def test_poisson_counts_have_no_spread_once_the_exposure_is_known() -> None:
    rng = np.random.default_rng(1)
    exposure = np.exp(0.8 * rng.standard_normal(20_000))
    counts = sparse.csr_array(rng.poisson(exposure[:, None] * [1.0, 5.0, 20.0]))
    assert pln_factors(counts, exposure).sd.max() < 0.15
    assert pln_factors(counts, np.ones(20_000)).sd.min() > 0.7


def test_the_spread_is_that_beyond_the_exposure() -> None:
    """Exposures may be 0 in some cells, and only their ratios count."""
    rng = np.random.default_rng(5)
    exposure = rng.lognormal(0, 0.5, 300)
    exposure[0] = 0
    counts = rng.poisson(exposure[:, None] * np.exp(rng.normal(2, [0.8, 1.2], size=(300, 2))))
    fit, scaled = (pln_factors(sparse.csr_array(counts), unit * exposure) for unit in (1, 7))
    ratio = (counts * (counts - 1.0)).mean(0) / counts.mean(0) ** 2
    ratio *= exposure.mean() ** 2 / (exposure**2).mean()
    for sd, expected in zip(fit.sd, ratio, strict=True):
        assert ratio_of_scores(sd, 300) == pytest.approx(expected, rel=2e-3)
    np.testing.assert_allclose(scaled.sd, fit.sd)


@pytest.mark.parametrize("n_genes", [30, 700])
def test_factors_are_found(n_genes: int) -> None:
    rng = np.random.default_rng(2)
    loadings = 0.4 * rng.standard_normal((n_genes, 2))
    log_rates = 1.5 + rng.standard_normal((5000, 2)) @ loadings.T + 0.2 * rng.standard_normal((5000, n_genes))
    fit = pln_factors(sparse.csr_array(rng.poisson(np.exp(log_rates))), np.ones(5000), n_factors=2)
    pairs = np.triu_indices(n_genes, 1)
    found, true = (fit.loadings @ fit.loadings.T)[pairs], (loadings @ loadings.T)[pairs]
    assert np.corrcoef(found, true)[0, 1] > 0.98
    assert np.polyfit(true, found, 1)[0] == pytest.approx(1, abs=0.1)
    assert (np.square(fit.loadings).sum(axis=1) <= fit.sd**2 + 1e-9).all()


def test_few_cells_give_few_factors() -> None:
    counts = sparse.csr_array(np.random.default_rng(3).poisson(5, size=(12, 40)))
    assert pln_factors(counts, np.ones(12)).loadings.shape[1] <= 2
    assert pln_factors(counts[:4], np.ones(4)).loadings.shape == (40, 0)
    one_cell = pln_factors(sparse.csr_array([[1, 5]]), np.ones(1))
    assert (one_cell.mean.tolist(), one_cell.sd.tolist()) == ([1, 5], [0, 0])
    assert pln_factors(counts, np.ones(12), n_factors=0).loadings.shape == (40, 0)


def test_order_of_the_genes_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    counts = rng.poisson(
        np.exp(1 + 0.5 * rng.standard_normal((300, 1)) + 0.3 * rng.standard_normal((300, 20)))
    )
    order = rng.permutation(20)
    fit, permuted = (pln_factors(sparse.csr_array(c), np.ones(300)) for c in (counts, counts[:, order]))
    np.testing.assert_allclose(permuted.sd, fit.sd[order])
    covariance, other = (f.loadings @ f.loadings.T for f in (fit, permuted))
    np.testing.assert_allclose(other, covariance[np.ix_(order, order)], atol=1e-8)


@pytest.mark.parametrize(
    ("counts", "exposure", "message"),
    [
        (
            [[1, 0], [2, 0]],
            [1.0, 1.0],
            "counts must have a count of every gene, found none in 1 of 2 columns",
        ),
        ([[1, 1], [2, 1]], [0.0, 0.0], "exposure must be above 0 in some cell, found 0 in all"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    counts: list[list[int]], exposure: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pln_factors(sparse.csr_array(counts), np.array(exposure))
