"""Draws are what is expected of them, and residuals have the distribution that they should have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from zinbtools.model.config import FitConfig
from zinbtools.model.data import CountData
from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from zinbtools.model.layers import Streams
from zinbtools.model.predictive import Replicates, _distribution_function, quantile_residuals
from zinbtools.model.vae import CountVAE, Shape
from zinbtools.stats.calibration import ResidualSums

MEANS = (1e-4, 0.02, 0.7, 4.0, 29.0, 31.0, 900.0)
THETAS = (0.02, 1.0, 40.0, 1e7)
EVERYONE = torch.arange(240)
FIELDS = ("n_zeros", "n_ones", "total", "total_of_squares", "maximum")


@pytest.fixture(params=["gene", "gene-cell", "gene-batch", "none"])
def model(request: pytest.FixtureRequest, config: FitConfig, data: CountData) -> CountVAE:
    """Weights at random, library sizes near the data's."""
    built = CountVAE("zinb", Shape(12, 2), replace(config, dispersion=request.param)).eval()
    built.reset(Streams([1]))
    built.library_mean[:] = data.log_library.mean()
    built.library_variance[:] = 0.1
    built.library_encoder.mean.bias.data[:] = data.log_library.mean()
    return built


@pytest.fixture
def batches(data: CountData) -> CountData:
    """`data` in two batches."""
    data = CountData(data.batch(EVERYONE).dense().numpy(), group=np.arange(240) % 2)
    assert data.group.unique().tolist() == [0, 1]
    return data


def test_a_draw_does_not_depend_on_the_others(model: CountVAE, batches: CountData) -> None:
    first, second = (Replicates(model, batches, EVERYONE, seed=3) for _ in range(2))
    draws = {number: first.draw(number).counts for number in (0, 1, 2)}
    for number in (2, 0):
        again = second.draw(number, expected=True).counts
        assert all(np.array_equal(getattr(again, f), getattr(draws[number], f)) for f in FIELDS)
    assert not np.array_equal(draws[0].total, draws[1].total)
    other = Replicates(model, batches, EVERYONE, seed=4).draw(0).counts
    assert not np.array_equal(other.total, draws[0].total)


def test_draws_are_on_average_what_is_expected(model: CountVAE, batches: CountData) -> None:
    """Also against torch's sampler, cell by cell."""
    replicates = Replicates(model, batches, EVERYONE, seed=1, latent="fixed")
    draws = [replicates.draw(number, expected=True) for number in range(400)]
    for field in ("n_zeros", "n_ones", "total"):
        values = np.array([getattr(draw.counts, field) for draw in draws])
        error = values.std(0, ddof=1) / 20
        assert (abs(values.mean(0) - getattr(draws[0].expected, field)) < 4.5 * error + 1e-3).all()
        assert np.array_equal(getattr(draws[0].expected, field), getattr(draws[7].expected, field))


@pytest.mark.parametrize("latent", ["posterior", "fixed", "prior"])
def test_where_latent_states_come_from(latent: str, model: CountVAE, batches: CountData) -> None:
    """Draws from the prior know nothing of the counts; fixed ones differ by their counts alone."""
    ours = Replicates(model, batches, EVERYONE, seed=2, latent=latent)
    shuffled = CountData(batches.batch(EVERYONE).dense().numpy()[::-1].copy(), group=np.arange(240) % 2)
    theirs = Replicates(model, shuffled, EVERYONE, seed=2, latent=latent)
    one, two = (r.draw(0, expected=True).expected.total for r in (ours, theirs))
    assert np.array_equal(one, two) == (latent == "prior")
    assert np.array_equal(one, ours.draw(1, expected=True).expected.total) == (latent == "fixed")


@pytest.mark.parametrize("logit", [None, -1.0])
def test_the_distribution_function_is_that_of_scipy(logit: float | None) -> None:
    x = np.array([0, 1, 2, 7, 50, 4000.0])
    mean, theta = (a.ravel()[:, None] for a in np.meshgrid(MEANS, (*THETAS, 1e-3)))
    nb = NegativeBinomial(torch.from_numpy(mean), torch.from_numpy(theta))
    pi = 0.0 if logit is None else 1 / (1 + np.exp(-logit))
    counts = nb if logit is None else ZeroInflatedNegativeBinomial(nb, torch.tensor(logit).double())
    grid = torch.from_numpy(x).expand(len(mean), -1)
    expected = pi + (1 - pi) * stats.nbinom.cdf(x, theta, theta / (theta + mean))
    np.testing.assert_allclose(_distribution_function(counts, grid).numpy(), expected, rtol=1e-6, atol=1e-9)


def test_residuals_lie_where_the_count_does(model: CountVAE, batches: CountData) -> None:
    """Given the same latent states: between F(x - 1) and F(x), which the counts' order shows."""
    blocks = list(quantile_residuals(model, batches, EVERYONE, seed=5))
    residuals, x = np.concatenate(blocks), batches.batch(EVERYONE).dense().numpy()
    assert residuals.shape == x.shape
    assert residuals.dtype == np.float64
    assert ((residuals >= 0) & (residuals <= 1)).all()
    again = np.concatenate(list(quantile_residuals(model, batches, EVERYONE, seed=5)))
    np.testing.assert_array_equal(residuals, again)


@pytest.mark.slow
def test_residuals_of_a_true_model_are_uniform(model: CountVAE, batches: CountData) -> None:
    """200 sets of counts made, by torch's sampler, from the very states that the residuals are taken given.

    The encoders' answer is the same for all cells, so that the state does not depend on the counts made
    from it.
    """
    for encoder in (model.encoder, model.library_encoder):
        for head in (encoder.mean, encoder.log_variance):
            head.weight.data[:] = 0
    p_values, scores = [], []
    for seed in range(200):
        states = Replicates(model, batches, EVERYONE, seed=seed, latent="fixed")
        log_mean, theta, logit = (
            np.concatenate([np.broadcast_to(arrays[i], arrays[0].shape) for arrays, _ in states._decoded(0)])
            for i in range(3)
        )
        nb = NegativeBinomial(torch.from_numpy(log_mean).exp().double(), torch.from_numpy(theta))
        zinb = ZeroInflatedNegativeBinomial(nb, torch.from_numpy(logit).double())
        counts = zinb.sample(torch.Generator().manual_seed(seed)).numpy()
        counts[counts.sum(1) == 0, 0] = 1  # a cell must have a count
        data = CountData(counts, group=np.arange(240) % 2)
        residuals = np.concatenate(list(quantile_residuals(model, data, EVERYONE, seed=seed)))
        found = ResidualSums.from_residuals(residuals).test()
        p_values.append(found.p_value)
        scores.append(found.location)
    p = np.ravel(p_values)
    assert p.shape == (2400,)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert abs((p < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / p.size)
    assert stats.kstest(np.ravel(scores), "norm").pvalue > 1e-3
