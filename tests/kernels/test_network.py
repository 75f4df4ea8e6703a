"""The passes of a training step, against torch."""

from __future__ import annotations

import numpy as np
import torch

from zinbtools.kernels import network as kernels


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
