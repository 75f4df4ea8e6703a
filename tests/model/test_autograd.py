"""The stack that trains by autograd: on CPUs against the written-out step, on a GPU against the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import zinbtools as zt
from zinbtools.model import training
from zinbtools.model.autograd import AutogradStack
from zinbtools.model.compiled import CompiledStack
from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Linear, Streams
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
    here = CountData(data._compressed(torch.arange(data.n_cells)), group=group)
    shape = Shape(here.n_genes, n_groups=2)
    model = CountVAE("nb", shape, replace(config, dispersion="gene-batch"), 2)
    model.reset(Streams(SEEDS[:2]))
    own = list(torch.arange(60).split(30))
    together = model.log_inverse_dispersion(torch.empty(0), here.side_by_side(own))
    for place, cells in enumerate(own):
        assert torch.equal(together[place], model.log_theta[place, group[cells]])


class Watch(TorchDispatchMode):
    """Counts what torch is asked to do, and refuses what would make the host wait for a device."""

    def __init__(self):
        super().__init__()
        self.n_calls = 0

    def __torch_dispatch__(self, function, kinds, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        indices = args[1] if name.startswith("index") and len(args) > 1 else ()
        by_mask = isinstance(indices, (list, tuple)) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices
        )
        if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "unique", "equal"):
            raise AssertionError(f"{name} would wait for the device")
        self.n_calls += 1
        return function(*args, **kwargs or {})


def test_the_watch_sees_what_waits():
    values = torch.arange(3.0)
    for wait in (lambda: values[1].item(), lambda: values[values > 1], lambda: bool(values.any())):
        with Watch(), pytest.raises(AssertionError, match="wait"):
            wait()


def launches(stack, n_replicates: int, **changes) -> int:
    """What a step asks of torch, beside Adam's, which is one fused launch on a GPU."""
    here = stack(**changes)
    here.take(list(range(n_replicates)))
    cells = list(torch.arange(40 * n_replicates).split(40))
    here.step(cells, 0.01)  # draws ahead
    here._optimizer.step = lambda: None
    with Watch() as watch:
        here.step(cells, 0.01)
    return watch.n_calls


@pytest.mark.parametrize("changes", [{}, {"library": "observed"}, {"dispersion": "gene-cell"}])
def test_a_step_waits_for_nothing(stack, monkeypatch, changes):
    monkeypatch.setattr(Linear, "forward", in_one_product)
    assert launches(stack, 2, **changes) == launches(stack, 3, **changes) < 700


def in_one_product(layer, x):
    """As on a GPU; on a CPU there is a product per replicate."""
    x = x.expand(len(layer.weight), *x.shape[-2:])
    return torch.bmm(x, layer.weight) if layer.bias is None else torch.baddbmm(layer.bias, x, layer.weight)


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
