"""`ppc`: observed numbers by hand, predictions in range, distances by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from compare import assert_same, assert_same_anndata
from scipy import stats

import zinbtools as zt

CHECKS = ("dropout_ratio", "zeros_to_expression", "cv")


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
    assert list(table) == ["gene", "check", "observed", "nb", "zinb"]
    assert table["check"].unique().tolist() == list(CHECKS)
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
    assert list(table) == ["gene", "check", "observed", "zinb"]


def test_seeds_and_copies(fitted: AnnData) -> None:
    before = fitted.copy()
    first, second = (zt.tl.ppc(fitted, n_samples=2, rng=seed, copy=True) for seed in (1, 2))
    assert_same_anndata(fitted, before)
    zt.tl.ppc(fitted, n_samples=2, rng=1)
    assert_same_anndata(fitted, first)
    tables = [a.uns["zinbtools"]["ppc"]["genes"] for a in (first, second)]
    assert_same(tables[0]["observed"], tables[1]["observed"], "observed")
    assert (tables[0]["nb"] != tables[1]["nb"]).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"checks": ["cv", "mood"]}, r"checks must be some of 'dropout_ratio'.*found \['cv', 'mood'\]"),
        ({"checks": ()}, "checks must be some of"),
        ({"n_samples": 0}, "n_samples must be at least 1, found 0"),
        ({"split": "holdout"}, "split must be one of .* found 'holdout'"),
    ],
)
def test_what_is_refused(fitted: AnnData, arguments: dict[str, object], words: str) -> None:
    before = fitted.copy()
    with pytest.raises(ValueError, match=words):
        zt.tl.ppc(fitted, **arguments)
    assert_same_anndata(fitted, before)
