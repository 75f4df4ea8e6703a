"""`ppc`: observed numbers by hand, predictions in range, distances by scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import AnnData, read_h5ad
from compare import assert_same, assert_same_anndata
from scipy import stats

import zinbtools as zt
from zinbtools._check.rng import integer
from zinbtools.get._checks import check_words
from zinbtools.get._fitted import Fitted
from zinbtools.model.predictive import Replicates
from zinbtools.stats.discrepancies import CHECKS, Check, ks_distance

DEFAULT = ("dropout_ratio", "zeros_to_expression", "cv")


def by_hand(counts: np.ndarray) -> dict[str, np.ndarray]:
    zeros = (counts == 0).sum(axis=0)
    positive = np.where(counts > 0, counts, np.nan)
    return {
        "dropout_ratio": zeros / len(counts),
        "zeros_to_expression": zeros / np.nanmean(positive, axis=0),
        "cv": counts.std(axis=0) / counts.mean(axis=0),
    }


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_observed_values_are_those_of_the_counts(fitted: AnnData, split: str) -> None:
    zt.tl.ppc(fitted, n_samples=2, split=split)
    ppc = fitted.uns["zinbtools"]["ppc"]
    assert (ppc["n_samples"], ppc["split"]) == (2, split)
    table = ppc["genes"]
    assert list(table)[:5] == ["gene", "check", "observed", "nb", "zinb"]
    assert table["check"].unique().tolist() == list(DEFAULT)
    cells = (
        np.ones(300, dtype=bool) if split == "all" else (fitted.obs["zinbtools_split"] == split).to_numpy()
    )
    for check, expected in by_hand(fitted.X.toarray()[cells].astype(np.float64)).items():
        rows = table[table["check"] == check]
        assert rows["gene"].tolist() == fitted.var_names.tolist()
        np.testing.assert_allclose(rows["observed"], expected, rtol=1e-12)


def test_the_distances_are_those_of_scipy(fitted: AnnData) -> None:
    results = fitted.uns["zinbtools"]
    metrics = results["metrics"].set_index(["model", "restart", "split", "metric"])["value"]
    for check, rows in results["ppc"]["genes"].groupby("check"):
        for model, best in results["params"]["best_restart"].items():
            expected = stats.ks_2samp(rows["observed"].dropna(), rows[model].dropna()).statistic
            assert metrics[model, best, "test", f"ks_{check}"] == pytest.approx(expected, abs=1e-12)


def test_predicted_zeros_are_the_probability_of_a_zero(fitted: AnnData) -> None:
    """Two roads to the same number: counts that were drawn, and the distribution's own zero probability."""
    zt.tl.ppc(fitted, n_samples=30, split="all", checks="dropout_ratio")
    table = fitted.uns["zinbtools"]["ppc"]["genes"]
    for model in ("nb", "zinb"):
        np.testing.assert_allclose(table[model], fitted.var[f"{model}_zero_fraction"], atol=0.02)


def test_a_gene_without_a_count_in_the_split_is_undefined(counts: AnnData) -> None:
    split = np.array(["train", "validation", "test"])[np.arange(300) % 3]
    X = counts.X.toarray()
    X[split == "test", 0] = 0
    counts.X = X
    counts.obs["part"] = split
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False, split="part")
    zt.tl.ppc(counts, n_samples=2)
    observed = counts.uns["zinbtools"]["ppc"]["genes"].pivot(index="gene", columns="check", values="observed")
    assert observed.loc["gene_00", "dropout_ratio"] == 1
    assert observed.loc["gene_00", ["cv", "zeros_to_expression"]].isna().all()
    assert observed.drop(index="gene_00").notna().all(axis=None)
    assert counts.uns["zinbtools"]["metrics"]["value"].notna().all()


def test_masked_genes_have_no_rows(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False, mask_var="even", models="zinb")
    zt.tl.ppc(counts, n_samples=2, checks=["cv"])
    table = counts.uns["zinbtools"]["ppc"]["genes"]
    assert table["gene"].tolist() == counts.var_names[counts.var["even"]].tolist()
    assert list(table)[:4] == ["gene", "check", "observed", "zinb"]
    assert "nb" not in table


def test_the_null_is_that_of_single_draws(fitted: AnnData) -> None:
    """Draws, made one by one, in the place of the data, against the mean of the draws before them."""
    names = ("cv", "dropout_ratio")
    zt.tl.ppc(fitted, n_samples=6, n_null=5, checks=names, rng=3)
    results = fitted.uns["zinbtools"]["ppc"]
    fit = Fitted.read(fitted)
    cells, data = torch.as_tensor(fit.cells(fitted, "test")), fit.data(fitted, torch.device("cpu"))
    for model in ("nb", "zinb"):
        draws = Replicates(fit.load(model, torch.device("cpu")), data, cells, seed=integer(3))
        for check in names:
            values = np.array([CHECKS[check](draws.draw(number).counts) for number in range(11)])
            observed = CHECKS[check](data.statistics(cells.numpy()))
            predicted = np.zeros(50)
            for i, value in enumerate(values[:6]):  # a running mean, whose rounding decides on ties
                predicted += (value - predicted) / (i + 1)
            row = results["ks"].set_index(["check", "model"]).loc[check, model]
            null = np.array([ks_distance(draw, predicted) for draw in values[6:]])
            ks = ks_distance(observed, predicted)
            each = [ks_distance(observed, draw) for draw in values[:6]]
            expected = {
                "ks": ks,
                "position": ((null < ks).sum() + ((null == ks).sum() + 1) / 2) / 6,
                "null_mean": null.mean(),
                "null_low": np.percentile(null, 2.5),
                "null_high": np.percentile(null, 97.5),
                "ks_draw": np.mean(each),
                "ks_draw_sd": np.std(each, ddof=1),
                "ks_draw_null": np.mean([ks_distance(*values[i : i + 2]) for i in range(5, 10)]),
            }
            assert row.to_dict() == pytest.approx(expected)
            genes = results["genes"].query("check == @check")
            np.testing.assert_allclose(genes[model], predicted)
            np.testing.assert_allclose(genes[f"{model}_sd"], values[:6].std(0, ddof=1))
            ties = (values[:6] == observed).sum(0)
            tail = ((values[:6] > observed).sum(0) + (ties + 1) / 2) / 7
            np.testing.assert_allclose(genes[f"{model}_tail"], tail)
            assert genes[f"{model}_expected"].isna().all() == (check == "cv")


def test_expected_shares_have_no_noise_of_counts(fitted: AnnData) -> None:
    zt.tl.ppc(fitted, n_samples=60, n_null=0, checks=["dropout_ratio", "mean", "one_ratio"], split="all")
    table = fitted.uns["zinbtools"]["ppc"]["genes"]
    for model in ("nb", "zinb"):
        drawn = table[table[f"{model}_sd"] > 0]
        z = (drawn[model] - drawn[f"{model}_expected"]) / drawn[f"{model}_sd"] * np.sqrt(60)
        assert len(z) > 130
        assert z.abs().max() < 5
        assert z.std() == pytest.approx(1, abs=0.2)
        zeros = table.query("check == 'dropout_ratio'")[f"{model}_expected"]
        np.testing.assert_allclose(zeros, fitted.var[f"{model}_zero_fraction"], atol=4e-3)
    distances = fitted.uns["zinbtools"]["ppc"]["ks"]
    assert distances[["position", "null_mean", "null_low", "null_high", "ks_draw_null"]].isna().all(axis=None)
    assert distances[["ks", "ks_draw"]].notna().all(axis=None)


def test_checks_of_ones_own(fitted: AnnData) -> None:
    fano = Check(
        "fano", lambda genes: CHECKS["variance"](genes) / genes.mean, "variance / mean", direction="low"
    )
    zt.tl.ppc(fitted, n_samples=2, n_null=2, checks=["cv", fano])
    frame = zt.get.ppc_df(fitted).query("check == 'fano' and model == 'nb'").reset_index(drop=True)
    counts = fitted[fitted.obs["zinbtools_split"] == "test"].X.toarray().astype(np.float64)
    np.testing.assert_allclose(frame["observed"], counts.var(0) / counts.mean(0), rtol=1e-6)
    np.testing.assert_allclose(frame["p_value"], 1 - frame["tail"])
    assert "ks_fano" in set(zt.get.metrics_df(fitted)["metric"])
    assert zt.pl.ppc(fitted, checks="fano", show=False)[0].get_title() == "variance / mean"
    words = check_words(fitted, None)["fano"]
    assert words == ("variance / mean", "variance / mean", "The closer to the dotted line, the better.")


def test_every_check_survives_a_file(fitted: AnnData, tmp_path: Path) -> None:
    zt.tl.ppc(fitted, n_samples=2, n_null=2, checks=[*CHECKS, "pit"])
    assert zt.get.ppc_df(fitted)["check"].unique().tolist() == list(CHECKS)
    fitted.write_h5ad(tmp_path / "a.h5ad")
    assert_same_anndata(read_h5ad(tmp_path / "a.h5ad"), fitted)


def test_residuals_alone(fitted: AnnData) -> None:
    before = fitted.uns["zinbtools"]["metrics"]
    zt.tl.ppc(fitted, checks="pit", split="all")
    results = fitted.uns["zinbtools"]["ppc"]
    assert not {"genes", "ks", "checks"} & set(results)
    assert fitted.uns["zinbtools"]["metrics"].equals(before)
    for model in ("nb", "zinb"):
        assert results["residual_histograms"][model].shape == (50, 20)
        assert (results["residual_histograms"][model].sum(1) == 300).all()
        assert results["residuals"][f"{model}_p_value"].between(0, 1).all()


def test_seeds_and_copies(fitted: AnnData) -> None:
    before = fitted.copy()
    first, second = (zt.tl.ppc(fitted, n_samples=2, rng=seed, copy=True) for seed in (1, 2))
    assert_same_anndata(fitted, before)
    zt.tl.ppc(fitted, n_samples=2, rng=1)
    assert_same_anndata(fitted, first)
    tables = [a.uns["zinbtools"]["ppc"]["genes"] for a in (first, second)]
    assert_same(tables[0]["observed"], tables[1]["observed"], "observed")
    assert (tables[0]["nb"] != tables[1]["nb"]).any()


def test_threads_draw_the_same(fitted: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinbtools.jobs.threads.usable_cores", lambda: 3)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            found.append(zt.tl.ppc(fitted, n_samples=12, n_null=5, copy=True))
    finally:
        torch.set_num_threads(before)
    assert_same_anndata(*found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"checks": ["cv", "mood"]}, r"checks must be some of 'dropout_ratio'.*found \['cv', 'mood'\]"),
        ({"checks": ()}, "checks must be .* a non-empty list"),
        ({"checks": ["pit", "pith"]}, "or Check objects, found"),
        ({"checks": ["cv", "cv"]}, "checks must have different names, found 'cv', 'cv'"),
        (
            {"checks": Check("total", lambda genes: genes.total.sum(), "total")},
            r"check 'total' must give one number per gene, shape \(50,\), found \(\)",
        ),
        ({"n_samples": 0}, "n_samples must be a whole number of at least 1.*found 0"),
        ({"n_null": -1}, "n_null must be a whole number of at least 0.*found -1"),
        ({"latent": "truth"}, "latent must be one of 'posterior', 'fixed', 'prior', found 'truth'"),
        ({"split": "holdout"}, "split must be one of .* found 'holdout'"),
    ],
)
def test_what_is_refused(fitted: AnnData, arguments: dict[str, object], words: str) -> None:
    before = fitted.copy()
    with pytest.raises(ValueError, match=words):
        zt.tl.ppc(fitted, **arguments)
    assert_same_anndata(fitted, before)
