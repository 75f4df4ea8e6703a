"""A fit for plots."""

from __future__ import annotations

import pytest
from anndata import AnnData
from fake_fit import fake_fit


@pytest.fixture
def adata() -> AnnData:
    """60 genes, half of them with dropout."""
    return fake_fit()
