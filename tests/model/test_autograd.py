"""The stack that trains by autograd: on CPUs against the written-out step, on a GPU against the CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zinbtools as zt
from zinbtools.model import autograd, graphs, training
from zinbtools.model.autograd import AutogradStack
from zinbtools.model.compiled import CompiledStack
from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Streams
from zinbtools.model.likelihood import log_likelihood
from zinbtools.model.training import Cells, train
from zinbtools.model.vae import CountVAE, Shape

from .conftest import SMALL

SEEDS = [11, 22, 33]
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])


def to(device: str, data: CountData, cells: Cells) -> tuple[CountData, Cells]:
    counts = np.stack([data.batch(torch.tensor([i])).dense()[0].numpy() for i in range(data.n_cells)])
    moved = (part.to(device) for part in (cells.train, cells.stop, cells.prior))
    return CountData(counts, device=device), Cells(*moved)


@pytest.fixture
def stack(data, cells, config):
    def build(device="cpu", **changes):
        here, _ = to(device, data, cells)
        model = CountVAE("zinb", Shape(here.n_genes), replace(config, **changes), len(SEEDS)).to(device)
        everyone = torch.arange(here.n_cells, device=device)
        initialise(model, here, everyone, everyone, Streams(SEEDS, device))
        return AutogradStack(model, here, SEEDS)

    return build


@devices
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_it_trains_as_well_as_the_written_out_step(data, cells, config, monkeypatch, likelihood, device):
    settings = replace(config, max_epochs=25)
    best = []
    for kind in (CompiledStack, AutogradStack):
        monkeypatch.setattr(training, "CompiledStack", kind)
        here, these = to(device if kind is AutogradStack else "cpu", data, cells)
        result = train(likelihood, here, Shape(here.n_genes), these, settings, seeds=SEEDS, order_seed=5)
        assert not result.failures
        course = [record.validation_elbo for record in result.history]
        best.append(np.mean([max(course[r :: len(SEEDS)]) for r in range(len(SEEDS))]))
    assert best[1] == pytest.approx(best[0], abs=0.5)


@devices
def test_those_that_stay_go_on_as_if_nobody_had_left(stack, device):
    whole, rest = stack(device), stack(device)
    batches = torch.arange(200, device=device).split(40)
    for step, cells in enumerate(batches):
        if step == 2:
            rest.take([2, 0])
        expected = whole.step([cells] * 3, 0.01)
        elbo = rest.step([cells] * (3 if step < 2 else 2), 0.01)
        if step >= 2:
            np.testing.assert_allclose(elbo, [expected[2], expected[0]], rtol=1e-4, atol=1e-4)
    for place, original in enumerate([2, 0]):
        for name, value in whole.state(original).items():
            torch.testing.assert_close(rest.state(place)[name], value, rtol=1e-3, atol=1e-4)


@devices
def test_a_replicate_that_fails_does_not_disturb_the_others(stack, device):
    whole, broken = stack(device), stack(device)
    broken.state(1)["log_theta"][0, 3] = torch.nan
    cells = torch.arange(60, device=device)
    for _ in range(3):
        expected, elbo = (s.step([cells] * 3, 0.01) for s in (whole, broken))
        assert torch.isfinite(elbo).tolist() == [True, False, True]
        np.testing.assert_allclose(elbo[::2], expected[::2], rtol=1e-5, atol=1e-5)


@devices
def test_each_replicate_sees_its_own_minibatch_as_if_it_were_alone(stack, device):
    together = stack(device)
    alone = [stack(device) for _ in SEEDS]
    for place, one in enumerate(alone):
        one.take([place])
    for step in range(3):
        own = list(torch.arange(60 * step, 60 * (step + 1)).split(20))
        expected = [float(one.step([cells], 0.01)[0]) for one, cells in zip(alone, own, strict=True)]
        np.testing.assert_allclose(together.step(own, 0.01).tolist(), expected, rtol=1e-5)


def test_a_dispersion_per_batch_is_that_of_each_replicate(data, config):
    group = np.arange(data.n_cells) % 2
    here = CountData(next(data.compressed(torch.arange(data.n_cells))), group=group)
    shape = Shape(here.n_genes, n_groups=2)
    model = CountVAE("nb", shape, replace(config, dispersion="gene-batch"), 2)
    model.reset(Streams(SEEDS[:2]))
    own = list(torch.arange(60).split(30))
    together = model.log_inverse_dispersion(torch.empty(0), here.side_by_side(own))
    for place, cells in enumerate(own):
        assert torch.equal(together[place], model.log_theta[place, group[cells]])


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_bfloat16_products_are_near(data, cells, config, likelihood):
    """As near as those of the compiled path, and weights, gradients and what others see are not halved."""
    elbos, gradients = [], []
    for halved in (False, True):
        model = CountVAE(likelihood, Shape(data.n_genes), config, 2)
        initialise(model, data, cells.train, cells.train, Streams(SEEDS[:2]))
        stack = AutogradStack(model, data, SEEDS[:2], halved=halved)
        seen = []
        model.scale.register_forward_hook(lambda layer, _, out, seen=seen: seen.append((layer.halved, out)))
        stack._optimizer.step = lambda: None
        elbos.append(stack.step(cells.train.split(100), 0.01))
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        assert stack.elbo(cells.stop) == pytest.approx(stack.elbo(cells.stop))
        assert [(was, out.dtype) for was, out in seen] == [(halved, torch.float32)] * len(seen)
        assert not model.scale.halved
    assert all(g.dtype == torch.float32 for g in gradients[1].values())
    assert not torch.equal(*elbos)
    torch.testing.assert_close(elbos[1], elbos[0], rtol=1e-3, atol=0)
    for name, gradient in gradients[0].items():
        assert (gradients[1][name] - gradient).norm() < 0.1 * gradient.norm(), name


@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
def test_training_in_bfloat16_ends_as_well(data, cells, config, monkeypatch, dispersion):
    settings, best = replace(config, max_epochs=25, dispersion=dispersion), []
    for halved in (False, True):
        monkeypatch.setattr(training, "CompiledStack", partial(AutogradStack, halved=halved))
        result = train("zinb", data, Shape(12), cells, settings, seeds=SEEDS, order_seed=5)
        course = [record.validation_elbo for record in result.history]
        best.append(np.mean([max(course[r :: len(SEEDS)]) for r in range(len(SEEDS))]))
    assert best[1] == pytest.approx(best[0], abs=0.5)


def test_which_devices_halve_and_record(data, monkeypatch):
    """Where 256 genes make it pay, and where an environment variable asks for it."""
    cuda = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert [autograd.has_bfloat16(where) for where in (torch.device("cpu"), cuda)] == [False, True]
    monkeypatch.setattr(autograd, "has_bfloat16", lambda device: True)
    for wide, halved in ((12, True), (13, False)):
        monkeypatch.setattr(autograd, "WIDE", wide)
        assert AutogradStack(CountVAE("nb", Shape(12), SMALL), data, [1])._halved == halved
    for there, asked in ((cuda, "1"), (cuda, "0"), (torch.device("cpu"), "1")):
        monkeypatch.setenv("ZINBTOOLS_CUDA_GRAPHS", asked)
        elsewhere = SimpleNamespace(device=there, in_memory=True)
        assert autograd.wants_graphs(elsewhere) == (there == cuda and asked == "1")


@pytest.mark.parametrize("changes", [{}, {"dispersion": "gene-batch"}, {"dispersion": "gene-cell"}])
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_recorded_steps_are_the_steps(data, config, monkeypatch, likelihood, changes):
    """With entries that are repeated, and random numbers and rates that are put in place."""
    recordings, replays = [], []

    def record(run):
        recordings.append(run)
        return lambda: replays.append(run) or run()

    monkeypatch.setattr(graphs, "record", record)
    stacks = []
    for recorded in (False, True):
        model = CountVAE(likelihood, Shape(12), replace(config, **changes), 2)
        initialise(model, data, torch.arange(240), torch.arange(240), Streams(SEEDS[:2]))
        stacks.append(AutogradStack(model, data, SEEDS[:2], graphs=recorded))
    order = torch.Generator().manual_seed(1)
    for step in range(40):
        size = 20 if step % 5 == 4 else 60
        cells = [torch.randperm(240, generator=order)[:size] for _ in range(1 if step > 30 else 2)]
        if step == 31:
            for stack in stacks:
                stack.take([1])
        expected, elbo = (stack.step(cells, 0.001 * (step + 1)) for stack in stacks)
        np.testing.assert_allclose(elbo, expected, rtol=1e-4)
    for name, value in stacks[0].state(0).items():
        torch.testing.assert_close(stacks[1].state(0)[name], value, rtol=1e-2, atol=1e-3)
    # of both sizes for two replicates, and of the larger one for the one that stays
    assert len(recordings) == 3
    assert len(replays) > 20


def test_a_minibatch_of_very_many_counts_is_not_recorded(data, config, monkeypatch):
    monkeypatch.setattr(graphs, "usual_entries", lambda lengths, n_cells: 1)
    monkeypatch.setattr(graphs, "record", pytest.fail)
    model = CountVAE("nb", Shape(12), config)
    model.reset(Streams([1]))
    stack = AutogradStack(model, data, [1], graphs=True)
    assert all(stack.step([torch.arange(40)], 0.01).isfinite() for _ in range(6))


def test_few_minibatches_have_more_counts_than_usual(data):
    random = torch.Generator().manual_seed(0)
    drawn = [data.n_positive(torch.randperm(240, generator=random)[:40]) for _ in range(1000)]
    most = graphs.usual_entries(data.lengths, 40)
    assert np.mean(drawn) < most < 40 * data.lengths.max() + 1
    assert np.mean(np.array(drawn) > most) < 0.001


@given(st.data())
def test_entries_that_are_repeated_add_nothing(chosen):
    counts = np.random.default_rng(0).poisson(0.4, (30, 7))
    counts[:, 3] += 1
    data = CountData(counts)
    cells = torch.tensor(chosen.draw(st.lists(st.integers(0, 29), min_size=1, max_size=9)))
    plain = data.batch(cells)
    n_entries = chosen.draw(st.integers(len(plain.counts), 80))
    filled = data.batch(cells, n_entries=n_entries)
    n = len(plain.counts)
    for name in ("counts", "genes", "positions"):
        assert torch.equal(getattr(filled, name)[:n], getattr(plain, name))
        assert len(getattr(filled, name)) == n_entries
    assert torch.equal(filled.log1p, plain.log1p)
    assert torch.equal(filled.dense(), plain.dense())
    log_mean, logit = torch.randn(2, 2, len(cells), 7, dtype=torch.float64)
    log_theta = torch.randn(2, 1, 7, dtype=torch.float64)
    found = []
    for n_of in (None, n_entries):
        parameters = [p.clone().requires_grad_() for p in (log_mean, log_theta, logit)]
        value = log_likelihood(data.batch(cells, torch.float64, n_of), *parameters)
        value.sum().backward()
        found.append([value.detach(), *(p.grad for p in parameters)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@devices
def test_the_validation_draws_are_always_the_same(stack, device):
    here = stack(device)
    cells = torch.arange(50, device=device)
    assert here.elbo(cells) == here.elbo(cells)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_the_likelihood_on_a_gpu_is_that_on_a_cpu(data):
    generator = torch.Generator().manual_seed(0)
    log_mean, logit = 2 * torch.randn(2, 3, 50, data.n_genes, generator=generator)
    log_theta = torch.randn(3, 1, data.n_genes, generator=generator)
    cells, results = torch.arange(50), []
    for device in ("cpu", "cuda"):
        here, _ = to(device, data, Cells(cells, cells, cells))
        parameters = [p.to(device).requires_grad_() for p in (log_mean, log_theta, logit)]
        value = log_likelihood(here.batch(cells.to(device)), *parameters)
        value.sum().backward()
        results.append([value.detach().cpu(), *(p.grad.cpu() for p in parameters)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-5, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_recorded_steps_on_a_gpu_are_the_steps(data, config):
    here, _ = to("cuda", data, Cells(*3 * [torch.arange(240)]))
    everyone, stacks = torch.arange(240, device="cuda"), []
    for recorded in (False, True):
        model = CountVAE("zinb", Shape(12), config, 2).to("cuda")
        initialise(model, here, everyone, everyone, Streams(SEEDS[:2], "cuda"))
        stacks.append(AutogradStack(model, here, SEEDS[:2], graphs=recorded))
    for step in range(20):
        cells = [torch.randperm(240)[: 20 if step % 5 == 4 else 60] for _ in range(2)]
        expected, elbo = (stack.step(cells, 0.001 * (step + 1)) for stack in stacks)
        torch.testing.assert_close(elbo, expected, rtol=1e-3, atol=0)
    assert all(recorded._replay for recorded in stacks[1]._recorded.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_fit_on_a_gpu_is_as_good_as_on_a_cpu():
    nll = []
    for device in ("cpu", "cuda"):
        adata = zt.simulate.zisynth(n_obs=600, rng=0)
        zt.tl.fit_nb_zinb(adata, device=device, max_epochs=30, n_restarts=2, rng=0, progress=False)
        zt.tl.marginal_ll(adata, n_samples=20)
        nll.append(zt.get.metrics_df(adata).query("metric == 'nll'").groupby("model").value.mean())
    np.testing.assert_allclose(nll[1], nll[0], rtol=0.02)
