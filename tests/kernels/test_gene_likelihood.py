"""The likelihood of a gene's counts and its derivatives, against scipy and exact arithmetic."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from gene_counts import curvature, log_probabilities

from zinbtools.kernels import gene_likelihood as likelihood
from zinbtools.kernels.gene_counts import gather


@pytest.mark.parametrize("count", [1, 3, 64, 65, 1000, 250_000])
@pytest.mark.parametrize("alpha", [1e-10, 1e-4, 0.3, 1.0, 50.0])
def test_sums_of_logarithms_are_exact(count: int, alpha: float) -> None:
    with mpmath.workdps(50):
        theta = 1 / mpmath.mpf(alpha)
        digamma = mpmath.digamma(count + theta) - mpmath.digamma(theta)
        trigamma = mpmath.polygamma(1, count + theta) - mpmath.polygamma(1, theta)
        exact = (
            mpmath.loggamma(count + theta) - mpmath.loggamma(theta) - count * mpmath.log(theta),
            count - theta * digamma,
            theta * digamma + theta**2 * trigamma,
        )
    found = likelihood.rising(np.array([float(count)]), np.ones(1), alpha)[:, 0]
    np.testing.assert_allclose(found, [float(e) for e in exact], rtol=1e-12, atol=1e-12 * count)


@pytest.mark.parametrize("own_odds", [False, True])
@pytest.mark.parametrize("alpha", [1e-5, 0.7])
@pytest.mark.parametrize("family", range(4))
def test_likelihood_and_its_derivatives(family: int, alpha: float, own_odds: bool) -> None:
    """Of three rows of a design, one with no zeros and one with nothing else, by scipy and differences."""
    random = np.random.default_rng(8)
    mean, rows = random.lognormal(0, 1, 24), np.repeat([0, 1, 2], 8)
    x = random.poisson(2 * mean)
    x[:8] += 1
    x[8:12], x[16:] = [0, 64, 65, 300], 0
    table, cells = np.array([[1, 0.2], [1, 1.1], [1, -0.5]]), np.flatnonzero(x)
    odds = random.lognormal(0, 1, 24) if own_odds else np.ones(24)
    starts = np.array([0, 8, 16, 24])
    counts = x[cells].astype(float)
    gene = gather(mean, np.ones(24), odds, None, rows, cells, counts, starts, 0.0)
    dispersed, inflated = family in (likelihood.NB, likelihood.ZINB), family >= likelihood.ZIP
    at = np.array([0.3, 0.4, *[np.log(alpha)] * dispersed, *[-0.7] * inflated])

    def height(at: np.ndarray) -> float:
        theta = np.exp(-at[2]) if dispersed else np.inf
        pi = 1 / (1 + np.exp(-at[-1]) / odds) if inflated else np.zeros(24)
        return log_probabilities(x, mean * np.exp(table[rows] @ at[:2]), theta, pi).sum()

    d = len(at)
    gradient, hessian = np.empty(d), np.empty((d, d))
    value = likelihood.evaluate(gene, table, family, at, gradient, hessian)
    slope = [(height(at + step) - height(at - step)) / 2e-4 for step in 1e-4 * np.eye(d)]
    assert value == pytest.approx(height(at), rel=1e-9)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(hessian, curvature(height, at), rtol=1e-3, atol=1e-2)
