"""The training step that is written out, against autograd."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zinbtools.model import compiled, program
from zinbtools.model.compiled import CompiledStack, _Replicate
from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Streams
from zinbtools.model.program import ArrayData, apart
from zinbtools.model.vae import CountVAE, Shape

N_CELLS = 90


class Recorder:
    """A random stream that remembers what it gave."""

    def __init__(self, seed):
        self._generator, self.masks, self.normals = np.random.default_rng(seed), [], []
        self.bit_generator = self

    def random_raw(self, n_words):
        words = self._generator.integers(2**64, size=n_words, dtype=np.uint64)
        self.masks += [words.view(np.uint16)] if n_words else []
        return words

    def standard_normal(self, shape, dtype):
        self.normals.append(self._generator.standard_normal(shape, dtype=dtype))
        return self.normals[-1]


class Replay(Streams):
    """What a `Recorder` gave, for one replicate of a `CountVAE`."""

    def __init__(self, recorder):
        super().__init__([0])
        self._recorder = recorder

    def normal(self, *shape, like):
        return torch.tensor(self._recorder.normals.pop(0))[None]

    def mask(self, *shape, keep, like):
        bits = self._recorder.masks.pop(0).reshape(shape[0], -1)
        bits, of_the_library = np.split(bits, [shape[1]], axis=1)
        if of_the_library.size:  # the encoders' first layers are one: the other asks last
            self._recorder.masks.append(of_the_library)
        threshold = round((1 - keep) * 2**16)
        return torch.tensor((bits >= threshold) * 2.0**16 / (2**16 - threshold), dtype=torch.float32)[None]


@pytest.fixture(
    autouse=True, params=[(0.0, 0), (0.0, 2**60), (2.0, 0)], ids=["dense", "dense by numpy", "sparse"]
)
def products(request, monkeypatch):
    """The first layer's products with all counts, and with the positive ones; all products by numpy."""
    sparse, small = request.param
    monkeypatch.setattr(program, "_SPARSE", sparse)
    monkeypatch.setattr(program, "_SMALL", small)


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
        model = CountVAE(likelihood, Shape(counts.n_genes, 3, 2), settings)
        everyone = torch.arange(counts.n_cells)
        streams = Streams([3])
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


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_value_and_gradients_are_those_of_autograd(model, counts, likelihood, changes):
    theirs = model(likelihood, **changes)
    ours, recorder = _Replicate(theirs, 0, ArrayData(counts), seed=1), Recorder(5)
    cells = np.random.default_rng(1).permutation(counts.n_cells)[:N_CELLS]
    step = ours.program(N_CELLS)
    value = step.forward(cells, recorder, training=True)
    step.backward()

    elbo = theirs.train().elbo(counts.batch(torch.tensor(cells)), Replay(recorder)).mean()
    (-elbo).backward()
    assert value == pytest.approx(elbo.item(), rel=1e-6)
    expected = {name: parameter.grad[0] for name, parameter in theirs.named_parameters()}
    for name, gradient in apart(ours.parameters.gradients, expected).items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error < 1e-4, name
    for name, moment in theirs.replicate_state().items():
        if "running" in name:
            np.testing.assert_allclose(ours.state[name], moment[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_in_evaluation_mode_too(model, counts, likelihood, changes):
    theirs = model(likelihood, **changes).eval()
    ours, recorder = _Replicate(theirs, 0, ArrayData(counts), seed=1), Recorder(5)
    cells = np.arange(N_CELLS)
    value = ours.program(N_CELLS).forward(cells, recorder, training=False)
    assert not recorder.masks
    elbo = theirs.elbo(counts.batch(torch.tensor(cells)), Replay(recorder)).mean()
    assert value == pytest.approx(elbo.item(), rel=1e-6)


@pytest.mark.skipif(not compiled.has_bfloat16(), reason="this processor has no products in bfloat16")
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_bfloat16_products_are_near(model, counts, likelihood, monkeypatch):
    single = _Replicate(model(likelihood), 0, ArrayData(counts), seed=1)
    monkeypatch.setattr(compiled, "WIDE", 1)
    halved = _Replicate(model(likelihood), 0, ArrayData(counts), seed=1)
    assert halved.parameters.operands["outputs.weight"].dtype == torch.bfloat16
    cells = np.arange(N_CELLS)
    values = []
    for replicate in (single, halved):
        step = replicate.program(N_CELLS)
        values.append(step.forward(cells, Recorder(5), training=True))
        step.backward()
    assert values[1] == pytest.approx(values[0], rel=1e-3)
    for name, gradient in single.parameters.gradients.items():
        assert (halved.parameters.gradients[name].float() - gradient).norm() < 0.1 * gradient.norm(), name


def test_what_is_not_finite_shows(model, counts):
    """Wherever it comes in: the functions that clip their arguments must not hide it."""
    for name in ("scale.weight", "scale.bias", "dropout.bias", "log_theta", "library_encoder.mean.bias"):
        for value in (np.nan, np.inf):
            broken = model("zinb")
            broken.get_parameter(name).data[0, 0, 7 if name != "library_encoder.mean.bias" else 0] = value
            stack = CompiledStack(broken, counts, [1])
            assert not stack.step([torch.arange(N_CELLS)], 1e-3).isfinite(), (name, value)
