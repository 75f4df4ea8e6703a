"""The training likelihood: its values and its hand-written gradients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from zinbtools.model.data import CountData
from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from zinbtools.model.likelihood import log_likelihood


def reference(x, log_mean, log_theta, logit):
    """Log likelihood of each entry by the public distributions, in double precision."""
    nb = NegativeBinomial(log_mean.double().exp(), log_theta.double().exp())
    counts = nb if logit is None else ZeroInflatedNegativeBinomial(nb, logit.double())
    return counts.log_prob(x.double())


def parameters(shape, theta_shape, zero_inflated, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    log_mean = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    log_theta = 2 * torch.randn(theta_shape, generator=generator, dtype=torch.float64)
    logit = 2 * torch.randn(shape, generator=generator, dtype=torch.float64) if zero_inflated else None
    return [
        None if value is None else value.to(dtype).requires_grad_() for value in (log_mean, log_theta, logit)
    ]


@pytest.mark.parametrize("zero_inflated", [False, True])
@pytest.mark.parametrize("theta_shape", [(3, 1, 7), (3, 5, 7)], ids=["per gene", "per entry"])
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(torch.float64, 1e-9, 1e-12), (torch.float32, 1e-5, 1e-4)]
)
def test_value_and_gradients_agree_with_autograd(zero_inflated, theta_shape, dtype, rtol, atol):
    x = np.random.default_rng(0).negative_binomial(0.3, 0.05, (5, 7))
    batch = CountData(x).batch(torch.arange(5), dtype)
    weight = torch.linspace(-1, 2, 15, dtype=dtype).view(3, 5)
    ours = parameters((3, 5, 7), theta_shape, zero_inflated, dtype)
    theirs = [None if p is None else p.detach().double().requires_grad_() for p in ours]

    value = log_likelihood(batch, *ours)
    expected = reference(torch.tensor(x), *theirs).sum(-1)
    np.testing.assert_allclose(value.detach(), expected.detach(), rtol=rtol, atol=atol * 7)

    (value * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        if a is not None:
            scale = (
                5 if a.shape[1] == 1 else 1
            )  # a gradient summed over cells has the rounding of all of them
            np.testing.assert_allclose(a.grad, b.grad, rtol=rtol, atol=atol * scale)


def test_without_gradient_the_value_is_the_same():
    batch = CountData(np.array([[0, 3, 1], [2, 0, 0]])).batch(torch.arange(2))
    with_gradient = parameters((1, 2, 3), (1, 1, 3), True, torch.float32)
    without = [p.detach() for p in with_gradient]
    assert torch.equal(log_likelihood(batch, *with_gradient), log_likelihood(batch, *without))


@pytest.mark.parametrize(("dtype", "rtol", "atol"), [(torch.float64, 1e-9, 0.0), (torch.float32, 1e-5, 1e-4)])
@pytest.mark.parametrize("model", ["nb", "zinb"])
def test_reference_rows(shared_data, model, dtype, rtol, atol):
    """Every row as a data set of one cell and one gene; the gradients against float64 autograd."""
    rows = pd.read_csv(shared_data / "reference" / "count_logprob.csv").astype(float)
    x = torch.tensor(rows.x.to_numpy())[:, None]
    data = CountData(x.numpy(), size_factor=np.ones(len(rows)))  # a row of zero is an empty cell
    batch = data.batch(torch.arange(len(rows)), dtype)
    # float32 parameters are what the network gives: the reference is evaluated at the same rounded ones.
    log_mean, log_theta, logit = (
        torch.tensor(column.to_numpy()).to(dtype)[None, :, None].requires_grad_()
        for column in (np.log(rows["mean"]), np.log(rows.inverse_dispersion), rows.dropout_logit)
    )
    ours = [log_mean, log_theta, logit if model == "zinb" else None]
    theirs = [None if p is None else p.detach().double().requires_grad_() for p in ours]
    value = log_likelihood(batch, *ours)
    expected = reference(x, *theirs).sum(-1)
    np.testing.assert_allclose(value.detach(), expected.detach(), rtol=rtol, atol=atol)
    value.sum().backward()
    expected.sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        if a is not None:
            np.testing.assert_allclose(a.grad, b.grad, rtol=max(rtol, 1e-8), atol=max(atol, 1e-9))
