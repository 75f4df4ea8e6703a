"""`explain_zeros`: causes of simulated genes are found where they can be, and written where they belong."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same_anndata

import zinbtools as zt
from zinbtools._words.answers import Cause


@pytest.fixture(scope="module")
def _causes() -> AnnData:
    means = 10 ** np.random.default_rng(3).uniform(-1, 1.2, 120)
    shares = {"none": 1, "covariate": 0.2, "bursting": 1, "dropout": 1}
    adata = zt.simulate.zero_causes(1500, 120, shares=shares, means=means, rng=3)
    zt.tl.fit_nb_zinb(adata, models="nb", progress=False)
    zt.tl.explain_zeros(adata)
    return adata


@pytest.fixture
def causes(_causes: AnnData) -> AnnData:
    return _causes.copy()


def test_causes_are_found_where_counts_are_many(causes: AnnData) -> None:
    found, truth = causes.var["zero_cause"].astype(str), causes.var["cause"].astype(str)
    mean = np.asarray(causes.X.mean(axis=0)).ravel()
    for cause, wrong in (("bursting", "dropout"), ("dropout", "bursting")):
        many = (truth == cause) & (mean > 4)
        assert many.sum() >= 5
        assert (found[many] == cause).mean() >= 0.8
        assert not (found[truth == cause] == wrong).any()
    assert (found[truth == "none"] != "none").mean() < 0.06
    few = mean < 0.5
    assert found[few].isin(["none", "cannot tell"]).mean() > 0.9
    # where several genes go with the sex, the network may know it
    assert found[(truth == "covariate") & (mean > 1)].isin(["covariate", "none"]).all()


def test_a_covariate_is_named_before_bursts_and_dropout() -> None:
    adata = zt.simulate.gamma_poisson(1000, 60, means=np.full(60, 5.0), rng=4)
    adata.obs["sex"] = pd.Categorical(np.random.default_rng(4).choice(["f", "m"], 1000))
    counts = adata.X.toarray()
    counts[(adata.obs["sex"] == "f").to_numpy(), 7] = 0
    adata.X = counts
    zt.tl.fit_nb_zinb(adata, models="nb", progress=False)
    zt.tl.explain_zeros(adata)
    assert adata.var["zero_cause"].iloc[7] == "covariate"
    assert adata.var["zi_explained_by"].iloc[7] == "obs['sex']"
    assert (adata.var["zero_cause"] != "none").sum() <= 3
    assert np.isnan(adata.var["zero_cause_margin"].iloc[7])


def test_the_margin_is_the_evidence(causes: AnnData) -> None:
    table = zt.get.zero_causes_df(causes)
    need = table["cause"].isin(["bursting", "dropout", "cannot tell"])
    assert table.loc[~need, "margin"].isna().all()
    assert (
        table.loc[need, ["margin", "margin_se", "pval_adj", "burst_frequency", "cells_needed"]]
        .notna()
        .all(axis=None)
    )
    z = table["margin"] / table["margin_se"]
    assert (z[table["cause"] == "bursting"] > 1.9).all()
    assert (z[table["cause"] == "dropout"] < -1.9).all()
    assert (table["pval_adj"][table["cause"] == "cannot tell"] > 0.05).all()
    named = table["cause"].isin(["bursting", "dropout"])
    assert table.loc[named, "cells_needed"].median() < causes.n_obs
    assert table.loc[need & ~named, "cells_needed"].median() > causes.n_obs
    np.testing.assert_array_equal(causes.var["zero_cause_margin"], table["margin"])
    assert causes.uns["zinbtools"]["zero_causes"]["params"]["n_cells"] == 1500


def test_bursts_are_those_of_the_truth(causes: AnnData) -> None:
    table = zt.get.zero_causes_df(causes)
    is_named = (table["cause"] == "bursting") & (causes.var["cause"] == "bursting")
    some, truth = table[is_named], causes.var[is_named]
    assert len(some) >= 8
    for ours, theirs in (("burst_frequency", "k_on"), ("burst_size", "burst_size")):
        assert some[ours].corr(truth[theirs], method="spearman") > 0.8


def test_the_class_of_a_gene_is_its_cause(causes: AnnData) -> None:
    genes = zt.get.zi_genes_df(causes)
    assert (genes["class"].astype(str) == causes.var["zero_cause"].astype(str)[genes.index]).all()


def test_calls_are_those_of_zi_scores(causes: AnnData) -> None:
    again = causes.copy()
    zt.tl.zi_scores(again)
    for name in ("zi_call", "zi_explained_by", "zi_pval"):
        pd.testing.assert_series_equal(again.var[name], causes.var[name])
    called = causes.var["zi_call"] == "zero-inflated"
    beyond = causes.var["zero_cause"].isin(["covariate", "bursting", "dropout", "cannot tell"])
    assert (called == beyond).all()


def test_written_and_read_and_copied(causes: AnnData, tmp_path: Path) -> None:
    copy = zt.tl.explain_zeros(causes, copy=True)
    assert copy is not None
    assert_same_anndata(copy, causes)
    causes.write_h5ad(tmp_path / "causes.h5ad")
    back = anndata.read_h5ad(tmp_path / "causes.h5ad")
    assert back.var["zero_cause"].cat.categories.tolist() == [cause.value for cause in Cause]
    pd.testing.assert_frame_equal(zt.get.zero_causes_df(back), zt.get.zero_causes_df(causes))


def test_some_genes_only_are_fitted_and_named(causes: AnnData) -> None:
    shares = {"none": 1, "bursting": 1}
    some = zt.simulate.zero_causes(300, 40, shares=shares, means=np.full(40, 3.0), rng=1)
    some.var["chosen"] = np.arange(40) % 2 == 0
    zt.tl.fit_nb_zinb(some, models="nb", mask_var="chosen", max_epochs=5, progress=False, key_added="half")
    zt.tl.explain_zeros(some, key="half")
    assert some.var["half_zero_cause"].isna().to_numpy().tolist() == (~some.var["chosen"]).tolist()
    assert zt.get.zero_causes_df(some, key="half").index.tolist() == some.var_names[::2].tolist()


def test_reads_are_explained_by_their_copies() -> None:
    means = 10 ** np.random.default_rng(5).uniform(-0.5, 1, 120)
    molecules = zt.simulate.gamma_poisson(500, 120, means=means, rng=5)
    reads = zt.simulate.amplify(molecules, copies=15, rng=5)
    zt.tl.fit_nb_zinb(reads, models="nb", progress=False, max_epochs=60)
    zt.tl.explain_zeros(reads, counts="reads")
    found = reads.var["zero_cause"].value_counts()
    assert found["amplification"] > 10
    assert found[["bursting", "dropout"]].sum() == 0
    assert found["cannot tell"] < 6
    assert (
        reads.var.loc[reads.var["zero_cause"] == "amplification", "zi_explained_by"] == "amplification"
    ).all()


@pytest.mark.slow
def test_copies_that_look_like_molecules_are_asked_for() -> None:
    """Nobody says what these are, and so few genes do not show it; nothing was lost."""
    molecules = zt.simulate.gamma_poisson(600, 150, means=np.geomspace(0.3, 8, 150), n_types=3, rng=80)
    reads = zt.simulate.amplify(molecules, copies=15, rng=1)
    zt.tl.fit_nb_zinb(reads, models="nb", progress=False, max_epochs=60)
    assert reads.uns["zinbtools"]["params"]["counts"] != "reads"
    told = zt.tl.explain_zeros(reads, counts="molecules", copy=True)
    assert told is not None
    assert told.uns["zinbtools"]["zero_causes"]["params"]["counts"] == "molecules"
    wrong = told.var["zero_cause"].isin(["bursting", "dropout", "cannot tell"])
    assert wrong.mean() > 0.5
    zt.tl.explain_zeros(reads)
    assert reads.uns["zinbtools"]["zero_causes"]["params"]["counts"] == "reads"
    cause = reads.var["zero_cause"].astype(str)
    assert (cause[wrong] == "amplification").mean() > 0.95
    assert cause.isin(["bursting", "dropout", "cannot tell"]).mean() <= 0.01


def test_bursts_and_dropout_of_molecules_are_not_taken_for_copies(causes: AnnData) -> None:
    """Counts of genes in bursts come in lumps as copies do, and half of these genes are such."""
    assert causes.var["zero_cause"].isin(["bursting", "dropout"]).sum() > 20  # so that copies were asked for
    assert causes.uns["zinbtools"]["zero_causes"]["params"]["counts"] == "molecules"
    told = zt.tl.explain_zeros(causes, counts="molecules", copy=True)
    assert told is not None
    pd.testing.assert_frame_equal(told.var, causes.var)


def test_families_are_held_against_test_cells(causes: AnnData) -> None:
    with pytest.raises(KeyError, match="held_out=True"):
        zt.get.zero_causes_df(causes, of="families")
    zt.tl.explain_zeros(causes, held_out=True)
    table = zt.get.zero_causes_df(causes, of="families").set_index("family")
    assert table.index.tolist() == ["poisson", "nb", "zinb", "beta-poisson"]
    assert (table["n_cells"] == (causes.obs["zinbtools_split"] == "test").sum()).all()
    assert table.loc["nb", ["difference", "se"]].tolist() == [0, 0]
    difference = table["log_likelihood"] - table.loc["nb", "log_likelihood"]
    np.testing.assert_allclose(table["difference"], difference, rtol=1e-9, atol=1e-9)
    assert table.loc["poisson", "high"] < 0
    for family in ("zinb", "beta-poisson"):  # a third of the genes are either, and each helps with the other
        assert table.loc[family, "low"] > 0
    half = (table["high"] - table["low"]) / 2
    assert (half[["poisson", "zinb"]] > 1.9 * table["se"][["poisson", "zinb"]]).all()


def test_bad_input_is_refused(causes: AnnData) -> None:
    with pytest.raises(ValueError, match="negligible_dropout must be below"):
        zt.tl.explain_zeros(causes, negligible_dropout=0.2)
    del causes.uns["zinbtools"]["zero_causes"]
    with pytest.raises(KeyError, match="explain_zeros"):
        zt.get.zero_causes_df(causes)


def test_a_comparison_of_the_models_names_the_same_causes() -> None:
    means = 10 ** np.random.default_rng(7).uniform(-0.5, 1.2, 40)
    adata = zt.simulate.zero_causes(500, 40, means=means, rng=7)
    settings = {"max_epochs": 20, "n_samples": 5, "n_null": 2, "metrics": ("nll",), "progress": False}
    zt.tl.model_selection(adata, folds=1, n_restarts=1, **settings)
    assert adata.var["zero_cause"].isin(["bursting", "dropout"]).any()
    again = zt.tl.explain_zeros(adata, copy=True)
    pd.testing.assert_frame_equal(again.var, adata.var)
    pd.testing.assert_frame_equal(zt.get.zero_causes_df(again), zt.get.zero_causes_df(adata))


def test_other_calls_take_the_causes_away(causes: AnnData) -> None:
    zt.tl.zi_scores(causes, alpha=0.01)
    assert not [name for name in causes.var if "zero_cause" in name]
    with pytest.raises(KeyError, match="explain_zeros"):
        zt.get.zero_causes_df(causes)


def test_molecules_that_were_hardly_copied_are_molecules(causes: AnnData) -> None:
    with pytest.warns(UserWarning, match="was read about 1.* as if the counts were of molecules"):
        zt.tl.zi_scores(causes, counts="reads")
    reads = causes.var.copy()
    zt.tl.zi_scores(causes, counts="molecules")
    pd.testing.assert_frame_equal(reads, causes.var)
