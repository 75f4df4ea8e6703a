"""The stack that trains by autograd: on CPUs against the written-out step, on a GPU against the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import zinbtools as zt
from zinbtools.model import training
from zinbtools.model.autograd import AutogradStack
from zinbtools.model.compiled import CompiledStack
from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Streams
from zinbtools.model.likelihood import log_likelihood
from zinbtools.model.training import Cells, train
from zinbtools.model.vae import CountVAE, Shape

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
        elbo = rest.step([cells] * 3, 0.01)
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
        assert np.isfinite(elbo).tolist() == [True, False, True]
        np.testing.assert_allclose(elbo[::2], expected[::2], rtol=1e-5, atol=1e-5)


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
def test_a_fit_on_a_gpu_is_as_good_as_on_a_cpu():
    nll = []
    for device in ("cpu", "cuda"):
        adata = zt.simulate.zisynth(n_obs=600, rng=0)
        zt.tl.fit_nb_zinb(adata, device=device, max_epochs=30, n_restarts=2, rng=0, progress=False)
        zt.tl.marginal_ll(adata, n_samples=20)
        nll.append(zt.get.metrics_df(adata).query("metric == 'nll'").groupby("model").value.mean())
    np.testing.assert_allclose(nll[1], nll[0], rtol=0.02)
