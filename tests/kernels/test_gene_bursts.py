"""Bursts of one gene: tables against the distribution itself, derivatives, and the maximum."""

from __future__ import annotations

import numpy as np
import pytest
from gene_counts import curvature, log_probabilities

from zinbtools.kernels import gene_bursts
from zinbtools.kernels.beta_poisson import log_probability, rates
from zinbtools.kernels.gene_fit import Offsets


def a_gene(x: np.ndarray, log_mean: np.ndarray, dispersion=(1.0,), level=None) -> gene_bursts._Gene:
    value = np.unique(x)
    level = np.zeros(len(x), np.int64) if level is None else level
    scratch = np.empty(int(value[-1]) + 3)
    return gene_bursts._Gene(log_mean, np.searchsorted(value, x), level, value, np.array(dispersion), scratch)


@pytest.fixture
def slow() -> tuple[np.ndarray, np.ndarray]:
    """Counts of a slow gene, and log means that differ between cells, some of them by much."""
    random = np.random.default_rng(4)
    log_mean = np.log(5.0) + random.normal(0, 0.7, 800)
    log_mean[:5] = [-40.0, -15.0, -11.0, 4.0, 4.5]
    x = random.poisson(np.exp(log_mean) * random.beta(0.4, 0.6, 800) / 0.4).astype(float)
    return x, log_mean


@pytest.mark.parametrize("shape", [1e-3, 0.2, 0.8, 0.997])
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 5.0, 100.0])
def test_all_counts_at_one_mean(alpha, shape):
    value = np.array([0.0, 1, 2, 5, 40, 300, 2000])
    found, h = np.empty((7, 3)), 1e-4
    for mean in (1e-3, 0.5, 4.0, 60.0, 400.0):
        gene_bursts._at_one_mean(a_gene(value, np.zeros(7)), mean, *rates(alpha, shape), found)
        exact = np.array([log_probability(x, mean, alpha, shape)[:2] for x in value])
        np.testing.assert_allclose(found[:, :2], exact, rtol=1e-9, atol=2e-7)
        up, down = (
            [log_probability(x, mean * np.exp(step), alpha, shape)[1] for x in value] for step in (h, -h)
        )
        np.testing.assert_allclose(found[:, 2], np.subtract(up, down) / (2 * h), rtol=1e-3, atol=1e-3)


def test_height_and_derivatives(slow):
    x, log_mean = slow
    level, dispersion = np.arange(800) % 2, np.array([0.7, 1.6])
    gene, at = a_gene(x, log_mean, dispersion, level), np.array([0.1, 0.2, -0.5])

    def height(at: np.ndarray) -> float:
        shape = 1 / (1 + np.exp(-at[2]))
        return sum(
            log_probability(x[n], np.exp(log_mean[n] + at[0]), np.exp(at[1]) * dispersion[level[n]], shape)[0]
            for n in range(800)
        )

    gradient, hessian = np.empty(3), np.empty((3, 3))
    found = gene_bursts._derivatives(gene, at, gradient, hessian)
    assert found == pytest.approx(height(at), abs=1e-3)
    slope = [(height(at + step) - height(at - step)) / 2e-3 for step in 1e-3 * np.eye(3)]
    np.testing.assert_allclose(gradient, slope, rtol=1e-3, atol=0.05)
    np.testing.assert_allclose(hessian, curvature(height, at, 5e-3), rtol=0.02, atol=1)


def test_climbs_from_anywhere_end_at_the_same_maximum(slow):
    x, log_mean = slow
    gene, gradient, hessian = a_gene(x, log_mean), np.empty(3), np.empty((3, 3))
    ends = []
    for start in np.random.default_rng(0).normal(0, 1.5, (8, 3)):
        at = start.copy()
        ends.append((gene_bursts._climb(gene, at, gradient, hessian), *at))
    np.testing.assert_allclose(ends, np.tile(np.median(ends, axis=0), (8, 1)), atol=2e-3)
    assert np.abs(gradient).max() < 0.1


def test_comparison_with_a_zinb_by_scipy(slow):
    x, log_mean = slow
    log_mean[:3] = 0.0
    n, odds = len(x), np.random.default_rng(1).lognormal(0, 1, (1, len(x)))
    output = gene_bursts.Bursts(*(np.full((1, *shape), np.nan) for shape in ((), (3,), (3, 3), (3,))))
    values, places = np.unique(x.astype(float), return_inverse=True)
    counts = gene_bursts.Counts(np.array([0, len(values)]), values, places[None])
    zinb = np.array([[0.2, -0.3, -1.0]])
    offsets = Offsets(np.exp(log_mean)[None], np.ones((1, 1)), odds)
    gene_bursts.fit_bursts(counts, offsets, np.zeros((1, n), np.int64), zinb, output)
    pi = odds[0] / (odds[0] + np.exp(1.0))
    other = log_probabilities(x, np.exp(log_mean + 0.2), np.exp(0.3), pi)
    b, log_alpha, logit = output.estimate[0]
    shape = 1 / (1 + np.exp(-logit))
    bursts = np.array(
        [log_probability(x[i], np.exp(log_mean[i] + b), np.exp(log_alpha), shape)[0] for i in range(n)]
    )
    expected = [other.sum(), (bursts - other).sum(), ((bursts - other) ** 2).sum()]
    np.testing.assert_allclose(output.gain[0], expected, rtol=1e-4)
    assert output.log_likelihood[0] == pytest.approx(bursts.sum(), abs=1e-3)
