"""What runs on a GPU, on a device that is pretended: nothing is mixed, and the host hardly ever waits."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_variants import VARIANTS
from pretended_device import DEVICE, Pretended, pretended_device

from zinbtools.model import graphs, marginal
from zinbtools.model.autograd import AutogradStack
from zinbtools.model.config import FitConfig
from zinbtools.model.data import CountData
from zinbtools.model.gene_predictive import gene_predictive
from zinbtools.model.initialisation import initialise
from zinbtools.model.laplace import posterior_mode, posterior_mode_together
from zinbtools.model.layers import Streams
from zinbtools.model.marginal import _Target, marginal_log_likelihood
from zinbtools.model.predictive import (
    Replicates,
    embedding,
    expectations,
    gene_reconstruction,
    hidden_states,
    mean_dropout,
    quantile_residuals,
)
from zinbtools.model.training import Cells, train
from zinbtools.model.vae import CountVAE, Shape
from zinbtools.model.zeros import dropped_zeros, replicated_counts, zero_calibration

EVERYONE = torch.arange(240)
variants = pytest.mark.parametrize("changes", VARIANTS, ids=str)
likelihoods = pytest.mark.parametrize("likelihood", ["nb", "zinb"])


@pytest.fixture
def pretended() -> Iterator[Pretended]:
    with pretended_device() as device:
        yield device


def on(device: torch.device | str, data: CountData) -> CountData:
    """The counts, in two batches, with a covariate and size factors."""
    rng, number = np.random.default_rng(1), np.arange(data.n_cells)
    return CountData(
        next(data.compressed(EVERYONE)),
        group=number % 2,
        covariates=rng.standard_normal((data.n_cells, 1)),
        size_factor=rng.lognormal(0, 0.3, data.n_cells),
        device=device,
    )


def built(
    likelihood: str, data: CountData, config: FitConfig, n_replicates: int = 1, *, training: bool = False
) -> CountVAE:
    """A model at the data's moments, in evaluation mode."""
    model = CountVAE(likelihood, Shape(data.n_genes, 2, 1), config, n_replicates).to(data.device)
    everyone, seeds = EVERYONE.to(data.device), range(n_replicates)
    initialise(model, data, everyone, everyone, Streams(seeds, data.device))
    return model.eval().requires_grad_(training)


def test_the_device_takes_no_tensor_of_the_host(pretended: Pretended) -> None:
    values, index = torch.arange(6.0, device=DEVICE), torch.tensor([1, 2])
    for mix in (
        lambda: values + torch.ones(6),
        lambda: values[index],
        lambda: values.index_add_(0, index, values[:2]),
    ):
        with pytest.raises(AssertionError, match="mixes"):
            mix()
    assert (values[index.to(DEVICE)] * torch.tensor(2.0)).tolist() == [2, 4]


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[1].item(),
        lambda x: x[x > 1],
        lambda x: bool((x > 1).any()),
        lambda x: x.cpu(),
        lambda x: x.numpy(force=True),
        lambda x: x.nonzero(),
        lambda x: torch.linalg.inv(x.diag()),
        lambda x: torch.repeat_interleave(x.long()),
    ],
)
def test_the_device_sees_what_waits(pretended: Pretended, wait) -> None:
    values = torch.arange(1.0, 4.0, device=DEVICE)
    assert (values * 2).where(values > 1, 0).sum().device == DEVICE
    assert not pretended.waits
    wait(values)
    assert pretended.waits.total() == 1


@likelihoods
@variants
def test_the_host_waits_as_often_whatever_the_number_of_steps(
    pretended, data, cells, config, likelihood, changes
) -> None:
    here, waits = on(DEVICE, data), []
    these = Cells(*(part.to(DEVICE) for part in (cells.train, cells.stop, cells.prior)))
    for size in (50, 10):
        settings = replace(config, batch_size=size, max_epochs=2, **changes)
        pretended.forget()
        result = train(likelihood, here, Shape(12, 2, 1), these, settings, seeds=[1, 2], order_seed=3)
        assert not result.failures
        assert len(result.history) == 4
        waits.append(pretended.waits.total())
    # twice an epoch to read ELBOs, and once for each of the split's three indices and two batches' priors
    assert waits[0] == waits[1] <= 2 * 2 + 5


@pytest.mark.parametrize(("likelihood", "most"), [("nb", 385), ("zinb", 440)])
def test_what_a_step_launches(pretended, data, config, likelihood, most) -> None:
    """Hardly more for ten replicates than for one: the draws of each, of many steps at once."""
    here, per_step = on(DEVICE, data), []
    for n in (1, 10):
        stack = AutogradStack(built(likelihood, here, config, n, training=True), here, range(n))
        minibatches = [list(torch.randperm(200).split(20))[:n] for _ in range(17)]
        stack.step(minibatches[0], 0.01)
        pretended.forget()
        for cells in minibatches[1:]:
            stack.step(cells, 0.01)
        assert not pretended.waits
        assert pretended.uploads == 16
        per_step.append(pretended.launches.total() / 16)
    assert per_step[0] < most
    assert per_step[1] < per_step[0] + 10


@likelihoods
def test_what_is_recorded_needs_nothing_of_the_host(pretended, data, config, monkeypatch, likelihood) -> None:
    """No transfer and no wait, which a CUDA graph cannot hold."""
    recorded = []

    def record(run):
        pretended.forget()
        run()
        recorded.append((pretended.waits.total(), pretended.uploads))
        return run

    monkeypatch.setattr(graphs, "record", record)
    here = on(DEVICE, data)
    stack = AutogradStack(built(likelihood, here, config, 2, training=True), here, [1, 2], graphs=True)
    for cells in (torch.randperm(240)[:80].split(40) for _ in range(6)):
        stack.step(cells, 0.01)
    assert recorded == [(0, 0)]


@likelihoods
def test_a_step_is_that_of_the_host(pretended, data, config, likelihood) -> None:
    elbos = []
    for where in (DEVICE, "cpu"):
        here = on(where, data)
        stack = AutogradStack(built(likelihood, here, config, 2, training=True), here, [5, 6])
        order = torch.Generator("cpu").manual_seed(0)
        minibatches = [torch.randperm(200, generator=order)[:80].split(40) for _ in range(10)]
        elbos.append([stack.step(cells, 0.01).tolist() for cells in minibatches])
    np.testing.assert_allclose(*elbos, rtol=1e-4)


@likelihoods
@variants
def test_many_states_together_have_the_density_that_they_have_one_by_one(
    data, cells, config, likelihood, changes
) -> None:
    """By torch in batches as by the compiled kernels, both in double precision."""
    here = on("cpu", data)
    model = built(likelihood, here, replace(config, **changes)).double()
    target = _Target(model, here, cells.stop)
    states = target.mean + torch.randn(30, *target.mean.shape, generator=torch.Generator().manual_seed(0))
    together = target.log_joint_together(states)
    one_by_one = target.log_joint(states.flatten(0, 1), torch.arange(40).repeat(30)).view(30, 40)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-9)


def test_memory_limits_how_many_states_are_together(data, cells, config, monkeypatch) -> None:
    here = on("cpu", data)
    target = _Target(built("zinb", here, config).double(), here, cells.stop)
    states = target.mean.expand(9, -1, -1)
    whole = target.log_joint_together(states)
    monkeypatch.setattr(marginal, "_ENTRIES_ON_DEVICE", 2 * 40 * 12)
    np.testing.assert_allclose(target.log_joint_together(states), whole, rtol=1e-12)


@likelihoods
def test_all_cells_together_find_the_modes_that_each_finds(data, cells, config, likelihood) -> None:
    here = on("cpu", data)
    model = built(likelihood, here, config)
    target = _Target(copy.deepcopy(model).double(), here, EVERYONE)
    alone = posterior_mode(model, here, EVERYONE, target.prior, target.mean, target.log_joint)
    together = posterior_mode_together(
        model, here.batch(EVERYONE), target.prior, target.mean, target.log_joint_together
    )
    np.testing.assert_allclose(together.value, alone.value, rtol=1e-6)
    np.testing.assert_allclose(together.state, alone.state, atol=1e-4)
    np.testing.assert_allclose(together.information, alone.information, rtol=1e-3, atol=1e-2)


@likelihoods
@pytest.mark.parametrize("proposal", ["laplace", "posterior"])
def test_marginal_likelihoods_are_those_of_the_host(
    pretended, data, cells, config, likelihood, proposal
) -> None:
    found = []
    for where in ("cpu", DEVICE):
        here = on(where, data)
        model = built(likelihood, here, config)
        pretended.forget()
        found.append(
            marginal_log_likelihood(
                model, here, cells.stop.to(where), n_samples=400, proposal=proposal, batch_size=20
            )
        )
    host, device = found
    error = (host.standard_error.square() + device.standard_error.square()).sqrt()
    assert ((host.log_likelihood - device.log_likelihood).abs() < 5 * error + 1e-3).all()
    # of two batches, and of some cells a second look; for each the weights, and a question per step to a mode
    n_steps = 0 if proposal == "posterior" else 3 * 8
    assert pretended.waits.total() <= 4 * 3 + n_steps


@likelihoods
@pytest.mark.parametrize("latent", ["posterior", "fixed", "prior"])
def test_replicates_are_distributed_as_on_the_host(pretended, data, config, likelihood, latent) -> None:
    means, expected = [], []
    for where in ("cpu", DEVICE):
        here = on(where, data)
        replicates = Replicates(
            built(likelihood, here, config), here, EVERYONE.to(where), seed=1, latent=latent
        )
        pretended.forget()
        draws = [replicates.draw(number, expected=True) for number in range(100)]
        assert pretended.waits.total() == (0 if where == "cpu" else 100)
        assert vars(replicates.draw(3).counts)["total"].tolist() == draws[3].counts.total.tolist()
        sums = np.array(
            [[d.counts.n_zeros, d.counts.n_ones, d.counts.total, d.counts.total_of_squares] for d in draws]
        )
        of_expected = np.array(
            [
                [d.expected.n_zeros, d.expected.n_ones, d.expected.total, d.expected.total_of_squares]
                for d in draws
            ]
        )
        means.append((sums.mean(0), sums.std(0, ddof=1) / np.sqrt(100)))
        expected.append(of_expected.mean(0))
        assert all(np.isnan(d.expected.maximum).all() for d in draws)
        assert all((d.counts.maximum**2 <= d.counts.total_of_squares).all() for d in draws)
    # those of one draw of the latent states differ as these do
    tolerance = 0.1 if latent == "fixed" else 0.02
    np.testing.assert_allclose(expected[1], expected[0], rtol=tolerance, atol=0.5)
    difference, error = expected[1] - means[1][0], means[1][1]
    assert (abs(difference) < 5 * error + 1e-3).all()


@likelihoods
def test_expectations_are_those_of_the_host(pretended, data, config, likelihood) -> None:
    found = []
    for where in ("cpu", DEVICE):
        here = on(where, data)
        model = built(likelihood, here, config)
        pretended.forget()
        found.append(list(expectations(model, here, n_draws=300, seed=1)))
        assert not pretended.waits
    for host, device in zip(*found, strict=True):
        for name, one, other in zip(host._fields, host, device, strict=True):
            np.testing.assert_allclose(other.numpy(force=True), one, rtol=0.15, atol=0.02, err_msg=name)
            np.testing.assert_allclose(other.float().mean().item(), one.float().mean(), rtol=0.01, atol=1e-6)


@likelihoods
def test_zeros_are_counted_as_on_the_host(pretended, data, config, likelihood) -> None:
    found = []
    for where in ("cpu", DEVICE):
        here = on(where, data)
        model, everyone = built(likelihood, here, config), EVERYONE.to(where)
        shares = [dropped_zeros(model, here, everyone, n_draws=50, seed=1)] if likelihood == "zinb" else []
        twin = replicated_counts(model, here, seed=1)
        zeros = zero_calibration(model, here, everyone, everyone[::2], n_null=20, n_draws=20, seed=1)
        found.append((zeros, twin, shares))
    (host, their_twin, their_shares), (device, twin, shares) = found
    np.testing.assert_array_equal(device.observed, host.observed)
    np.testing.assert_allclose(device.expected, host.expected, rtol=0.02, atol=0.5)
    np.testing.assert_allclose(device.null_observed.mean(0), host.null_observed.mean(0), rtol=0.1, atol=2)
    np.testing.assert_allclose(device.null_expected.mean(0), host.null_expected.mean(0), rtol=0.05, atol=1)
    assert twin.shape == their_twin.shape
    assert twin.mean() == pytest.approx(their_twin.mean(), rel=0.05)
    np.testing.assert_allclose(shares, their_shares, rtol=0.05)


@likelihoods
def test_whatever_else_is_asked_of_a_model(pretended, data, config, likelihood) -> None:
    """Latent states, residuals and gene by gene likelihoods, with two waits for a block of cells at most."""
    found = []
    for where in ("cpu", DEVICE):
        here = on(where, data)
        model, everyone = built(likelihood, here, config), EVERYONE.to(where)
        pretended.forget()
        found.append(
            [
                embedding(model, here),
                np.concatenate(list(hidden_states(model, here, everyone, unseen=(2, 0.5)))),
                np.concatenate(list(quantile_residuals(model, here, everyone, seed=1))),
                np.concatenate(list(gene_reconstruction(model, here, everyone, n_samples=2, seed=1))),
                np.concatenate(list(gene_predictive(model, here, everyone, n_samples=2, seed=1))),
                mean_dropout(model, here, seed=1).numpy(force=True),
                here.statistics(EVERYONE.numpy()).total,
            ]
        )
        assert pretended.waits.total() <= 6 * 2 * 2 + 4
    for host, device in zip(*found, strict=True):
        np.testing.assert_allclose(device, host, rtol=1e-4, atol=1e-5)
