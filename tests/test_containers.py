"""Whatever holds the counts, and wherever they are, the answer has the same bits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same, assert_same_results
from containers import IN_MEMORY, OUTSIDE, read_in_blocks

import zinbtools as zt
from zinbtools._anndata.lazy import LazyCounts
from zinbtools.tl import _columns

SETTINGS = {"layer": None, "batch_key": "sample", "mask_var": "even", "max_epochs": 2, "progress": False}


def analysed(adata: AnnData, *, layers: tuple[str, ...] = ("mean", "dropout")) -> AnnData:
    """Every verb that reads counts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="adata is a view")
        zt.tl.fit_nb_zinb(adata, **SETTINGS, layers=layers)
    return evaluated(adata)


def evaluated(adata: AnnData) -> AnnData:
    """Every verb that reads counts after a fit."""
    zt.tl.marginal_ll(adata, n_samples=5)
    zt.tl.ppc(adata, n_samples=3, n_null=2, checks=("dropout_ratio", "cv", "pit"))
    zt.tl.zi_scores(adata)
    zt.tl.zero_test(adata, mask_var="even", groupby="sample")
    return adata


def assert_same_analysis(found: AnnData, expected: AnnData) -> None:
    assert_same_results(found, expected)
    a, b = (zt.get.zero_test_df(adata) for adata in (found, expected))
    np.testing.assert_array_equal(*(t.select_dtypes("number").to_numpy() for t in (a, b)))


@pytest.fixture(scope="session")
def expected(_simulated: AnnData) -> AnnData:
    return analysed(_simulated.copy())


@pytest.mark.parametrize("name", [*IN_MEMORY, *OUTSIDE])
def test_the_container_does_not_matter(name: str, counts: AnnData, expected: AnnData, tmp_path: Path) -> None:
    contained = {**IN_MEMORY, **OUTSIDE}[name](counts, tmp_path)
    assert_same_analysis(analysed(contained), expected)


def test_genes_may_come_in_any_order(counts: AnnData) -> None:
    """The test without a network draws nothing: only sums over cells are rounded in another order."""
    rng = np.random.default_rng(0)
    mixed = counts[rng.permutation(counts.n_obs), rng.permutation(counts.n_vars)].copy()
    for adata in (counts, mixed):
        zt.tl.zero_test(adata, groupby="sample")
    assert_close(mixed, counts, zt.get.zero_test_df)


def test_cells_may_come_in_any_order_after_a_fit(expected: AnnData) -> None:
    mixed = expected[np.random.default_rng(0).permutation(expected.n_obs)].copy()
    zt.tl.zi_scores(mixed)
    assert_close(mixed, expected, zt.get.zi_genes_df)


def assert_close(found: AnnData, expected: AnnData, table: Callable[[AnnData], pd.DataFrame]) -> None:
    a, b = (table(adata).select_dtypes("number").sort_index() for adata in (found, expected))
    pd.testing.assert_frame_equal(a, b, rtol=1e-5, atol=1e-7)


@pytest.fixture
def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The blocks that are read, in turn."""
    asked: list[int] = []
    read = LazyCounts.read
    monkeypatch.setattr(LazyCounts, "read", lambda self, block: asked.append(block) or read(self, block))
    return asked


@pytest.mark.parametrize("name", OUTSIDE)
def test_blocks_give_what_memory_gives(
    name: str,
    counts: AnnData,
    expected: AnnData,
    tmp_path: Path,
    blocks_read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A window holds all blocks, so that the order of the cells is the same."""
    read_in_blocks(monkeypatch)
    assert_same_analysis(analysed(OUTSIDE[name](counts, tmp_path)), expected)
    assert (len(set(blocks_read)) > 2) == (name != "h5ad by columns")


@pytest.mark.parametrize("layers", [(), ("mean",)])
@pytest.mark.parametrize("name", ["h5ad", "zarr dense", "dask csr_array"])
def test_a_small_window_gives_the_same_evaluation(
    name: str,
    layers: tuple[str, ...],
    counts: AnnData,
    expected: AnnData,
    tmp_path: Path,
    blocks_read: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One block in memory at a time, three genes, and means in a file."""
    read_in_blocks(monkeypatch, window=1)
    for name_, value in {
        "COUNTS_BYTES": 16 * 300 * 3,
        "MEANS_BYTES": 16 * 300 * 3,
        "MEMORY_BYTES": 1,
    }.items():
        monkeypatch.setattr(_columns, name_, value)
    adata = OUTSIDE[name](counts, tmp_path)
    adata.obs, adata.uns["zinbtools"] = expected.obs.copy(), deepcopy(expected.uns["zinbtools"])
    adata.obsm.update(expected.obsm)
    for layer in ("nb_mean", "zinb_mean", "zinb_dropout"):
        if layer.partition("_")[2] in layers:
            adata.layers[layer] = expected.layers[layer]
    found = evaluated(adata)
    assert len(blocks_read) > 100
    assert_same(found.obs, expected.obs, "obs")
    assert_same(found.uns["zinbtools"], expected.uns["zinbtools"], "uns")
    for column in ("zi_score", "zi_pval", "zi_excess_zeros"):
        assert_same(found.var[column], expected.var[column], column)
    assert_same(zt.get.zero_test_df(found), zt.get.zero_test_df(expected), "zero_test")
