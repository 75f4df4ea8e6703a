"""Zeros that a model expects of the data and of its own draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zinbtools.model.data import CountData
from zinbtools.model.initialisation import initialise
from zinbtools.model.layers import Streams
from zinbtools.model.predictive import expectations
from zinbtools.model.vae import CountVAE, Shape
from zinbtools.model.zeros import dropped_zeros, replicated_counts, zero_calibration
from zinbtools.stats.zero_excess import zero_excess

from .conftest import SMALL


def initialised(likelihood, data) -> CountVAE:
    built = CountVAE(likelihood, Shape(data.n_genes), SMALL)
    cells = torch.arange(data.n_cells)
    initialise(built, data, cells, cells, Streams([3]))
    return built.eval()


@pytest.fixture(params=["nb", "zinb"])
def model(request, data) -> CountVAE:
    return initialised(request.param, data)


def test_observed_and_expected_are_sums_over_cells(model, data):
    cells = torch.arange(50, 150)
    found = zero_calibration(model, data, cells, cells[:40], n_null=3, n_draws=200, seed=0)
    dense = data.batch(cells).dense()
    np.testing.assert_array_equal(found.observed, (dense == 0).sum(0))
    blocks = expectations(model, data, n_draws=200, seed=1)
    zero = torch.cat([block.zero for block in blocks])[cells].sum(0)
    np.testing.assert_allclose(found.expected, zero, atol=0.5)
    assert found.null_observed.shape == found.null_expected.shape == (3, data.n_genes)
    assert found.scale == 2.5


def test_counts_of_its_own_have_no_excess(model, data):
    twin = CountData(replicated_counts(model, data, seed=5))
    cells = torch.arange(240)
    own = zero_excess(*zero_calibration(model, twin, cells, cells[::2], n_null=40, n_draws=2, seed=0))
    assert own.pval_pooled > 0.001
    assert own.n_genes(0.01) == 0


def test_replicated_counts_have_the_expected_mean(model, data):
    draws = np.mean([replicated_counts(model, data, seed=s).toarray() for s in range(200)], axis=0)
    blocks = list(expectations(model, data, n_draws=100, seed=1))
    expected = torch.cat([b.mean * (1 - b.dropout) for b in blocks]).numpy()
    np.testing.assert_allclose(draws.mean(0), expected.mean(0), rtol=0.05)


def test_dropped_zeros(data):
    model = initialised("zinb", data)
    with torch.no_grad():
        model.dropout.bias[:] = 0.0  # one half for every entry
        model.dropout.weight[:] = 0.0
    cells = torch.arange(240)
    found = dropped_zeros(model, data, cells, n_draws=50, seed=0)
    blocks = list(expectations(model, data, n_draws=50, seed=1))
    of_nb = torch.cat([2 * b.zero - 1 for b in blocks])  # zero = 1/2 + 1/2 NB(0)
    n_zeros = (data.batch(cells).dense() == 0).sum()
    assert found == pytest.approx(float((0.5 * (1 - of_nb)).sum() / n_zeros), rel=0.01)
