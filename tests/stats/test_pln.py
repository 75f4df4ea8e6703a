from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pln import pln_moments, pln_zero_fraction
from scipy import integrate, sparse, stats

Floats = NDArray[np.float64]


def draw(mu: Floats, sigma: Floats, n_cells: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return rng.poisson(np.exp(rng.multivariate_normal(mu, sigma, n_cells, method="eigh")))


def standard_errors(counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Monte Carlo errors of mu and sigma, from the influence of each cell on the logs of the moments."""
    x = counts.astype(float)
    n_cells, n_genes = x.shape
    relative = x / x.mean(0)
    pairs = x[:, :, None] * x[:, None, :]
    pairs[:, range(n_genes), range(n_genes)] -= x
    on_sigma = pairs / pairs.mean(0) - relative[:, :, None] - relative[:, None, :] + 1
    on_mu = relative - 1 - np.diagonal(on_sigma, axis1=1, axis2=2) / 2
    return on_mu.std(0) / np.sqrt(n_cells), on_sigma.std(0) / np.sqrt(n_cells)


@pytest.mark.parametrize("seed", range(3))
def test_known_parameters_are_recovered_within_monte_carlo_error(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    loadings = rng.uniform(-0.5, 0.5, size=(6, 2))
    sigma = loadings @ loadings.T + 0.1 * np.eye(6)
    mu = np.linspace(-1, 4, 6)
    counts = draw(mu, sigma, 50_000, seed)
    fit = pln_moments(counts)
    mu_error, sigma_error = standard_errors(counts)
    # 27 numbers in three data sets within 4 standard errors: by chance 0.5 % of the time not.
    assert (np.abs(fit.mu - mu) < 4 * mu_error).all()
    assert (np.abs(fit.sigma - sigma) < 4 * sigma_error).all()
    # The yardstick means something: the errors are small against what is estimated.
    assert mu_error.max() < 0.05
    assert np.median(sigma_error) < 0.01


def test_independent_poisson_counts_give_no_covariance() -> None:
    rate = np.array([0.5, 2.0, 8.0, 30.0])
    counts = np.random.default_rng(0).poisson(rate, size=(50_000, 4))
    fit = pln_moments(counts)
    mu_error, sigma_error = standard_errors(counts)
    assert (np.abs(fit.sigma) < 4 * sigma_error).all()
    assert (np.abs(fit.mu - np.log(rate)) < 4 * mu_error).all()
    assert sigma_error.max() < 0.02


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 12))
def test_means_and_overdispersed_variances_are_those_of_the_sample(
    seed: int, n_cells: int, n_genes: int
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.5, 8, size=(n_cells, n_genes)))
    counts[0] += 1
    fit = pln_moments(counts)
    variance = np.diag(fit.sigma)
    mean = np.exp(fit.mu + variance / 2)
    np.testing.assert_allclose(mean, counts.mean(0), rtol=1e-9)
    expected = np.maximum(counts.var(0), mean)
    # A gene that counts no further than 1 has no second factorial moment to be matched.
    usual = (counts.max(0) > 1) & (np.abs(counts.var(0) - mean) > 1e-9)
    np.testing.assert_allclose((mean + mean**2 * np.expm1(variance))[usual], expected[usual], rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 30))
def test_sigma_is_positive_semidefinite_even_with_fewer_cells_than_genes(
    seed: int, n_cells: int, n_genes: int
) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.3, 3, size=(n_cells, n_genes)))
    counts[0] += 1
    sigma = pln_moments(counts).sigma
    eigenvalues = np.linalg.eigvalsh(sigma)
    assert np.isfinite(sigma).all()
    np.testing.assert_array_equal(sigma, sigma.T)
    assert eigenvalues[0] >= -1e-10 * max(eigenvalues[-1], 1)


def test_an_estimate_that_is_positive_semidefinite_is_left_as_it_is() -> None:
    counts = draw(np.ones(3), 0.5 * np.eye(3) + 0.2, 2_000, 0).astype(float)
    mean, covariance = counts.mean(0), np.cov(counts.T, ddof=0)
    estimate = np.log(1 + (covariance - np.diag(mean)) / np.outer(mean, mean))
    assert np.linalg.eigvalsh(estimate)[0] > 0
    np.testing.assert_allclose(pln_moments(counts).sigma, estimate, rtol=1e-10)


def test_genes_that_never_share_a_cell() -> None:
    often = np.zeros((100, 2))
    often[:50, 0] = often[50:, 1] = np.tile([2, 6], 25)
    # 25 pairs of cells would be shared by chance weighted by counts: a strong negative covariance.
    assert pln_moments(often).sigma[0, 1] < -0.5
    # Half a pair of 12 cells, where three quarters of one are expected; the variances leave room for it.
    seldom = np.zeros((12, 2))
    seldom[[0, 1], [0, 1]] = 3
    np.testing.assert_allclose(pln_moments(seldom).sigma, np.log([[8, 2 / 3], [2 / 3, 8]]))
    rarely = np.zeros((1000, 2))
    rarely[[0, 1], [0, 1]] = 1
    np.testing.assert_array_equal(pln_moments(rarely).sigma, np.zeros((2, 2)))
    np.testing.assert_allclose(pln_moments(rarely).mu, np.log(1e-3))


@pytest.mark.parametrize("array_type", [sparse.csr_matrix, sparse.csc_array, np.float32, np.int16])
def test_array_types_agree(array_type: type) -> None:
    counts = draw(np.ones(5), 0.3 * np.eye(5), 200, 0)
    same = counts.astype(array_type) if isinstance(array_type, type(np.int16)) else array_type(counts)
    fit, other = pln_moments(counts), pln_moments(same)
    np.testing.assert_allclose(other.mu, fit.mu, rtol=1e-12)
    np.testing.assert_allclose(other.sigma, fit.sigma, atol=1e-12)


@given(st.permutations(range(5)))
def test_permuting_genes_permutes_the_answer(order: list[int]) -> None:
    counts = draw(np.linspace(0, 2, 5), 0.3 * np.eye(5) + 0.1, 60, 1)
    fit, permuted = pln_moments(counts), pln_moments(counts[:, order])
    np.testing.assert_allclose(permuted.mu, fit.mu[order], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(permuted.sigma, fit.sigma[np.ix_(order, order)], atol=1e-9)


def test_the_authors_near_singular_parameters_come_back(shared_data: Path) -> None:
    with np.load(shared_data / "reference" / "pln_params.npz") as arrays:
        mu, sigma = arrays["mu_0"], arrays["sigma_0"]
    counts = draw(mu, sigma, 100_000, 0)
    fit = pln_moments(counts)
    mu_error, _ = standard_errors(counts[:, :1])
    # One common factor moves all genes together, so one gene's error is that of all: 5 of them.
    assert np.abs(fit.mu - mu).max() < 5 * mu_error[0] + 0.05
    assert np.abs(fit.sigma - sigma).max() < 0.1


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[1, 0, 0], [2, 0, 0]], r"counts must have a count of every gene, found none in 2 columns \(1, 2\)"),
        (np.zeros((2, 9)), r"none in 9 columns \(0, 1, 2, 3, 4, \.\.\.\)"),
        (np.zeros((2, 6)), r"none in 6 columns \(0, 1, 2, 3, 4, \.\.\.\)"),
        (np.zeros((2, 5)), r"none in 5 columns \(0, 1, 2, 3, 4\)"),
        ([[1, 2]], r"at least 2 cells, found \(1, 2\)"),
        ([1, 2], r"shape \(n_cells, n_genes\) with at least 2 cells, found \(2,\)"),
        ([[1, -1], [1, 2]], "finite and not negative"),
        ([[1, np.nan], [1, 2]], "finite and not negative"),
        (sparse.csr_matrix([[1, -1], [1, 2]]), "finite and not negative"),
    ],
)
def test_counts_that_cannot_be_fitted_are_refused(counts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pln_moments(counts)  # type: ignore[arg-type]


@pytest.mark.parametrize("variance", [0.1, 1.0, 2.0])
@pytest.mark.parametrize("mu", [-3.0, 0.0, 2.0, 4.0])
def test_zero_fraction_is_the_integral(mu: float, variance: float) -> None:
    def integrand(t: float) -> float:
        return float(np.exp(-np.exp(mu + np.sqrt(variance) * t)) * stats.norm.pdf(t))

    exact, _ = integrate.quad(integrand, -12, 12, epsabs=1e-12, limit=300, points=[-mu / np.sqrt(variance)])
    assert pln_zero_fraction(mu, variance) == pytest.approx(exact, abs=1e-9)


def test_zero_fraction_without_variance_is_poisson_and_broadcasts() -> None:
    mu = np.array([[0.0], [1.0]])
    fraction = pln_zero_fraction(mu, np.zeros(3))
    np.testing.assert_allclose(fraction, np.broadcast_to(np.exp(-np.exp(mu)), (2, 3)), rtol=1e-12)


def test_zero_fraction_of_single_precision_is_computed_in_double() -> None:
    variance = np.float32(0.3)
    assert pln_zero_fraction(np.float32(1), variance) == pytest.approx(
        pln_zero_fraction(1.0, float(variance)), rel=1e-13
    )
