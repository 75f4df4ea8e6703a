"""The training likelihood and its gradient, against the reference values; `test_compiled` has whole steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from zinbtools.kernels.rows import Dispersion
from zinbtools.kernels.training import Gradient, Minibatch, log_likelihood, working_space
from zinbtools.model.data import CountData
from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from zinbtools.model.program import ArrayData


@pytest.mark.parametrize("zero_inflated", [False, True])
def test_reference_rows(shared_data, zero_inflated):
    """Every row as a cell with one gene, within DESIGN 4's tolerances for single precision."""
    rows = pd.read_csv(shared_data / "reference" / "count_logprob.csv").astype(float)
    n = len(rows)
    data = ArrayData(CountData(rows.x.to_numpy()[:, None], size_factor=np.ones(n)))
    columns = (np.log(rows["mean"]), np.log(rows.inverse_dispersion), rows.dropout_logit)
    log_mean, log_theta, logit = (column.to_numpy(np.float32)[:, None].copy() for column in columns)
    tensors = [torch.tensor(part).double().requires_grad_() for part in (log_mean, log_theta, logit)]
    expected = NegativeBinomial(tensors[0].exp(), tensors[1].exp())
    if zero_inflated:
        expected = ZeroInflatedNegativeBinomial(expected, tensors[2])
    expected = expected.log_prob(torch.tensor(rows.x.to_numpy())[:, None])
    expected.sum().backward()

    outputs, by_log_theta = (
        np.hstack([log_mean, logit] if zero_inflated else [log_mean]),
        np.empty_like(log_theta),
    )
    stored, _ = data.rows(np.arange(n))
    values = []
    for i in range(n):  # one by one, as the likelihood returns a sum
        one = slice(i, i + 1)
        minibatch = Minibatch(
            np.array([i]), outputs[one], np.zeros(outputs.shape[1], np.float32), np.zeros(1, np.float32)
        )
        gradient = Gradient(
            np.float32(1), np.empty_like(minibatch.bias), by_log_theta[one], np.empty(1, np.float32)
        )
        dispersion = Dispersion(log_theta[one], np.zeros(1, np.int64))
        values.append(
            log_likelihood(stored, minibatch, dispersion, gradient, working_space(1, 1), zero_inflated, False)
        )
    np.testing.assert_allclose(values, expected.detach()[:, 0], rtol=1e-5, atol=1e-4)
    gradients = outputs[:, :1], by_log_theta, outputs[:, 1:]
    for ours, tensor in list(zip(gradients, tensors, strict=True))[: 2 + zero_inflated]:
        np.testing.assert_allclose(ours, tensor.grad, rtol=1e-5, atol=1e-4)
