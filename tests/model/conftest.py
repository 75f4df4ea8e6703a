"""A small data set and models for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zinbtools.model.config import PROTOCOLS, FitConfig
from zinbtools.model.data import CountData
from zinbtools.model.training import Cells

SMALL = replace(PROTOCOLS["default"].config, n_latent=3, n_hidden=16, batch_size=32, max_epochs=4)


@pytest.fixture(scope="session")
def config() -> FitConfig:
    return SMALL


@pytest.fixture(scope="session")
def data() -> CountData:
    """240 cells x 12 genes: two kinds of cells, library sizes, some dropout."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=240)
    mean = rng.gamma(2, 3, (2, 12))[kind] * rng.lognormal(0, 0.4, (240, 1))
    counts = rng.negative_binomial(4, 4 / (4 + mean)) * (rng.random((240, 12)) > 0.1)
    counts[:, 0] += 1
    return CountData(counts)


@pytest.fixture(scope="session")
def cells() -> Cells:
    train, stop = torch.arange(200), torch.arange(200, 240)
    return Cells(train=train, stop=stop, prior=train)
