"""A study without a fit."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from fake_fit import fake_fit

from zinbtools.study import Study, conclusion, summary


@pytest.fixture(autouse=True)
def _no_window() -> None:
    mpl.use("Agg")


@pytest.fixture
def study() -> Study:
    """The fake fit, concluded."""
    adata = fake_fit()
    return Study(adata, None, summary(adata), conclusion(adata))
