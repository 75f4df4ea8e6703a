"""The passes of a training step, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zinbtools.kernels import network as kernels
from zinbtools.model.data import CountData
from zinbtools.model.products import as_array


@pytest.mark.parametrize("density", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("half", [False, True])
def test_sparse_products_are_the_dense_ones(density, half):
    rng = np.random.default_rng(0)
    x = rng.poisson(3.0, (30, 21)) * (rng.random((30, 21)) < density)
    x[:, 4] += 1
    rows, places = CountData(x).rows(torch.tensor([7, 0, 29, 3, 8]))
    logs = np.log1p(x[[7, 0, 29, 3, 8]])
    weight, by_product = rng.standard_normal((21, 171)), rng.standard_normal((5, 171)).astype(np.float32)
    operand = torch.tensor(weight, dtype=torch.bfloat16 if half else torch.float32)
    product, by_weight = np.full((5, 171), np.nan, np.float32), torch.full_like(operand, np.nan)
    kernels.multiply(rows.single_arrays, places.numpy(), as_array(operand), product)
    _assert_near(product, logs, operand.double().numpy())
    by_gene = kernels.ByGene(np.empty(22, np.int64), np.empty(105, np.int32), np.empty(105, np.float32))
    kernels.gather_by_gene(rows.single_arrays, places.numpy(), by_gene)
    kernels.multiply_transposed(by_gene, by_product, as_array(by_weight))
    _assert_near(by_weight.double().numpy(), logs.T, by_product, 2**-8 if half else 0.0)


def _assert_near(product, x, y, rounding=0.0):
    """Hold errors to what single precision makes of the terms, and to the product's own rounding."""
    exact = x @ y
    assert (np.abs(product - exact) <= 1e-6 * (np.abs(x) @ np.abs(y)) + rounding * np.abs(exact)).all()


def test_adam_is_torchs():
    generator = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(6, 37, generator=generator)
    theirs = torch.nn.Parameter(start.clone())
    settings = {"eps": 1e-3, "weight_decay": 0.1}
    optimizer = torch.optim.Adam([theirs], lr=0.01, **settings)
    ours, first, second = start.numpy().copy(), *np.zeros((2, 37), np.float32)
    for step, gradient in enumerate(gradients, 1):
        theirs.grad = gradient
        optimizer.step()
        rate, correction = 0.01 / (1 - 0.9**step), (1 - 0.999**step) ** -0.5
        numbers = (np.float32(x) for x in (rate, correction, *settings.values()))
        weights = kernels.Weights(ours, gradient.numpy(), first, second, np.empty(0, np.float32))
        kernels.adam(weights, *numbers)
    np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-5, atol=1e-7)
