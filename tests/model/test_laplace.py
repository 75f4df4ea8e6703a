"""The search for the posterior's mode: slopes against autograd, information against its definition."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_variants import VARIANTS

from zinbtools.model.compiled_slopes import CompiledSlopes
from zinbtools.model.data import CountData
from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from zinbtools.model.initialisation import initialise
from zinbtools.model.laplace import Modes, _gradient, _information_of_count, posterior_mode
from zinbtools.model.layers import Streams
from zinbtools.model.likelihood import log_likelihood
from zinbtools.model.marginal import _Target
from zinbtools.model.training import Cells, train
from zinbtools.model.vae import CountParameters, CountVAE, Gaussian, Shape


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(2, 0.2, (60, 20))
    return CountData(
        x + 1,
        group=rng.integers(3, size=60),
        covariates=rng.standard_normal((60, 2)),
        size_factor=rng.lognormal(0, 1, 60),
    )


@pytest.fixture
def problem(data, config):
    """A model, cells, a prior, states, and the joint density, all in double precision."""

    def build(likelihood, **changes):
        settings = replace(config, max_epochs=1, **changes)
        model = CountVAE(likelihood, Shape(data.n_genes, 3, 2), settings)
        everyone = torch.arange(data.n_cells)
        streams = Streams([3])
        initialise(model, data, everyone, everyone, streams)
        for parameter in model.parameters():
            parameter.data += 0.1 * streams.normal(*parameter.shape[1:], like=parameter)
        model = model.double().eval()
        batch = data.batch(everyone, torch.float64)
        n = settings.n_latent + (settings.library == "latent")
        shape = torch.ones(data.n_cells, n, dtype=torch.float64)
        prior = Gaussian(0.1 * shape, 1.5 * shape)
        state = 0.5 * streams.normal(data.n_cells, n, like=shape)[0]

        def log_joint(y):
            z = y[None, :, : settings.n_latent]
            library = (
                y[None, :, settings.n_latent :] if n > settings.n_latent else batch.log_library.view(1, -1, 1)
            )
            value = log_likelihood(batch, *model.decode(z, library, batch))[0]
            return value - 0.5 * ((y - prior.mean).square() / prior.variance).sum(-1)

        return model, batch, prior, state, log_joint

    return build


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_gradient_is_that_of_autograd(problem, likelihood, changes):
    model, batch, prior, state, log_joint = problem(likelihood, **changes)
    with torch.no_grad():
        ours, _ = _gradient(model, batch, prior, state)
    leaf = state.requires_grad_()
    (expected,) = torch.autograd.grad(log_joint(leaf).sum(), leaf)
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
@pytest.mark.parametrize("changes", [*VARIANTS, {"n_layers": 3}], ids=str)
def test_compiled_slopes_are_those_of_autograd(problem, data, likelihood, changes):
    """Of some of the cells, in another order."""
    model, _, prior, state, _ = problem(likelihood, **changes)
    cells = torch.randperm(data.n_cells, generator=torch.Generator().manual_seed(0))[:50]
    flat = Gaussian(torch.zeros_like(prior.mean)[:50], torch.full_like(prior.variance, torch.inf)[:50])
    with torch.no_grad():
        expected, _ = _gradient(model, data.batch(cells, torch.float64), flat, state[cells])
        ours = CompiledSlopes(copy.deepcopy(model).float(), data)(cells, state[cells])
    assert ours.dtype == state.dtype
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize("zero_inflated", [False, True])
def test_information_is_the_mean_square_of_the_scores(zero_inflated):
    """Sums over all counts up to 2,000 of p(x) times products of the scores by autograd."""
    x = torch.arange(2001, dtype=torch.float64)[:, None]
    log_mean, log_theta, logit = (
        torch.tensor(v, dtype=torch.float64).expand(2001, 4).clone().requires_grad_()
        for v in ([-2.0, 0.0, 1.5, 3.0], [1.0, -0.5, 0.7, 1.0], [-2.0, 0.5, -1.0, 1.5])
    )
    nb = NegativeBinomial(log_mean.exp(), log_theta.exp())
    counts = ZeroInflatedNegativeBinomial(nb, logit) if zero_inflated else nb
    log_prob = counts.log_prob(x)
    scores = torch.autograd.grad(log_prob.sum(), [log_mean, logit], allow_unused=True)
    p = log_prob.detach().exp()
    first = [part.detach()[None, :1] for part in (log_mean, log_theta, logit)]
    of_mean, of_both, of_logit = _information_of_count(
        CountParameters(*first[:2], first[2] if zero_inflated else None)
    )
    np.testing.assert_allclose(of_mean[0], (p * scores[0] ** 2).sum(0), rtol=1e-8)
    if zero_inflated:
        np.testing.assert_allclose(of_both[0], (p * scores[0] * scores[1]).sum(0), rtol=1e-8)
        np.testing.assert_allclose(of_logit[0], (p * scores[1] ** 2).sum(0), rtol=1e-8)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_the_mode_is_one(likelihood, config):
    """Of a trained model: higher than the encoder's mean and, but for few cells, than anything near."""
    rng = np.random.default_rng(1)
    x = rng.poisson(rng.gamma(2, 5, (3, 40))[rng.integers(3, size=300)])
    counts, everyone = CountData(x), torch.arange(300)
    settings = replace(config, max_epochs=60)
    everything = Cells(everyone, everyone, everyone)
    model = train(likelihood, counts, Shape(40), everything, settings, seeds=[0], order_seed=0).model
    target = _Target(copy.deepcopy(model).double(), counts, everyone)
    with torch.no_grad():
        mode = posterior_mode(model, counts, everyone, target.prior, target.mean, target.log_joint)
        top, start = target.log_joint(mode.state, everyone), target.log_joint(target.mean, everyone)
        assert (top >= start).all()
        assert (top > start).double().mean() > 0.9
        generator = torch.Generator().manual_seed(0)
        higher = torch.zeros(len(top), dtype=torch.bool)
        for _ in range(30):
            near = mode.state + 0.1 * torch.randn(top.shape + (4,), generator=generator, dtype=torch.float64)
            higher |= target.log_joint(near, everyone) > top + 0.1
    assert higher.double().mean() < 0.05
    assert (torch.linalg.eigvalsh(mode.information) > 0).all()


def test_modes_are_told_apart_and_counted():
    """Of one cell, in two dimensions of scales 1 and 10: two ends are one mode, and two are alone."""
    states = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.5, 9.0], [0.0, 50.0]])[:, None]
    factors = torch.tensor([1.0, 10.0]).diag().expand(4, 1, 2, 2)
    modes, times_found = Modes(states, factors, torch.tensor([[1.0], [4.0], [3.0], [2.0]])).distinct()
    np.testing.assert_array_equal(modes.states[:, 0], states[[1, 2, 3, 0], 0])
    np.testing.assert_array_equal(modes.log_mass[:, 0], [4, 3, 2, 1])
    np.testing.assert_array_equal(times_found[:, 0], [1, 2, 1, 0])


def test_modes_of_some_cells_do_not_keep_those_of_all():
    modes = Modes(torch.randn(2, 100, 3), torch.randn(2, 100, 3, 3), torch.randn(2, 100))
    for part, whole in zip(modes.of_cells(slice(None, None, 50)), modes, strict=True):
        assert torch.equal(part, whole[:, [0, 50]])
        assert part.untyped_storage().nbytes() == part.nbytes
