"""No window is opened, and no figure is left open."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from anndata import AnnData
from fake_fit import fake_fit


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture
def adata() -> AnnData:
    """60 genes, half of them with dropout."""
    return fake_fit()
