"""The compiled log likelihoods in double precision, against `likelihood`, which the reference rows hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from zinbtools.kernels.evaluation import States, fixed_terms, log_likelihoods, working_space
from zinbtools.kernels.rows import Dispersion
from zinbtools.model.data import CountData
from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from zinbtools.model.likelihood import log_likelihood


def compiled_values(data, cells, log_scale, logit, log_theta, theta_row, library, normalised):
    out, fixed = np.empty((2, len(cells)))
    rows, places = data.rows(torch.from_numpy(cells))
    dispersion, space = Dispersion(log_theta, theta_row), working_space(data.n_genes, len(log_theta))
    fixed_terms(rows.arrays, places.numpy(), dispersion, space, fixed)
    outputs = np.concatenate([log_scale, logit], axis=1) if len(logit) else log_scale
    states = States(places.numpy(), outputs, library)
    log_likelihoods(rows.arrays, states, dispersion, fixed, normalised, space, out)
    return out


@pytest.mark.parametrize("n_theta", [1, 3, 50])
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("zero_inflated", [False, True])
@pytest.mark.parametrize("n_genes", [1, 57, 700])
def test_agrees_with_the_torch_form(n_genes, zero_inflated, normalised, n_theta):
    rng = np.random.default_rng(n_genes)
    counts = rng.negative_binomial(0.5, 0.05, (80, n_genes)) * (rng.random((80, n_genes)) < 0.6)
    counts[:, 0] += 1
    counts[5, 0] = 1_000_000
    data, cells = CountData(counts), rng.permutation(80)[:50]
    log_scale, logit = 2 * rng.standard_normal((2, 50, n_genes))
    log_theta = 3 * rng.standard_normal((n_theta, n_genes))
    theta_row = rng.integers(n_theta, size=50) if n_theta < 50 else np.arange(50)
    library = rng.normal(3, 1, 50)
    ours = compiled_values(
        *(data, cells, log_scale, logit if zero_inflated else logit[:0], log_theta, theta_row, library),
        normalised,
    )
    scale, odds, theta = (torch.tensor(part)[None] for part in (log_scale, logit, log_theta[theta_row]))
    log_mean = (scale.log_softmax(-1) if normalised else scale) + torch.tensor(library)[:, None]
    batch = data.batch(torch.tensor(cells), torch.float64)
    expected = log_likelihood(batch, log_mean, theta, odds if zero_inflated else None)[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spread", [38.0, 45.0, 300.0])
def test_dropout_of_any_odds(spread):
    """Whether a product of them is a number or not."""
    rng = np.random.default_rng(0)
    data, cells = CountData(rng.poisson(0.7, (6, 500))), np.arange(6)
    log_scale, logit = rng.normal(size=(6, 500)), spread * np.sign(rng.normal(size=(6, 500)))
    logit[:3] = spread * np.array([-1, 1, -1])[:, None]
    log_theta, library = rng.normal(size=(1, 500)), np.full(6, 5.0)
    ours = compiled_values(data, cells, log_scale, logit, log_theta, np.zeros(6, np.int64), library, True)
    log_mean = torch.tensor(log_scale).log_softmax(-1) + 5.0
    batch = data.batch(torch.tensor(cells), torch.float64)
    terms = (torch.as_tensor(part)[None] for part in (log_mean, log_theta.repeat(6, 0), logit))
    np.testing.assert_allclose(ours, log_likelihood(batch, *terms)[0], rtol=1e-9)


@pytest.mark.parametrize("first", [-1500.0, 1500.0])
def test_scales_that_no_double_holds(first):
    """Where the first gene is far from all others, the shift that it suggests will not do."""
    log_scale = np.array([[first, 0.3, -0.4, 1.1]])
    data, one = CountData(np.array([[2, 0, 3, 1]])), np.zeros(1, np.int64)
    log_theta, library = np.array([[0.2, -0.3, 0.5, 1.0]]), np.array([2.0])
    ours = compiled_values(data, one, log_scale, log_scale[:0], log_theta, one, library, True)
    log_mean = torch.tensor(log_scale).log_softmax(-1) + 2.0
    batch = data.batch(torch.tensor([0]), torch.float64)
    expected = log_likelihood(batch, log_mean[None], torch.tensor(log_theta)[None], None)[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("zero_inflated", [False, True])
def test_reference_rows(shared_data, zero_inflated):
    """Every row as a cell with one gene, within DESIGN 4's tolerance for double precision."""
    rows = pd.read_csv(shared_data / "reference" / "count_logprob.csv").astype(float)
    n = len(rows)
    data = CountData(rows.x.to_numpy()[:, None], size_factor=np.ones(n))
    log_mean, log_theta = (
        np.log(rows[name].to_numpy())[:, None].copy() for name in ("mean", "inverse_dispersion")
    )
    logit = rows.dropout_logit.to_numpy()[:, None].copy()
    ours = compiled_values(
        *(data, np.arange(n), log_mean, logit if zero_inflated else logit[:0], log_theta, np.arange(n)),
        *(np.zeros(n), False),
    )
    tensors = [torch.tensor(part) for part in (log_mean, log_theta, logit)]
    expected = NegativeBinomial(tensors[0].exp(), tensors[1].exp())
    if zero_inflated:
        expected = ZeroInflatedNegativeBinomial(expected, tensors[2])
    expected = expected.log_prob(torch.tensor(rows.x.to_numpy())[:, None])[:, 0]
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("place", ["log_scale", "logit", "log_theta", "library"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows(place, value):
    """The functions that clip their arguments must not hide it."""
    parts = {
        "log_scale": np.zeros((1, 9)),
        "logit": np.zeros((1, 9)),
        "log_theta": np.zeros((1, 9)),
        "library": np.zeros(1),
    }
    parts[place].reshape(-1)[0] = value
    library, theta_row = parts.pop("library"), np.zeros(1, np.int64)
    data = CountData(np.arange(9)[None])
    assert not np.isfinite(compiled_values(data, theta_row, *parts.values(), theta_row, library, True)).any()
