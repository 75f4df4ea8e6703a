"""The training step that is written out, against autograd."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from zinbtools.model import compiled, program
from zinbtools.model import products as making
from zinbtools.model.compiled import CompiledStack
from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Streams
from zinbtools.model.program import apart
from zinbtools.model.vae import CountVAE, Shape

N_CELLS = 90
SEEDS = [3, 4]


class Recorder:
    """A random stream that remembers what it gave."""

    def __init__(self, seed):
        self._generator, self.masks, self.normals = np.random.default_rng(seed), [], []
        self.bit_generator = self

    def random_raw(self, n_words):
        words = self._generator.integers(2**64, size=n_words, dtype=np.uint64)
        self.masks += [words.view(np.uint16)] if n_words else []
        return words

    def standard_normal(self, dtype, out):
        self._generator.standard_normal(dtype=dtype, out=out)
        self.normals.append(out.copy())


class Replay(Streams):
    """What a `Recorder` gave each replicate of a `CountVAE`."""

    def __init__(self, recorders):
        super().__init__(range(len(recorders)))
        self._recorders = recorders

    def normal(self, *shape, like):
        return torch.tensor(np.stack([recorder.normals.pop(0) for recorder in self._recorders]))

    def mask(self, *shape, keep, like):
        return torch.stack([self._mask(recorder, *shape, keep=keep) for recorder in self._recorders])

    @staticmethod
    def _mask(recorder, *shape, keep):
        bits = recorder.masks.pop(0).reshape(shape[0], -1)
        bits, of_the_library = np.split(bits, [shape[1]], axis=1)
        if of_the_library.size:  # the encoders' first layers are one: the other asks last
            recorder.masks.append(of_the_library)
        threshold = round((1 - keep) * 2**16)
        return torch.tensor((bits >= threshold) * 2.0**16 / (2**16 - threshold), dtype=torch.float32)


class Products(NamedTuple):
    """How they are made, and the share of positive counts below which the first layer passes over zeros."""

    together: bool
    small: int
    sparse: float


PRODUCTS = {
    "one by one": Products(together=False, small=0, sparse=0.0),
    "by numpy": Products(together=False, small=2**60, sparse=0.0),
    "together": Products(together=True, small=0, sparse=0.0),
    "sparse": Products(together=False, small=0, sparse=2.0),
}


@pytest.fixture(autouse=True, params=PRODUCTS.values(), ids=list(PRODUCTS))
def products(request, monkeypatch):
    monkeypatch.setattr(making, "ONEDNN", request.param.together)
    monkeypatch.setattr(making, "_BATCHED", 0)
    monkeypatch.setattr(making, "_SMALL", request.param.small)
    monkeypatch.setattr(program, "_SPARSE", request.param.sparse)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(0.5, 0.1, (150, 40))
    x[:, 0] += 1
    x[3, 5] = 20_000
    return CountData(
        x,
        group=rng.integers(3, size=150),
        covariates=rng.standard_normal((150, 2)),
        size_factor=rng.lognormal(0, 1, 150),
    )


@pytest.fixture
def model(counts, config):
    def build(likelihood, **changes):
        settings = replace(config, max_epochs=1, **changes)
        model = CountVAE(likelihood, Shape(counts.n_genes, 3, 2), settings, len(SEEDS))
        everyone = torch.arange(counts.n_cells)
        streams = Streams(SEEDS)
        initialise(model, counts, everyone, everyone, streams)
        for parameter in model.parameters():
            parameter.data += 0.05 * streams.normal(*parameter.shape[1:], like=parameter)
        return model

    return build


VARIANTS = [
    {},
    {"n_layers": 3},
    {"dropout_rate": 0.0},
    {"dispersion": "gene-batch"},
    {"dispersion": "gene-cell"},
    {"dispersion": "none"},
    {"library": "observed"},
    {"library": "size_factor"},
]


@pytest.fixture
def cells(counts):
    """Of each replicate."""
    rng = np.random.default_rng(1)
    return [rng.permutation(counts.n_cells)[:N_CELLS] for _ in SEEDS]


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_values_and_gradients_are_those_of_autograd(model, counts, cells, likelihood, changes):
    theirs = model(likelihood, **changes)
    ours, recorders = CompiledStack(theirs, counts, SEEDS), [Recorder(5), Recorder(6)]
    step = ours.program(N_CELLS)
    values = step.forward(cells, recorders, training=True)
    step.backward()

    elbo = theirs.train().elbo(counts.side_by_side([*map(torch.tensor, cells)]), Replay(recorders)).mean(1)
    (-elbo.sum()).backward()
    assert values == pytest.approx(elbo.tolist(), rel=1e-6)
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, gradient in apart(ours.parameters.gradients, expected).items():
        for found, correct in zip(gradient, expected[name], strict=True):
            assert (found - correct).norm() / correct.norm() < 1e-4, name
    for name, moments in theirs.replicate_state().items():
        if "running" in name:
            for place, moment in enumerate(moments):
                np.testing.assert_allclose(ours.state(place)[name], moment, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_in_evaluation_mode_too(model, counts, cells, likelihood, changes):
    theirs = model(likelihood, **changes).eval()
    ours, recorders = CompiledStack(theirs, counts, SEEDS), [Recorder(5), Recorder(6)]
    values = ours.program(N_CELLS).forward(cells, recorders, training=False)
    assert not any(recorder.masks for recorder in recorders)
    elbo = theirs.elbo(counts.side_by_side([*map(torch.tensor, cells)]), Replay(recorders)).mean(1)
    assert values == pytest.approx(elbo.tolist(), rel=1e-6)


@pytest.mark.skipif(not compiled.has_bfloat16(), reason="this processor has no products in bfloat16")
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_bfloat16_products_are_near(model, counts, cells, likelihood, monkeypatch):
    single = CompiledStack(model(likelihood), counts, SEEDS)
    monkeypatch.setattr(compiled, "WIDE", 1)
    halved = CompiledStack(model(likelihood), counts, SEEDS)
    assert halved.parameters.operands["outputs.weight"].dtype == torch.bfloat16
    values = []
    for stack in (single, halved):
        step = stack.program(N_CELLS)
        values.append(step.forward(cells, [Recorder(5), Recorder(6)], training=True))
        step.backward()
    assert values[1] == pytest.approx(values[0], rel=1e-3)
    for name, gradients in single.parameters.gradients.items():
        for near, gradient in zip(halved.parameters.gradients[name].float(), gradients, strict=True):
            assert (near - gradient).norm() < 0.1 * gradient.norm(), name


def test_what_is_not_finite_shows(model, counts):
    """Wherever it comes in: functions that clip their arguments must not hide it. The other is unharmed."""
    cells = [torch.arange(N_CELLS)] * 2
    whole = CompiledStack(model("zinb"), counts, SEEDS)
    expected = whole.step(cells, 1e-3)[0]
    for name in ("scale.weight", "scale.bias", "dropout.bias", "log_theta", "library_encoder.mean.bias"):
        for value in (np.nan, np.inf):
            broken = model("zinb")
            broken.get_parameter(name).data[1, 0, 7 if name != "library_encoder.mean.bias" else 0] = value
            stack = CompiledStack(broken, counts, SEEDS)
            before = {name: of_it.clone() for name, of_it in stack.state(1).items()}
            sound, failed = stack.step(cells, 1e-3)
            assert not failed.isfinite(), (name, value)
            assert sound == expected
            for parameter, after in stack.state(0).items():
                assert torch.equal(after, whole.state(0)[parameter])
            for parameter, after in stack.state(1).items():
                if "running" not in parameter:
                    torch.testing.assert_close(after, before[parameter], rtol=0, atol=0, equal_nan=True)
