"""Fixtures of all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from zinbtools import tl
from zinbtools.simulate import zisynth


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the zarr half of a test where zarr is not installed, which anndata 0.11 does not bring."""
    parameters = getattr(item, "callspec", None)
    if parameters and any(isinstance(value, str) and value == "zarr" for value in parameters.params.values()):
        pytest.importorskip("zarr")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests below the verbs too: beside a busy process torch's threads spend their time waiting."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory with the real counts (``data/``) and the reference values (``reference/``).

    Neither is part of the repository: tests that need them are skipped where they are absent.
    """
    root = Path(os.environ.get("ZINBTOOLS_DATA", Path(__file__).parents[2] / "shared"))
    absent = [name for name in ("data", "reference") if not (root / name).is_dir()]
    if absent:
        pytest.skip(f"no {' and no '.join(absent)} folder in {root}; set ZINBTOOLS_DATA to where they are")
    return root


@pytest.fixture(scope="session")
def _simulated() -> AnnData:
    adata = zisynth(n_obs=300, rng=1)
    number = np.arange(adata.n_obs)
    adata.obs["sample"] = pd.Categorical(np.where(number % 3 == 0, "a", "b"))
    adata.obs["donor"] = np.array(["x", "y", "z"])[number % 3]
    adata.obs["age"] = 20.0 + number % 7
    adata.obs["depth"] = np.asarray(adata.X.sum(axis=1)).ravel() / 1e3
    adata.var["even"] = np.arange(adata.n_vars) % 2 == 0
    return adata


@pytest.fixture
def counts(_simulated: AnnData) -> AnnData:
    """Counts of 300 cells x 50 genes, with columns for every kind of covariate."""
    return _simulated.copy()


@pytest.fixture(scope="session")
def _fitted(_simulated: AnnData) -> AnnData:
    adata = _simulated.copy()
    tl.fit_nb_zinb(adata, max_epochs=4, n_restarts=2, progress=False)
    tl.model_selection(adata, n_restarts=2, folds=1, n_samples=20, n_null=5, progress=False)
    tl.ppc(adata, n_samples=20, n_null=19, checks=("dropout_ratio", "zeros_to_expression", "cv", "pit"))
    tl.zi_scores(adata)
    tl.zero_test(adata)
    return adata


@pytest.fixture
def fitted(_fitted: AnnData) -> AnnData:
    """`counts` after a short fit of two restarts and all that follows a fit."""
    return _fitted.copy()
