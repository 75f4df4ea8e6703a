from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit
from scipy import sparse, stats

from zinbtools import get, tl

FRAMES = {
    "metrics_df": "tl.fit_nb_zinb",
    "history_df": "tl.fit_nb_zinb",
    "ppc_df": "tl.ppc",
    "ppc_ks_df": "tl.ppc",
    "calibration_df": "tl.ppc",
    "dropout_df": "tl.fit_nb_zinb",
    "zi_genes_df": "tl.zi_scores",
    "zero_test_df": "tl.zero_test",
    "zero_study_df": "tl.fit_nb_zinb",
    "nll_difference": "tl.marginal_ll",
}


@pytest.fixture
def adata() -> AnnData:
    return fake_fit()


@pytest.mark.parametrize(("name", "verb"), FRAMES.items())
def test_what_is_missing_is_said_with_the_verb_that_makes_it(name: str, verb: str) -> None:
    with pytest.raises(KeyError, match=rf"run zt\.{verb}\(adata"):
        getattr(get, name)(AnnData(np.ones((2, 2), dtype="float32")))


@pytest.mark.parametrize("name", FRAMES)
def test_another_key_is_another_fit(name: str, adata: AnnData) -> None:
    keyed = getattr(get, name)(fake_fit(key="run2"), key="run2")
    plain = getattr(get, name)(adata)
    if isinstance(plain, pd.DataFrame):
        pd.testing.assert_frame_equal(keyed, plain)
    else:
        assert keyed == plain
    with pytest.raises(KeyError):
        getattr(get, name)(adata, key="run2")


@pytest.mark.parametrize("name", FRAMES)
def test_a_file_gives_the_same_frames(name: str, adata: AnnData, tmp_path: Path) -> None:
    adata.write_h5ad(tmp_path / "a.h5ad")
    read = getattr(get, name)(anndata.read_h5ad(tmp_path / "a.h5ad"))
    plain = getattr(get, name)(adata)
    if isinstance(plain, pd.DataFrame):
        pd.testing.assert_frame_equal(read.reset_index(), plain.reset_index(), check_dtype=False)
    else:
        assert read == plain


@pytest.mark.parametrize("name", ["metrics_df", "history_df", "ppc_df", "ppc_ks_df", "calibration_df"])
def test_a_changed_frame_does_not_change_the_object(name: str, adata: AnnData) -> None:
    frame = getattr(get, name)(adata)
    frame.iloc[:, -1] = 0.0
    assert not getattr(get, name)(adata).equals(frame)


def test_best_metrics_are_those_of_the_restart_that_was_chosen(adata: AnnData) -> None:
    best = get.metrics_df(adata, best=True)
    assert set(zip(best["model"], best["restart"], strict=True)) == {("nb", 1), ("zinb", 0)}
    every = get.metrics_df(adata)
    assert len(every) == 2 * len(best)
    assert list(best.index) == list(range(len(best)))


def test_ppc_has_a_row_per_gene_check_and_model(adata: AnnData) -> None:
    wide = adata.uns["zinbtools"]["ppc"]["genes"]
    tidy = get.ppc_df(adata)
    assert len(tidy) == 2 * len(wide)
    back = tidy.pivot_table(index=["check", "gene"], columns="model", values="predicted", dropna=False)
    there = wide.set_index(["check", "gene"]).sort_index()
    pd.testing.assert_frame_equal(back[["nb", "zinb"]], there[["nb", "zinb"]], check_names=False)


def test_ppc_errors_and_p_values_follow_from_the_table(adata: AnnData) -> None:
    results = adata.uns["zinbtools"]["ppc"]
    wide = results["genes"]
    wide.loc[wide["check"] == "dropout_ratio", "nb_expected"] = 0.25
    results["checks"]["direction"] = ["high", "both", "low"]
    tidy = get.ppc_df(adata).query("model == 'nb'").reset_index(drop=True)
    is_first = wide["check"] == "dropout_ratio"
    np.testing.assert_array_equal(tidy["expected"], np.where(is_first, 0.25, wide["nb"]))
    np.testing.assert_allclose(tidy["error"], wide["observed"] - tidy["expected"])
    varies = wide["nb_sd"] > 0
    assert 0 < (~varies).sum() < 20
    np.testing.assert_allclose(tidy["z"][varies], (tidy["error"] / wide["nb_sd"])[varies])
    assert tidy["z"][~varies].isna().all()
    tail = wide["nb_tail"].to_numpy().reshape(3, -1)
    expected = [tail[0], 2 * np.minimum(tail[1], 1 - tail[1]), 1 - tail[2]]
    np.testing.assert_allclose(tidy["p_value"], np.concatenate(expected))


def test_p_values_are_adjusted_within_a_model(adata: AnnData) -> None:
    frame = get.calibration_df(adata)
    assert list(frame)[:5] == ["gene", "model", "statistic", "p_value", "p_value_adjusted"]
    for _, rows in frame.groupby("model"):
        assert rows["gene"].tolist() == adata.var_names.tolist()
        expected = stats.false_discovery_control(rows["p_value"])
        np.testing.assert_allclose(rows["p_value_adjusted"], expected)


@pytest.mark.parametrize(("missing", "name"), [("genes", "ppc_df"), ("residuals", "calibration_df")])
def test_what_ppc_was_not_asked_for_is_said(adata: AnnData, missing: str, name: str) -> None:
    del adata.uns["zinbtools"]["ppc"][missing]
    with pytest.raises(KeyError, match=rf"holds no '{missing}'; run zt\.tl\.ppc\(adata"):
        getattr(get, name)(adata)


def test_dropout_is_counted_where_the_fit_counted(adata: AnnData) -> None:
    counts = adata.X.toarray()
    frame = get.dropout_df(adata)
    np.testing.assert_allclose(frame["mean_count"], counts.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(frame["observed_zero_fraction"], (counts == 0).mean(axis=0))
    np.testing.assert_array_equal(frame["nb_zero_fraction"], adata.var["nb_zero_fraction"])

    adata.layers["counts"], adata.X = adata.X, np.ones(adata.shape, dtype="float32")
    adata.uns["zinbtools"]["params"]["layer"] = "counts"
    pd.testing.assert_frame_equal(get.dropout_df(adata), frame)


def test_dense_counts_and_stored_zeros_are_the_same_zeros(adata: AnnData) -> None:
    frame, zeros = get.dropout_df(adata), get.zero_study_df(adata)
    adata.X = adata.X.toarray()
    pd.testing.assert_frame_equal(get.dropout_df(adata), frame)
    pd.testing.assert_frame_equal(get.zero_study_df(adata), zeros)
    full = sparse.csr_matrix(np.ones(adata.shape, dtype="float32"))
    full.data[:] = adata.X.ravel()
    adata.X = full
    assert adata.X.nnz == adata.n_obs * adata.n_vars
    pd.testing.assert_frame_equal(get.dropout_df(adata), frame)
    pd.testing.assert_frame_equal(get.zero_study_df(adata), zeros)


def test_masked_genes_are_left_out(adata: AnnData) -> None:
    zeros = get.zero_study_df(adata)
    n_zeros = int((adata.X[:, 0].toarray() == 0).sum())
    for name in ("nb_zero_fraction", "zinb_zero_fraction", "zi_score"):
        adata.var.iloc[0, adata.var.columns.get_loc(name)] = np.nan
    for name in ("zinb_mean", "zinb_dropout"):
        adata.layers[name][:, 0] = np.nan
    assert "gene0" not in get.dropout_df(adata).index
    assert "gene0" not in get.zi_genes_df(adata).index
    assert len(get.dropout_df(adata)) == adata.n_vars - 1
    assert len(get.zero_study_df(adata)) == len(zeros) - n_zeros


def test_a_fit_of_one_model_has_its_columns_only(adata: AnnData) -> None:
    adata.uns["zinbtools"]["params"]["models"] = ["nb"]
    assert "zinb_zero_fraction" not in get.dropout_df(adata)


def test_genes_come_by_falling_score(adata: AnnData) -> None:
    frame = get.zi_genes_df(adata)
    assert list(frame.index) == list(adata.var["zi_score"].sort_values(ascending=False, kind="stable").index)
    for column, name in {"score_se": "zi_score_se", "mean_dropout": "zinb_mean_dropout"}.items():
        np.testing.assert_array_equal(frame[column], adata.var.loc[frame.index, name])


def test_each_zero_knows_its_kind(adata: AnnData) -> None:
    counts, true = adata.X.toarray(), adata.layers["true_counts"].toarray()
    frame = get.zero_study_df(adata)
    sizes = frame["kind"].value_counts()
    assert sizes["limited sensitivity"] == (true == 0).sum()
    assert sizes["dropout"] == ((true > 0) & (counts == 0)).sum()
    lost = frame[frame["kind"] == "dropout"]
    expected = adata.layers["zinb_dropout"][(true > 0) & (counts == 0)]
    np.testing.assert_allclose(10.0 ** lost["log10_dropout"], expected, rtol=1e-5)
    assert frame["log10_mean"].dtype == np.float32


def test_totals_and_posteriors_are_those_of_the_formula(counts: AnnData) -> None:
    tl.fit_nb_zinb(counts, max_epochs=2, n_draws=1, progress=False)  # one draw: averages are its values
    frame = get.zero_study_df(counts, total=True, posterior=True)
    zero = counts.X.toarray() == 0
    theta = np.broadcast_to(counts.var["zinb_inverse_dispersion"].to_numpy(), zero.shape)[zero]
    pi, mean = (counts.layers[f"zinb_{what}"][zero].astype(float) for what in ("dropout", "mean"))
    total = pi + (1 - pi) * (theta / (theta + mean)) ** theta
    np.testing.assert_allclose(10.0 ** frame["log10_total"], total, rtol=2e-4)
    np.testing.assert_allclose(frame["posterior_dropout"], pi / total, rtol=2e-4)


def test_without_the_truth_a_zero_is_a_zero(adata: AnnData) -> None:
    del adata.layers["true_counts"]
    frame = get.zero_study_df(adata)
    assert frame["kind"].unique().tolist() == ["zero"]
    assert len(frame) == (adata.X.toarray() == 0).sum()


def test_a_dropout_probability_of_nothing_has_a_logarithm(adata: AnnData) -> None:
    adata.layers["zinb_dropout"][:] = 0.0
    np.testing.assert_allclose(get.zero_study_df(adata)["log10_dropout"], -12, rtol=1e-6)
