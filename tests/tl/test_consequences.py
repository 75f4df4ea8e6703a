"""`consequences`: agreement of restarts within a model and between models, and what is told of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same_anndata

import zinbtools as zt
from zinbtools.model.data import CountData
from zinbtools.model.predictive import embedding
from zinbtools.stats.agreement import adjusted_rand, nearest, overlap
from zinbtools.tl._consequences import _leiden_clusters


@pytest.fixture(scope="module")
def _four() -> AnnData:
    adata = zt.simulate.zisynth(n_obs=300, rng=1)
    zt.tl.fit_nb_zinb(adata, max_epochs=4, n_restarts=4, progress=False)
    zt.tl.consequences(adata)
    return adata


@pytest.fixture
def four(_four: AnnData) -> AnnData:
    """After `consequences`, on four restarts."""
    return _four.copy()


def test_means_are_those_of_the_pairs(four: AnnData) -> None:
    measures, pairs = zt.get.consequences_df(four), zt.get.consequences_df(four, of="pairs")
    assert measures.index.tolist() == ["neighbours", "clusters", "variable genes", "markers"]
    assert len(pairs) == 4 * (28 - 4)  # without those of the same number
    for first, second, column in (("nb", "nb", "nb"), ("zinb", "zinb", "zinb"), ("nb", "zinb", "between")):
        of_kind = pairs[(pairs["first"] == first) & (pairs["second"] == second)]
        means = of_kind.groupby("measure")["agreement"].mean()
        np.testing.assert_allclose(means[measures.index], measures[column])
    assert pairs["agreement"].between(-0.5, 1).all()


def test_neighbours_are_those_of_the_embeddings(four: AnnData) -> None:
    pairs = zt.get.consequences_df(four, of="pairs").query("measure == 'neighbours'")
    row = pairs.query("first == 'nb' and second == 'zinb'").set_index(["first_restart", "second_restart"])
    data = CountData(four.X)
    nb = embedding(zt.get.model(four, "nb", restart=0), data)
    zinb = embedding(zt.get.model(four, "zinb", restart=2), data)
    by_hand = overlap(nearest(nb, 15), nearest(zinb, 15))
    assert row.loc[(0, 2), "agreement"] == pytest.approx(by_hand)
    assert (0, 0) not in row.index


def test_the_position_and_the_sentence_follow_the_p_values(four: AnnData) -> None:
    found, measures = four.uns["zinbtools"]["consequences"], zt.get.consequences_df(four)
    outside = measures["pval"] <= 0.05
    assert (measures["position"] == np.where(outside, "outside", "inside")).all()
    assert found["position"] == ("outside" if outside.any() else "inside")
    assert ("more than another seed does" in found["sentence"]) == bool(outside.any()) or (
        "no more than another seed does" in found["sentence"]
    )


def test_models_that_are_the_same_are_inside(four: AnnData) -> None:
    """The ZINB takes the NB's weights and loses next to nothing: then there is nothing to be told."""
    weights = four.uns["zinbtools"]["weights"]
    for name, value in weights["nb"].items():
        weights["zinb"][name] = value.copy()
    weights["zinb"]["dropout.weight"][:] = 0
    weights["zinb"]["dropout.bias"][:] = -30
    zt.tl.consequences(four)
    assert four.uns["zinbtools"]["consequences"]["position"] == "inside"


def test_models_that_see_other_things_are_outside(four: AnnData) -> None:
    """All restarts of a model are one and the same, and the two models are not."""
    for model in ("nb", "zinb"):
        arrays = four.uns["zinbtools"]["weights"][model]
        for name in arrays:
            if name not in ("library_mean", "library_variance") and np.ndim(arrays[name]):
                arrays[name] = np.repeat(arrays[name][:1], 4, axis=0)
    zt.tl.consequences(four)
    measures, found = zt.get.consequences_df(four), four.uns["zinbtools"]["consequences"]
    np.testing.assert_allclose(measures[["nb", "zinb"]], 1)
    assert measures.loc["neighbours", "position"] == "outside"
    assert found["position"] == "outside"
    told = f"{100 * measures.loc['neighbours', 'between']:.1f} % of the nearest neighbours between the models"
    assert told in found["sentence"]


def test_two_restarts_are_undecided_and_the_sentence_says_so(fitted: AnnData) -> None:
    zt.tl.consequences(fitted)
    found = fitted.uns["zinbtools"]["consequences"]
    assert found["position"] == "undecided"
    assert "cannot be told from 2 restarts" in found["sentence"]


def test_groups_and_some_cells(four: AnnData) -> None:
    zt.tl.consequences(four, groupby="cell_type", cells=150)
    params = four.uns["zinbtools"]["consequences"]["params"]
    assert (params["n_clusters"], params["n_cells"], params["groupby"]) == (2, 150, "cell_type")
    again = four.copy()
    zt.tl.consequences(again, groupby="cell_type", cells=150)
    assert_same_anndata(four, again)


def test_leiden_is_asked_for_and_said(four: AnnData) -> None:
    pytest.importorskip("igraph")
    zt.tl.consequences(four, clustering="leiden")
    assert four.uns["zinbtools"]["consequences"]["params"]["clustering"] == "leiden"
    leiden = zt.get.consequences_df(four)
    again = four.copy()
    zt.tl.consequences(again, clustering="leiden")
    assert_same_anndata(four, again)
    zt.tl.consequences(four)
    ward = zt.get.consequences_df(four)
    same = ["neighbours", "variable genes"]
    pd.testing.assert_frame_equal(leiden.loc[same, ["nb", "between"]], ward.loc[same, ["nb", "between"]])
    assert leiden.loc["clusters", "between"] != ward.loc["clusters", "between"]


def test_leiden_finds_islands_without_being_told_how_many() -> None:
    pytest.importorskip("igraph")
    places = np.random.default_rng(0).normal(0, 1, (120, 2)) + 30 * (np.arange(120) // 40)[:, None]
    found = _leiden_clusters(nearest(places, 39), 0)
    assert adjusted_rand(found, np.arange(120) // 40) == 1


def test_leiden_without_igraph_is_refused(fitted: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(ImportError, match="clustering='leiden' needs igraph: pip install igraph"):
        zt.tl.consequences(fitted, clustering="leiden")


def test_a_file_holds_it(four: AnnData, tmp_path: Path) -> None:
    four.write_h5ad(tmp_path / "four.h5ad")
    read = anndata.read_h5ad(tmp_path / "four.h5ad")
    for of in ("measures", "pairs"):
        found, kept = (zt.get.consequences_df(adata, of=of) for adata in (read, four))
        pd.testing.assert_frame_equal(
            found, kept, check_dtype=False, check_index_type=False, check_categorical=False
        )
    assert len(zt.pl.consequences(read, show=False).get_xticks()) == 4


def test_a_copy_leaves_the_object_alone(fitted: AnnData) -> None:
    before = fitted.copy()
    found = zt.tl.consequences(fitted, copy=True)
    assert_same_anndata(fitted, before)
    assert "consequences" in found.uns["zinbtools"]


@pytest.mark.parametrize(
    ("settings", "arguments", "words"),
    [
        ({"models": "nb", "n_restarts": 2}, {}, "consequences needs both models, found nb alone"),
        ({}, {}, "needs at least 2 restarts of each model"),
        ({"n_restarts": 2}, {"n_clusters": 300}, "300 cells are too few for"),
        ({"n_restarts": 2}, {"groupby": "one"}, "groupby must name at least 2 groups, found 1 in 'one'"),
    ],
)
def test_what_is_refused(
    counts: AnnData, settings: dict[str, Any], arguments: dict[str, Any], words: str
) -> None:
    counts.obs["one"] = "all"
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False, n_draws=1, **settings)
    with pytest.raises(ValueError, match=words):
        zt.tl.consequences(counts, **arguments)
