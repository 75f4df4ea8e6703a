"""Log likelihoods of other cells, against fits to these and against distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zinbtools.model.distributions import (
    AmplifiedNegativeBinomial,
    NegativeBinomial,
    ZeroInflatedNegativeBinomial,
)
from zinbtools.stats.count_models import FAMILIES, Copies, CountFits, fit_counts
from zinbtools.stats.held_out import held_out

RNG = np.random.default_rng(3)
DEPTH = RNG.lognormal(0, 0.4, 300)
MOLECULES = RNG.poisson(RNG.gamma(1.5, DEPTH[:, None] * np.array([0.3, 1.0, 3.0, 9.0, 40.0]) / 1.5))
MOLECULES = MOLECULES * (RNG.random(MOLECULES.shape) > 0.15)
READS = MOLECULES + RNG.negative_binomial(np.maximum(0.7 * MOLECULES, 1e-9), 0.7 / (0.7 + 11))
COPIES = Copies(RNG.lognormal(2.5, 0.3, 300), np.full(300, 0.7), 0.3)


def parameters(fits: CountFits, family: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    place = fits.of(family)
    values = fits.coefficients[:, place, 0], fits.inverse_dispersion[:, place], fits.dropout[:, place]
    return *values, fits.log_copies[:, place]


def test_the_cells_of_the_fit_have_its_likelihood() -> None:
    fits = fit_counts(MOLECULES, DEPTH)
    found = held_out(fits, MOLECULES, DEPTH, families=FAMILIES)
    np.testing.assert_allclose(found.log_likelihood.sum(1), fits.log_likelihood.sum(0), rtol=1e-10)
    np.testing.assert_allclose(found.zeros.sum(1), fits.zeros.sum(0), rtol=1e-10)


def test_molecules_are_those_of_the_distribution() -> None:
    fits = fit_counts(MOLECULES[:200], DEPTH[:200], families=["zinb"])
    found = held_out(fits, MOLECULES[200:], DEPTH[200:], families=["nb", "zinb"])
    for row, family in enumerate(("nb", "zinb")):
        b, theta, pi, _ = parameters(fits, family)
        mu = np.exp(b) * DEPTH[200:, None]
        nb = NegativeBinomial(torch.as_tensor(mu), torch.as_tensor(theta))
        inflated = ZeroInflatedNegativeBinomial(nb, torch.logit(torch.as_tensor(pi)))
        log_p = inflated.log_prob(torch.as_tensor(MOLECULES[200:], dtype=torch.float64))
        np.testing.assert_allclose(found.log_likelihood[row], log_p.sum(1), rtol=1e-9)
        np.testing.assert_allclose(found.zeros[row], inflated.zero_prob.sum(1), rtol=1e-9)


@pytest.mark.parametrize("family", ["nb", "zinb"])
def test_reads_are_those_of_the_distribution(family) -> None:
    train, test = np.arange(200), np.arange(200, 300)

    def of(cells: np.ndarray) -> Copies:
        return Copies(COPIES.mean[cells], COPIES.shape[cells], COPIES.gene_sd)

    means = DEPTH * COPIES.mean
    fits = fit_counts(READS[train], means[train], copies=of(train), families=["zinb"])
    found = held_out(fits, READS[test], means[test], copies=of(test), families=[family])
    b, theta, pi, log_copies = (torch.as_tensor(x) for x in parameters(fits, family))
    copies = 1 + torch.as_tensor(COPIES.mean[test] - 1)[:, None] * log_copies.exp()
    mu = torch.as_tensor(DEPTH[test])[:, None] * b.exp()
    base = AmplifiedNegativeBinomial(NegativeBinomial(mu, theta), copies, torch.tensor(0.7))
    inflated = ZeroInflatedNegativeBinomial(base, torch.logit(pi)) if family == "zinb" else base
    log_p = inflated.log_prob(torch.as_tensor(READS[test], dtype=torch.float64)).sum(1)
    np.testing.assert_allclose(found.log_likelihood[0], log_p, rtol=1e-6)
