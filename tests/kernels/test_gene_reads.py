"""Sums over the molecules behind reads, against the distribution of reads, which is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gene_counts import curvature

from zinbtools.kernels import gene_likelihood as likelihood
from zinbtools.kernels.gene_counts import gather
from zinbtools.kernels.gene_molecules import posterior
from zinbtools.kernels.gene_reads import REACH, amplification
from zinbtools.model.distributions import (
    AmplifiedNegativeBinomial,
    CountDistribution,
    NegativeBinomial,
    ZeroInflatedNegativeBinomial,
)


def of_reads(mu, theta, copies, shape) -> AmplifiedNegativeBinomial:
    mu, theta, copies, shape = (torch.as_tensor(x, dtype=torch.float64) for x in (mu, theta, copies, shape))
    return AmplifiedNegativeBinomial(NegativeBinomial(mu, theta), copies, shape)


@pytest.mark.parametrize("log_factor", [-REACH, 0.0, REACH])
def test_each_count_is_within_a_millionth_of_a_nat(log_factor: float) -> None:
    """Wherever the mean of the molecules is within some times of what the reads say, and to 100,000 reads."""
    random, worst = np.random.default_rng(0), 0.0
    for _ in range(50):
        copies, shape = 1 + 10 ** random.uniform(-1.5, 2.3), 10 ** random.uniform(-1.5, 1.5)
        x = np.floor(10 ** random.uniform(0, 5, 8))
        alpha, mean = (
            10 ** random.uniform(-2, 1.5),
            np.maximum(x / copies * random.lognormal(0, 0.7, 8), 1e-3),
        )
        given = amplification(np.full(8, copies), np.full(8, shape), 1.0, int(x.max()))
        rows, starts = np.zeros(8, np.int64), np.array([0, 8])
        gene = gather(mean, np.ones(8), np.ones(8), given, rows, np.arange(8), x, starts, 0.0)
        sums = likelihood.rising(gene.value, gene.value_dispersion, alpha)
        exact = of_reads(mean, 1 / alpha, 1 + (copies - 1) * np.exp(log_factor), shape)
        for i in range(8):
            log_mean = np.log(mean[i]) - np.log1p(alpha * mean[i])
            height = posterior(gene, i, sums, log_mean, np.exp(log_factor))[0]
            found = height - likelihood.minus_log_zero(mean[i], alpha)
            worst = max(worst, abs(found - exact.log_prob(torch.tensor(x))[i].item()))
    assert worst < 1e-6


@pytest.mark.parametrize("own_dispersion", [False, True])
@pytest.mark.parametrize("family", range(4))
def test_likelihood_and_its_derivatives(family: int, own_dispersion: bool) -> None:
    random, n = np.random.default_rng(1), 40
    x = random.poisson(random.gamma(0.5, 80, n)).astype(float)
    x[:8], x[8:13] = 0, [1, 2, 3, 700, 65]
    mean, copies, shape = random.lognormal(0, 0.4, n), 1 + 19 * random.lognormal(0, 0.3, n), np.full(n, 0.7)
    dispersion = random.lognormal(0, 0.5, n) if own_dispersion else np.ones(n)
    cells, rows = np.flatnonzero(x), np.repeat([0, 1], n // 2)
    given, table, starts = (
        amplification(copies, shape, 4.0, 700),
        np.array([[1, 0.2], [1, -0.3]]),
        [0, 20, 40],
    )
    gene = gather(mean, dispersion, np.ones(n), given, rows, cells, x[cells], np.array(starts), 0.2)
    dispersed, inflated = family in (likelihood.NB, likelihood.ZINB), family >= likelihood.ZIP
    at = np.array([0.3, 0.4, 0.1, *[-0.2] * dispersed, *[-0.7] * inflated])

    def height(at: np.ndarray) -> float:
        theta = np.exp(-at[3]) / dispersion if dispersed else np.full(n, 1e13)
        mu = mean * np.exp(table[rows] @ at[:2])
        reads: CountDistribution = of_reads(mu, theta, 1 + (copies - 1) * np.exp(at[2]), shape)
        if inflated:
            reads = ZeroInflatedNegativeBinomial(reads, torch.tensor(at[-1]))
        return reads.log_prob(torch.tensor(x)).sum().item() - 0.5 * 4.0 * at[2] ** 2

    d = len(at)
    gradient, hessian = np.empty(d), np.empty((d, d))
    value = likelihood.evaluate(gene, table, family, at, gradient, hessian)
    slope = [(height(at + step) - height(at - step)) / 2e-4 for step in 1e-4 * np.eye(d)]
    assert value == pytest.approx(height(at), abs=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(hessian, curvature(height, at), rtol=1e-3, atol=1e-2)
