"""`model_selection` on some of many cells: which, how many, and what is written of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same, assert_same_anndata
from scipy import sparse, stats

import zinbtools as zt
from zinbtools._anndata.drawn import draw_cells
from zinbtools.tl import _comparison

QUICK: dict[str, Any] = {
    "n_restarts": 1,
    "folds": 1,
    "max_epochs": 3,
    "n_samples": 5,
    "n_null": 3,
    "progress": False,
}
SIZES = 200, 400, 800


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinbtools.tl._enough.SIZES", SIZES)


@pytest.fixture(scope="module")
def _many() -> AnnData:
    adata = zt.simulate.zisynth(n_obs=1500, rng=5)
    adata.obs["sample"] = pd.Categorical(
        np.where(np.arange(1500) < 30, "rare", np.arange(1500) % 3).astype(str)
    )
    adata.obs["group"] = np.where(np.arange(1500) % 2, "odd", "even")
    return adata


@pytest.fixture
def many(_many: AnnData) -> AnnData:
    return _many.copy()


def used(adata: AnnData) -> np.ndarray:
    return adata.obs["zinbtools_split"].notna().to_numpy()


def test_the_first_are_like_all_by_batch_and_library_size() -> None:
    rng = np.random.default_rng(0)
    batch, library = rng.choice(["a", "b", "c"], 6000, p=[0.7, 0.296, 0.004]), rng.integers(1, 1000, 6000)
    adata = AnnData(sparse.csr_matrix(library[:, None].astype(np.float32)), obs={"batch": batch})
    drawn = draw_cells(adata, 4000, genes=np.array([0]), batch_key="batch", rng=rng)
    assert len(np.unique(drawn.order)) == 4000
    np.testing.assert_array_equal(drawn.counts.toarray().ravel(), library[drawn.order])
    for n in (500, 1000, 4000):
        first = drawn.order[:n]
        shares = pd.Series(batch[first]).value_counts(normalize=True)
        assert shares["a"] == pytest.approx((batch == "a").mean(), abs=0.012)
        assert (batch[first] == "c").sum() >= 10
        deciles = np.quantile(library[drawn.order], np.arange(1, 10) / 10)
        of_first = np.bincount(np.searchsorted(deciles, library[first]), minlength=10) / n
        np.testing.assert_allclose(of_first, 0.1, atol=0.02)  # random ones are within 0.04


def test_what_is_read_is_what_is_there(many: AnnData) -> None:
    genes = np.flatnonzero(many.var_names.isin(many.var_names[3:40]))
    drawn = draw_cells(many, 700, genes=genes, batch_key="sample", rng=np.random.default_rng(1))
    part, cells = drawn.first(300)
    assert np.all(np.diff(cells) > 0)
    assert list(part.obs_names) == list(many.obs_names[cells])
    np.testing.assert_array_equal(part.X.toarray()[:, genes], many.X.toarray()[np.ix_(cells, genes)])
    again, more = drawn.first(600)
    assert set(cells) < set(more)
    assert again.X.shape == (600, many.n_vars)


def test_few_cells_are_all_used(many: AnnData) -> None:
    few = many[:200].copy()
    every = few.copy()
    zt.tl.model_selection(few, **QUICK)
    zt.tl.model_selection(every, cells="all", **QUICK)
    assert_same_anndata(few, every)
    assert used(few).all()
    assert "cells" not in few.uns["zinbtools"]["model_selection"]


def test_more_are_taken_until_it_is_clear(many: AnnData) -> None:
    clear = many.copy()
    zt.tl.model_selection(clear, rope=1e6, **QUICK)
    assert used(clear).sum() == 200
    open_ = many.copy()
    zt.tl.model_selection(open_, rope=1e-9, batch_key="sample", **QUICK | {"n_samples": 2})
    row = open_.uns["zinbtools"]["model_selection"]["differences"].iloc[0]
    assert (used(open_).sum() == 800) if row["position"] == "open" else (used(open_).sum() in SIZES)
    assert (open_.obs["sample"][used(open_)] == "rare").sum() >= 10
    middle = many[:300].copy()
    zt.tl.model_selection(middle, rope=1e-9, **QUICK)
    assert used(middle).sum() in (200, 300)


def test_most_restarts_are_those_of_the_last_size(many: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, train = [], _comparison.train_folds

    def note(setups: Any, seeds: Any, *rest: Any, **options: Any) -> Any:
        asked.append((setups[0].sample.n_obs, len(seeds.restarts)))
        return train(setups, seeds, *rest, **options)

    monkeypatch.setattr(_comparison, "train_folds", note)
    monkeypatch.setattr(_comparison, "AUTO_ROUNDS", (1, 2, 3))
    monkeypatch.setattr(_comparison.Comparison, "position", "open")
    monkeypatch.setattr(_comparison.Comparison, "may_close", lambda self, n_restarts: self.fit.n_restarts < 3)
    zt.tl.model_selection(many, metrics=["nll"], **QUICK | {"n_restarts": "auto", "max_epochs": 1})
    assert asked == [(200, 1), (200, 2), (400, 1), (400, 2), (800, 1), (800, 2), (800, 3)]


def test_the_result_is_that_of_these_cells_alone(many: AnnData) -> None:
    settings: dict[str, Any] = QUICK | {"cells": 300, "groupby": "group", "batch_key": "sample"}
    before = many.copy()
    zt.tl.model_selection(many, **settings)
    alone = before[used(many)].copy()
    zt.tl.model_selection(alone, **settings | {"cells": "all"})
    found, expected = many.uns["zinbtools"], alone.uns["zinbtools"]
    for part in ("weights", "metrics", "history", "ppc"):
        assert_same(found[part], expected[part], part)
    for table in ("differences", "zeros", "groups", "calls"):
        assert_same(found["model_selection"][table], expected["model_selection"][table], table)
    for name in ("nb_marginal_ll", "zinbtools_split", "zinbtools_digest"):
        assert many.obs[name][~used(many)].isna().all()
        assert_same(many.obs[name][used(many)], alone.obs[name], name)
    for name in ("zi_call", "zi_pval", "nb_inverse_dispersion"):
        assert_same(many.var[name], alone.var[name], name)
    assert used(many).sum() == found["params"]["n_cells"] == 300
    assert not {"X_nb", "X_zinb"} & set(many.obsm)
    assert not {"nb_mean", "zinb_dropout"} & set(many.layers)


def test_the_sentence_says_how_many_and_what_all_would_change(many: AnnData) -> None:
    zt.tl.model_selection(many, cells=300, **QUICK)
    told = zt.get.verdict(many)
    assert "These are results of 300 of 1,500 cells, drawn at random" in told.sentence
    row = told.differences.iloc[0]
    half = stats.t.isf(0.025, row["df"]) * row["se"], stats.t.isf(0.025, 5 * 30 - 1) * row["se"] / np.sqrt(5)
    now, then = (f"±{width:.2g}" for width in half)
    assert f"would be about {then} where it is {now}, and" in told.sentence


def test_verbs_after_it_take_the_other_cells_for_new_ones(many: AnnData) -> None:
    zt.tl.model_selection(many, cells=300, batch_key="sample", **QUICK)
    verdict = zt.get.verdict(many).sentence
    zt.tl.embed(many, layers="mean")
    assert np.isfinite(many.obsm["X_zinb"]).all()
    assert np.isfinite(many.layers["nb_mean"]).all()
    assert "zinb_dropout" not in many.layers
    zt.tl.marginal_ll(many, n_samples=2, split="all")
    zt.tl.ppc(many, n_samples=2, n_null=2)
    zt.tl.zi_scores(many)
    assert zt.get.verdict(many).sentence == verdict
    zt.tl.zi_replication(many)
    zt.tl.model_selection(many, cells=250, **QUICK)  # by the settings of the fit
    assert used(many).sum() == 250


def test_embeddings_and_layers_of_fitted_cells_are_those_of_the_fit(many: AnnData) -> None:
    few = many[:300].copy()
    zt.tl.fit_nb_zinb(few, max_epochs=2, batch_key="sample", progress=False)
    bare = few.copy()
    for name in ("X_nb", "X_zinb"):
        del bare.obsm[name]
    for name in ("nb_mean", "zinb_mean", "zinb_dropout"):
        del bare.layers[name]
    copied = zt.tl.embed(bare, layers=["mean", "dropout"], copy=True)
    assert "nb_mean" not in bare.layers
    assert_same_anndata(copied, few)


@pytest.mark.parametrize("layer", [None, "counts"])
def test_a_file_gives_what_memory_gives(
    layer: str | None, many: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zinbtools._anndata.lazy.MEMORY_BYTES", 2**12)
    monkeypatch.setattr("zinbtools._anndata.lazy._BLOCK_BYTES", 2**12)
    if layer:
        many.layers[layer] = many.X.copy()
        many.X = None
    many.write_h5ad(tmp_path / "many.h5ad")
    backed = ad.read_h5ad(tmp_path / "many.h5ad", backed="r+")
    for adata in (many, backed):
        zt.tl.model_selection(adata, layer=layer, cells=300, resume=tmp_path / "kept", **QUICK)
    assert_same(many.uns["zinbtools"], backed.uns["zinbtools"], "uns")
    assert_same(many.obs, backed.obs, "obs")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["300-cells"]


def test_a_gene_without_a_count_in_the_cells_is_left_out(many: AnnData) -> None:
    counts = many.X.tolil()
    counts[:, 7] = 0
    counts[1499, 7] = 1
    many.X = counts.tocsr()
    zt.tl.model_selection(many, cells=200, rng=1, **QUICK)
    assert not used(many)[1499]
    assert np.isnan(many.var["nb_inverse_dispersion"].iloc[7])
    assert many.var["nb_inverse_dispersion"].notna().sum() == many.n_vars - 1
