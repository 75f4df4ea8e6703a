from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, optimize, sparse

from zinbtools.stats import pln_factors as module
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


@pytest.mark.parametrize("sd", [0.4, 1.7, 3.5, 4.5, 7.3, 20.0])
def test_three_digits_of_any_spread(sd: float) -> None:
    rates = np.exp(sd * (normal_scores(100) - normal_scores(100)[-1]))
    counts = np.round(1e7 * rates)[:, None]
    ratio = (counts * (counts - 1)).mean() / counts.mean() ** 2
    exact = optimize.brentq(lambda s: ratio_of_scores(s, 100) - ratio, 0.1, 40)
    assert exact == pytest.approx(sd, rel=1e-4)
    assert pln_factors(sparse.csr_array(counts), np.ones(100)).sd[0] == pytest.approx(exact, rel=1e-3)


def test_a_single_cell_may_hold_all_counts_of_a_gene() -> None:
    counts = np.zeros((100, 2))
    counts[3, 0], counts[:, 1] = 50, 4
    fit = pln_factors(sparse.csr_array(counts), np.ones(100))
    assert ratio_of_scores(fit.sd[0], 100) == pytest.approx(50 * 49 / 100 / 0.25, rel=0.02)
    assert (fit.sd[1], fit.loadings[1].tolist()) == (0, [0])


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


def dense_loadings(counts: np.ndarray, exposure: np.ndarray, n_factors: int, n_leading: int) -> np.ndarray:
    """Loadings that no variance bounds yet.

    The factors are the best of their number for the correlations of the leading genes' counts (Eckart and
    Young), and the other genes are regressed on them.
    """
    n, mean = len(counts), counts.mean(axis=0)
    by_chance = np.outer(mean, mean) * (exposure**2).mean() / exposure.mean() ** 2
    never = (counts > 0).T.astype(int) @ (counts > 0) == 0
    pairs = np.where(never, np.minimum(0.5 / n, by_chance), counts.T @ counts / n)
    np.fill_diagonal(pairs, (counts * (counts - 1.0)).mean(axis=0))
    covariance = np.log(pairs / by_chance)
    scale = mean / counts.std(axis=0)
    leading = np.argsort(np.diag(covariance) * scale**2)[-n_leading:]
    correlation = scale[:, None] * covariance[:, leading] * scale[leading]
    largest = n_leading - n_factors, n_leading - 1
    values, vectors = linalg.eigh(correlation[leading], subset_by_index=largest)
    return correlation @ (vectors / np.sqrt(values)) / scale[:, None]


@pytest.mark.parametrize("n_leading", [12, 8])
@pytest.mark.parametrize(("n", "log_mean"), [(400, 1.0), (100, 0.0), (4000, -3.0)])
def test_factors_are_the_best_for_the_correlations_of_the_counts(
    n: int, log_mean: float, n_leading: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few and many counts, all genes or some to lead, some of which never meet."""
    monkeypatch.setattr(module, "_N_LEADING", n_leading)
    rng = np.random.default_rng(n)
    exposure = rng.lognormal(0, 0.3, n)
    spread = np.linspace(0.7, 1.0, 12)[rng.permutation(12)]
    log_rates = log_mean + spread * (0.8 * rng.standard_normal((n, 1)) + 0.6 * rng.standard_normal((n, 12)))
    counts = rng.poisson(exposure[:, None] * np.exp(log_rates))
    counts[counts[:, 3] > 0, 2] = 0  # would meet by chance
    counts[0, 2] = 9 * (counts[0, 3] == 0)
    counts[:, 4:6] = 0
    counts[[1, 2], [4, 5]] = 2  # would not
    fit = pln_factors(sparse.csr_array(counts), exposure, n_factors=3)
    loadings = dense_loadings(counts, exposure, 3, n_leading)
    length = np.linalg.norm(loadings, axis=1)
    loadings /= np.maximum(1, length / fit.sd)[:, None]
    np.testing.assert_allclose(fit.loadings @ fit.loadings.T, loadings @ loadings.T, rtol=1e-6, atol=1e-9)
    assert 0 < (length > 1.05 * fit.sd).sum() < 12, length / fit.sd


def test_a_gene_that_is_in_every_cell_alike_changes_no_factor() -> None:
    """Though its correlations with all others are beyond any other's, once exposures vary."""
    rng = np.random.default_rng(6)
    exposure = rng.lognormal(0, 0.5, 1000)
    log_rates = 1 + 0.6 * np.repeat(rng.standard_normal((1000, 2)), 15, axis=1)
    counts = rng.poisson(exposure[:, None] * np.exp(log_rates))
    fit = pln_factors(sparse.csr_array(counts), exposure, n_factors=4)
    for constant in (1, 50):
        more = np.column_stack([counts, np.full(1000, constant)])
        other = pln_factors(sparse.csr_array(more), exposure, n_factors=4)
        assert other.loadings[-1].tolist() == [0, 0, 0, 0]
        covariance = (other.loadings @ other.loadings.T)[:-1, :-1]
        np.testing.assert_allclose(covariance, fit.loadings @ fit.loadings.T, atol=0.05)


@pytest.mark.parametrize(
    ("n_cells", "n_genes", "asked", "found"),
    [(10, 6, 4, 2), (60, 3, 9, 2), (60, 6, 4, 4), (120, 30, None, 20)],
)
def test_number_of_factors(n_cells: int, n_genes: int, asked: int | None, found: int) -> None:
    """As many as asked for, 20 if not, one for five cells, one less than genes."""
    counts = sparse.csr_array(np.random.default_rng(7).negative_binomial(1, 0.02, size=(n_cells, n_genes)))
    fit = pln_factors(counts, np.ones(n_cells), **({} if asked is None else {"n_factors": asked}))
    assert fit.loadings.shape == (n_genes, found)


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
