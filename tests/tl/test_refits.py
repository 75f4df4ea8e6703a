"""Twins and replication of the gene calls: what they find, with which fits, and what is kept."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same_anndata

import zinbtools as zt
from zinbtools.get._settings import FitSettings
from zinbtools.tl import _refits, _setup
from zinbtools.tl._setup import Sample, Setup


def made(share: float, seed: int = 0) -> AnnData:
    means = 10 ** np.random.default_rng(seed).uniform(-1, 1.3, 80)
    base = zt.simulate.gamma_poisson(700, 80, means=means, rng=seed)
    adata = zt.simulate.mixed(share, base=base, inflation=zt.simulate.Uniform(0.25), rng=seed)
    adata.obs["donor"] = np.where(np.arange(700) < 60, "few", np.where(np.arange(700) % 2, "x", "y"))
    zt.tl.fit_nb_zinb(adata, models="nb", max_epochs=40, progress=False)
    return adata


@pytest.fixture(scope="module")
def _inflated() -> AnnData:
    adata = made(0.3)
    zt.tl.zi_scores(adata, n_bootstrap=2)
    zt.tl.zi_replication(adata)
    return adata


@pytest.fixture
def inflated(_inflated: AnnData) -> AnnData:
    return _inflated.copy()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sample, FitSettings]]:
    """What is fitted anew from now on, for one epoch, and with which settings."""
    fits: list[tuple[Sample, FitSettings]] = []

    def prepare(sample: Sample, settings: FitSettings, *where: Any) -> Setup:
        fits.append((sample, settings))
        return _setup.prepare(sample, settings.changed(max_epochs=1), *where)

    monkeypatch.setattr(_refits, "prepare", prepare)
    return fits


@pytest.mark.slow
def test_twins_of_data_without_inflation_are_like_the_data() -> None:
    shares = []
    for seed in (3, 4, 5):
        adata = made(0.0, seed=seed)
        zt.tl.zi_scores(adata, n_bootstrap=3)
        assert (adata.var["zi_call"] == "zero-inflated").sum() == 0
        pval, of_twins = adata.var["zi_pval"], adata.var["zi_pval_bootstrap"]
        shares.append((of_twins <= 0.05).mean())  # genes share a network: of one data set it says little
        assert of_twins.corr(pval, method="spearman") > 0.95
        np.testing.assert_array_equal(of_twins == 1, pval == 1)
        twins = adata.uns["zinbtools"]["zi_bootstrap"]
        assert twins["n_called"].sum() <= 1  # one twin in twenty may have a call
        assert (twins["share_pval_05"] < 0.12).all()
        assert twins["largest_ratio"].nunique() == 3
    assert np.mean(shares) < 0.08


def test_twins_of_inflated_data_are_not(inflated: AnnData) -> None:
    var, twins = inflated.var, inflated.uns["zinbtools"]["zi_bootstrap"]
    assert twins["twin"].tolist() == [0, 1]
    assert twins["n_called"].sum() == 0
    smallest = 1 / (1 + twins["n_genes"].sum())
    called = var["zi_call"] == "zero-inflated"
    assert called.sum() >= 10
    assert (var.loc[called, "zi_pval_bootstrap"] < 3 * smallest).all()
    assert var.loc[~var["is_zero_inflated"], "zi_pval_bootstrap"].median() > 0.2
    ratio = 2 * inflated.n_obs * var["zi_score"]
    assert (ratio[var["zi_pval_bootstrap"] == smallest] > twins["largest_ratio"].max()).all()
    assert "pval_bootstrap" in zt.get.zi_genes_df(inflated)


def test_strongly_inflated_genes_replicate(inflated: AnnData) -> None:
    pair = zt.get.zi_replication_df(inflated).iloc[0]
    assert pair[["first", "second", "n_genes"]].tolist() == ["1a", "1b", 80]
    assert pair["n_both"] > 2 * pair["n_both_expected"]
    assert pair["jaccard"] > 0.5 > 2 * pair["jaccard_expected"]
    assert pair["pval"] < 1e-4
    by_gene = zt.get.zi_replication_df(inflated, by="gene")
    assert by_gene["n_called"].is_monotonic_decreasing
    mean, truth = np.asarray(inflated.X.mean(0)).ravel(), inflated.var["is_zero_inflated"]
    strong = inflated.var_names[truth & (mean > 4)]
    assert len(strong) >= 6
    assert (by_gene.loc[strong, "n_called"] == 2).mean() > 0.8
    assert (by_gene.loc[inflated.var_names[~truth], "n_called"] == 0).mean() > 0.9
    for half in ("dropout_1a", "dropout_1b"):
        assert by_gene.loc[strong, half].median() == pytest.approx(0.25, abs=0.05)


def test_tables_follow_from_each_other(inflated: AnnData) -> None:
    pair = zt.get.zi_replication_df(inflated).iloc[0]
    parts = zt.get.zi_replication_df(inflated, by="part")
    genes = zt.get.zi_replication_df(inflated, by="gene")
    assert parts["n_cells"].tolist() == [350, 350]
    assert parts["n_called"].tolist() == [pair["n_first"], pair["n_second"]]
    assert (genes["n_called"] == 2).sum() == pair["n_both"]
    either = genes[genes["n_called"] > 0]
    assert len(either) == pair["n_either"]
    expected = either["dropout_1a"].corr(either["dropout_1b"], method="spearman")
    assert pair["dropout_correlation"] == pytest.approx(expected)


def test_donors_and_those_with_few_cells(inflated: AnnData) -> None:
    zt.tl.zi_replication(inflated, groupby="donor")
    parts = zt.get.zi_replication_df(inflated, by="part").set_index("part")
    assert parts["n_cells"].to_dict() == {"few": 60, "x": 320, "y": 320}
    assert parts["message"].to_dict() == {"few": "fewer than 100 cells", "x": "", "y": ""}
    assert parts.loc["few", ["n_genes", "n_called"]].tolist() == [0, 0]
    pairs = zt.get.zi_replication_df(inflated)
    assert pairs[["first", "second"]].to_numpy().tolist() == [["x", "y"]]
    assert pairs.loc[0, "jaccard"] > 0.5


def test_parts_are_of_the_cells_that_they_say(counts: AnnData, trained: list[Any]) -> None:
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    zt.tl.zi_replication(counts, n_splits=2)
    names = [set(sample.cells.obs_names) for sample, _ in trained]
    assert [len(cells) for cells in names] == [150] * 4
    for a, b in ((0, 1), (2, 3)):
        assert names[a] | names[b] == set(counts.obs_names)
    assert names[0] not in (names[2], names[3])
    pairs = zt.get.zi_replication_df(counts)
    assert pairs[["split", "first", "second"]].to_numpy().tolist() == [[1, "1a", "1b"], [2, "2a", "2b"]]
    trained.clear()
    zt.tl.zi_replication(counts, groupby="donor", rng=1)
    assert [set(sample.cells.obs["donor"]) for sample, _ in trained] == [{"x"}, {"y"}, {"z"}]
    assert len(zt.get.zi_replication_df(counts)) == 3


def test_refits_have_the_settings_of_the_fit(counts: AnnData, trained: list[Any]) -> None:
    counts.layers["raw"], counts.X = counts.X, counts.X * 0
    zt.tl.fit_nb_zinb(
        counts,
        layer="raw",
        mask_var="even",
        batch_key="sample",
        continuous_covariate_keys=["age"],
        dispersion="gene-batch",
        n_hidden=32,
        max_epochs=2,
        batch_size=16,
        progress=False,
        key_added="run",
    )
    before = counts.copy()
    zt.tl.zi_scores(counts, n_bootstrap=1, key="run", split="test")
    zt.tl.zi_replication(counts, key="run")
    (twin, of_twin), (_, of_half), _ = trained
    for settings in (of_twin, of_half):
        config = settings.configs["nb"]
        assert (config.dispersion, config.n_hidden, config.max_epochs) == ("gene-batch", 32, 2)
        assert settings.batch_key == "sample"
        assert settings.continuous_covariate_keys == ("age",)
        assert settings.models == ["nb"]
    np.testing.assert_array_equal(twin.cells.obs[of_twin.split], counts.obs["run_split"])
    assert list(twin.genes) == list(of_twin.genes) == list(counts.var_names[counts.var["even"]])
    assert twin.matrix.sum() == pytest.approx(counts.layers["raw"][:, ::2].sum(), rel=0.3)
    np.testing.assert_array_equal(counts.var["run_zi_pval_bootstrap"].notna(), counts.var["even"])
    assert counts.uns["run"]["zi_bootstrap"].loc[0, "n_genes"] == 25
    assert len(zt.get.zi_replication_df(counts, by="gene", key="run")) == 25
    assert set(counts.uns["run"]) - set(before.uns["run"]) == {"zi_bootstrap", "zi_replication"}
    for place in ("obs", "layers", "obsm"):
        assert set(getattr(counts, place)) == set(getattr(before, place))
    np.testing.assert_array_equal(counts.layers["raw"].toarray(), before.layers["raw"].toarray())


def test_tuned_settings_reach_the_refits(counts: AnnData, trained: list[Any]) -> None:
    counts.uns["zinbtools"] = {"tuning": {"best": {"nb": {"n_hidden": 32}, "zinb": {"n_hidden": 64}}}}
    zt.tl.fit_nb_zinb(counts, config="tuned", split=(0.8, 0.1, 0.1), max_epochs=1, progress=False)
    zt.tl.zi_scores(counts, n_bootstrap=1)
    zt.tl.zi_replication(counts)
    assert [settings.configs["nb"].n_hidden for _, settings in trained] == [32] * 3


def test_epochs_suit_the_number_of_cells(counts: AnnData, trained: list[Any]) -> None:
    zt.tl.fit_nb_zinb(counts, models="nb", early_stopping=False, progress=False)
    zt.tl.zi_replication(counts)
    assert [settings.configs["nb"].max_epochs for _, settings in trained] == [None, None]


def test_seeds_and_copies(counts: AnnData, trained: list[Any]) -> None:
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    before = counts.copy()
    found = [zt.tl.zi_scores(counts, n_bootstrap=1, rng=seed, copy=True) for seed in (1, 1, 2)]
    assert_same_anndata(found[0], found[1])
    ratios = [adata.uns["zinbtools"]["zi_bootstrap"]["largest_ratio"] for adata in found]
    assert ratios[0].ne(ratios[2]).all()
    halved = [zt.tl.zi_replication(counts, rng=seed, copy=True) for seed in (1, 1, 2)]
    assert_same_anndata(halved[0], halved[1])
    genes = [zt.get.zi_replication_df(adata, by="gene")["dropout_1a"] for adata in halved]
    assert genes[0].ne(genes[2].reindex(genes[0].index)).any()
    assert_same_anndata(counts, before)


def test_without_twins_none_are_left(inflated: AnnData) -> None:
    zt.tl.zi_scores(inflated)
    assert "zi_pval_bootstrap" not in inflated.var
    assert "zi_bootstrap" not in inflated.uns["zinbtools"]
    assert "zi_replication" in inflated.uns["zinbtools"]


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")  # anndata 0.12 says so of its default
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_files_keep_it(inflated: AnnData, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    getattr(inflated, "write_h5ad" if suffix == "h5ad" else "write_zarr")(path)
    read = anndata.read_h5ad(path) if suffix == "h5ad" else anndata.read_zarr(path)
    assert_same_anndata(read, inflated)
    for by in ("pair", "part", "gene"):
        first, second = (zt.get.zi_replication_df(a, by=by).reset_index() for a in (inflated, read))
        pd.testing.assert_frame_equal(first, second, check_dtype=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_bootstrap": -1}, "n_bootstrap must be a whole number of at least 0.*found -1"),
        ({"n_bootstrap": 1.5}, "n_bootstrap must be a whole number of at least 0.*found 1.5"),
        ({"n_bootstrap": 2, "method": "predictive"}, "'conditional' only, found 'predictive'"),
    ],
)
def test_twins_that_are_refused(fitted: AnnData, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        zt.tl.zi_scores(fitted, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"groupby": "absent"}, KeyError, "'absent' is not in adata.obs"),
        ({"groupby": "one"}, ValueError, "groupby 'one' must give at least 2 parts .* found 'all' 300"),
        ({"n_splits": 0}, ValueError, "n_splits must be a whole number of at least 1.*found 0"),
        ({"alpha": 2}, ValueError, "alpha must be a number between 0 and 1, both excluded, found 2"),
        ({"device": "abacus"}, ValueError, "device must be"),
        ({"key": "other"}, KeyError, "holds no fit"),
    ],
)
def test_replication_that_is_refused(
    fitted: AnnData, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    fitted.obs["one"] = "all"
    before = fitted.copy()
    with pytest.raises(error, match=words):
        zt.tl.zi_replication(fitted, **arguments)
    assert_same_anndata(fitted, before)


def test_replication_needs_the_nb_and_enough_cells(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, models="zinb", max_epochs=1, progress=False)
    with pytest.raises(ValueError, match="needs the NB model"):
        zt.tl.zi_replication(counts)
    few = counts[:150].copy()
    zt.tl.fit_nb_zinb(few, models="nb", max_epochs=1, progress=False)
    with pytest.raises(ValueError, match="random halves must give at least 2 parts .* '1a' 75, '1b' 75"):
        zt.tl.zi_replication(few)


def test_parts_that_cannot_be_fitted_are_named(counts: AnnData) -> None:
    counts.obs["age"] = np.where(counts.obs["donor"] == "x", 1.0, counts.obs["age"])
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, continuous_covariate_keys=["age"], progress=False)
    with_three = counts.copy()
    zt.tl.zi_replication(with_three, groupby="donor")
    parts = zt.get.zi_replication_df(with_three, by="part").set_index("part")
    assert "'age' does not vary" in parts.loc["x", "message"]
    assert len(zt.get.zi_replication_df(with_three)) == 1
    counts.obs["donor"] = counts.obs["donor"].replace("z", "few").mask(counts.obs["donor"] == "z")
    with pytest.raises(ValueError, match="fewer than 2 parts could be fitted .*'x': .*does not vary"):
        zt.tl.zi_replication(counts, groupby="donor")


def test_what_cannot_be_read(fitted: AnnData) -> None:
    with pytest.raises(KeyError, match=r"run zt\.tl\.zi_replication\(adata\) first"):
        zt.get.zi_replication_df(fitted)
    with pytest.raises(ValueError, match="by must be one of 'pair', 'part', 'gene', found 'cell'"):
        zt.get.zi_replication_df(fitted, by="cell")


def test_cells_are_split_anew_where_a_fit_had_no_test_cells(counts: AnnData, trained: list[Any]) -> None:
    """As one that was imported may not."""
    zt.tl.fit_nb_zinb(counts, max_epochs=1, n_hidden=16, progress=False)
    counts.obs["zinbtools_split"] = counts.obs["zinbtools_split"].astype(str).replace("test", "train")
    zt.tl.zi_scores(counts, n_bootstrap=1)
    ((_, settings),) = trained
    assert settings.split == (0.8, 0.1, 0.1)
    zt.tl.model_selection(
        counts, n_restarts=1, folds=1, n_samples=5, n_null=2, metrics=["nll"], progress=False
    )
    assert (counts.obs["zinbtools_split"] == "test").sum() == 30
    assert counts.uns["zinbtools"]["params"]["n_hidden"] == 16


@pytest.mark.parametrize("verb", ["zi_replication", "model_selection", "zi_scores"])
def test_counts_of_a_part_or_twin_are_gone_before_the_next_is_taken(
    verb: str, counts: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, taken = Sample.with_counts, list[weakref.ref[Any]]()

    def with_counts(sample: Sample, *of: Any) -> Sample:
        assert [before() for before in taken] == [None] * len(taken)
        some = take(sample, *of)
        taken.append(weakref.ref(some.matrix))
        return some

    monkeypatch.setattr(Sample, "with_counts", with_counts)
    counts.obs["third"] = np.arange(counts.n_obs) % 3
    brief: dict[str, Any] = {"max_epochs": 1, "progress": False}
    if verb == "model_selection":
        few = {"n_samples": 2, "n_restarts": 1, "folds": 1, "n_null": 2}
        zt.tl.model_selection(counts, groupby="third", n_bootstrap=2, **few, **brief)
        assert len(taken) == 5
        return
    zt.tl.fit_nb_zinb(counts, models="nb", **brief)
    if verb == "zi_scores":
        zt.tl.zi_scores(counts, n_bootstrap=3)
    else:
        zt.tl.zi_replication(counts, groupby="third")
    assert len(taken) == 3
