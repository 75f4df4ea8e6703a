"""A fit knows its counts: every verb after it refuses others, and finds its cells and genes anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData
from compare import assert_same
from containers import IN_MEMORY, OUTSIDE
from scipy import sparse

import zinbtools as zt
from zinbtools._anndata.counts import read_counts
from zinbtools._anndata.reading import layer_names

Change = Callable[[AnnData], None]

VERBS: dict[str, Callable[[AnnData], Any]] = {
    "marginal_ll": lambda a: zt.tl.marginal_ll(a, n_samples=2),
    "ppc": lambda a: zt.tl.ppc(a, n_samples=2, n_null=2),
    "zi_scores": zt.tl.zi_scores,
    "zi_scores predictive": lambda a: zt.tl.zi_scores(a, method="predictive", n_samples=2),
    "zi_scores reconstruction": lambda a: zt.tl.zi_scores(a, method="reconstruction", n_samples=2),
    "zi_replication": zt.tl.zi_replication,
    "expected_counts": zt.get.expected_counts,
    "posterior_dropout": zt.get.posterior_dropout,
    "dropout_df": zt.get.dropout_df,
    "zero_study_df": zt.get.zero_study_df,
    "zi_genes_df": zt.get.zi_genes_df,
    "gene_df": lambda a: zt.get.gene_df(a, "gene_03"),
    "pl.dropout": lambda a: zt.pl.dropout(a, show=False),
    "pl.zero_study": lambda a: zt.pl.zero_study(a, show=False),
    "pl.gene": lambda a: zt.pl.gene(a, "gene_03", show=False),
}
QUICK = ("marginal_ll", "ppc", "zi_scores", "expected_counts", "dropout_df", "zero_study_df", "gene_df")


def dense(values: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(adata: AnnData) -> None:
        adata.X = sparse.csr_matrix(values(adata.X.toarray().astype(np.float64)))

    return change


def normalised(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(1, keepdims=True) * 1e4


OTHERS: dict[str, tuple[Change, str]] = {
    "normalised": (dense(normalised), "300 of 300 cells differ.*not whole"),
    "logged": (dense(lambda x: np.log1p(normalised(x))), "not whole, as log-transformed"),
    "rounded logs": (dense(lambda x: np.rint(np.log1p(normalised(x)))), "other counts"),
    "scaled": (dense(lambda x: np.rint(x - x.mean(0))), "negative"),
    "binarised": (dense(lambda x: (x > 0) * 1.0), "0 and 1 only"),
    "thinned": (dense(lambda x: np.random.default_rng(0).binomial(x.astype(int), 0.9) * 1.0), "other counts"),
    "doubled": (dense(lambda x: 2 * x), "300 of 300 cells"),
    "NaN": (dense(lambda x: np.where(x > 50, np.nan, x)), "NaN"),
    "one count": (dense(lambda x: x + (np.indices(x.shape).sum(0) == 0)), "1 of 300 cells"),
    "cells shuffled": (dense(lambda x: x[::-1]), "rows have changed places"),
    "genes shuffled": (dense(lambda x: x[:, ::-1]), "300 of 300 cells"),
    "all zeros": (dense(lambda x: 0 * x), "300 of 300 cells"),
    "another layer": (lambda a: setattr(a, "X", a.layers["true_counts"].copy()), "other counts"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("verb", VERBS)
def test_other_numbers_are_refused(fitted: AnnData, verb: str, name: str) -> None:
    change, words = OTHERS[name]
    change(fitted)
    before = fitted.copy()
    with pytest.raises(ValueError, match=rf"adata\.X no longer holds the counts that were fitted.*{words}"):
        VERBS[verb](fitted)
    for place in ("obs", "var", "uns"):
        assert_same(getattr(fitted, place), getattr(before, place), place)


def without_layers(adata: AnnData) -> AnnData:
    for name in layer_names(adata):  # anndata 0.13 has X among the layers
        del adata.layers[name]
    return adata


def new_cells(adata: AnnData) -> AnnData:
    others = adata[:40].copy()
    others.X = others.layers["true_counts"].copy()
    del others.obs["zinbtools_split"], others.obs["zinbtools_digest"], others.uns, others.obsm
    others = without_layers(others)
    return anndata.concat([adata, others], join="outer", merge="first", uns_merge="first", index_unique="-")


def more_genes(adata: AnnData) -> AnnData:
    other = AnnData(np.ones((adata.n_obs, 2), np.float32), obs=adata.obs[[]])
    other.var_names = ["spike", "ERCC-1"]
    both = anndata.concat([other, adata], axis=1, join="outer", merge="first", uns_merge="first")
    both.obs = adata.obs.copy()
    both = without_layers(both)
    return both[:, np.random.default_rng(0).permutation(both.n_vars)].copy()


REARRANGED: dict[str, Callable[[AnnData], AnnData]] = {
    "a subset": lambda a: a[a.obs["zinbtools_split"] != "train"].copy(),
    "the test cells": lambda a: a[a.obs["zinbtools_split"] == "test"].copy(),
    "another order": lambda a: a[np.random.default_rng(0).permutation(a.n_obs)].copy(),
    "genes in another order": lambda a: a[:, np.random.default_rng(0).permutation(a.n_vars)].copy(),
    "other genes": more_genes,
    "other cells": new_cells,
    "the same names": lambda a: (setattr(a, "obs_names", ["cell"] * a.n_obs), a)[1],
    "cells more than once": lambda a: a[np.repeat(np.arange(a.n_obs), 2)].copy(),
}


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
@pytest.mark.parametrize("name", REARRANGED)
@pytest.mark.parametrize("verb", QUICK)
def test_the_same_counts_are_accepted(fitted: AnnData, verb: str, name: str) -> None:
    adata = REARRANGED[name](fitted)
    if name == "other genes" and verb in ("zero_study_df", "gene_df"):
        pytest.skip("the layers are gone")
    VERBS[verb](adata)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_cells_that_the_models_have_not_seen_must_have_counts(fitted: AnnData) -> None:
    both = new_cells(fitted)
    counts = both.X.toarray()
    counts[-1] = np.log1p(counts[-1])
    both.X = counts
    with pytest.raises(ValueError, match="not whole"):
        zt.tl.zi_scores(both)


def test_parts_without_training_cells_can_be_compared(fitted: AnnData) -> None:
    fitted.obs["zinbtools_split"] = "test"
    with pytest.raises(ValueError, match=r"random halves must give .* found '1a' 1, '1b' 0"):
        zt.tl.zi_replication(fitted[:1].copy())
    zt.tl.zi_replication(fitted[:200].copy())


def test_results_land_at_their_genes(fitted: AnnData) -> None:
    order = np.random.default_rng(0).permutation(fitted.n_vars)
    moved = fitted[:, order].copy()
    for adata in (fitted, moved):
        zt.tl.zi_scores(adata)
        zt.tl.ppc(adata, n_samples=2, n_null=2)
    for column in ("zi_score", "zi_pval", "zi_call", "zi_power"):
        assert_same(moved.var[column], fitted.var[column].iloc[order], column)
    assert_same(zt.get.expected_counts(moved).T, zt.get.expected_counts(fitted).T.iloc[order], "expected")
    some = ["gene_07", "gene_02"]
    block = zt.get.expected_counts(moved, model="nb", var=some)
    assert_same(block, zt.get.expected_counts(fitted, model="nb", var=some), "some")
    assert_same(zt.get.dropout_df(moved).sort_index(), zt.get.dropout_df(fitted).sort_index(), "dropout")
    assert_same(zt.get.ppc_df(moved), zt.get.ppc_df(fitted), "ppc")
    assert_same(zt.get.gene_df(moved, "gene_07"), zt.get.gene_df(fitted, "gene_07"), "gene")


def test_masked_genes_stay_out_wherever_they_are(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, mask_var="even", max_epochs=2, progress=False)
    zt.tl.zi_scores(counts)
    moved = counts[:, np.random.default_rng(0).permutation(counts.n_vars)].copy()
    moved.X = np.where(moved.var["even"], moved.X.toarray(), np.nan)  # what was not fitted may change
    zt.tl.zi_scores(moved)
    assert_same(moved.var["zi_score"], counts.var["zi_score"].loc[moved.var_names], "zi_score")
    assert moved.var["zi_score"].isna().equals(~moved.var["even"])
    without = moved[:, moved.var_names != "gene_04"].copy()
    with pytest.raises(ValueError, match=r"adata lacks 1 of the 25 genes that were fitted, 'gene_04'"):
        zt.tl.zi_scores(without)


@pytest.mark.parametrize("name", [*IN_MEMORY, *OUTSIDE])
def test_digests_do_not_depend_on_the_container(name: str, counts: AnnData, tmp_path: Path) -> None:
    contained = {**IN_MEMORY, **OUTSIDE}[name](counts, tmp_path)
    digests = read_counts(contained).digests
    np.testing.assert_array_equal(digests, read_counts(counts).digests)
    assert len(np.unique(digests)) == counts.n_obs


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_files_keep_what_the_counts_are_known_by(fitted: AnnData, tmp_path: Path, form: str) -> None:
    if form == "zarr":
        pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats to come
        getattr(fitted, f"write_{form}")(tmp_path / f"fit.{form}")
        read = getattr(anndata, f"read_{form}")(tmp_path / f"fit.{form}")
    zt.tl.zi_scores(read)
    read.X = np.log1p(read.X.toarray())
    with pytest.raises(ValueError, match="no longer holds the counts"):
        zt.tl.zi_scores(read)


def test_rounded_fractions_are_known_again(counts: AnnData) -> None:
    counts.X = counts.X.toarray() * 0.9
    counts = counts[np.rint(counts.X).sum(1) > 0].copy()
    with (
        pytest.warns(UserWarning, match="they are rounded"),
        pytest.warns(UserWarning, match="may hold no counts of molecules"),
    ):
        zt.tl.fit_nb_zinb(counts, check_counts=False, max_epochs=2, progress=False)
    for verb in QUICK:
        if verb != "gene_df":
            VERBS[verb](counts)
    counts.X = np.log1p(counts.X)
    with pytest.raises(ValueError, match="no longer holds the counts"):
        zt.tl.zi_scores(counts)


def test_a_fit_without_digests_asks_for_whole_numbers(fitted: AnnData) -> None:
    params = fitted.uns["zinbtools"]["params"]  # as 0.1.0 wrote it
    del fitted.obs["zinbtools_digest"], params["check_counts"], params["format"]
    zt.tl.zi_scores(fitted)
    fitted.X = np.log1p(fitted.X.toarray())
    with pytest.raises(ValueError, match="not whole"):
        zt.tl.zi_scores(fitted)


def test_a_table_of_metrics_that_is_gone_begins_anew(fitted: AnnData) -> None:
    del fitted.uns["zinbtools"]["metrics"]
    zt.tl.marginal_ll(fitted, n_samples=2)
    assert set(zt.get.metrics_df(fitted)["metric"]) == {"nll", "ess", "bad_pareto_k"}
