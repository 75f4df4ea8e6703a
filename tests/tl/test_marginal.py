"""`marginal_ll`: columns, rows of the table, and that they agree."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from compare import assert_same_anndata

import zinbtools as zt
from zinbtools.model.marginal import MarginalLikelihood, marginal_log_likelihood

SIZES = {"train": 240, "validation": 30, "test": 30, "all": 300}


def nll(adata: AnnData, model: str, split: str = "test") -> np.ndarray:
    metrics = adata.uns["zinbtools"]["metrics"]
    return metrics.query(f"metric == 'nll' and split == '{split}' and model == '{model}'")


@pytest.mark.parametrize("split", SIZES)
@pytest.mark.parametrize("model", ["nb", "zinb"])
def test_columns_and_rows_agree(fitted: AnnData, model: str, split: str) -> None:
    zt.tl.marginal_ll(fitted, n_samples=5, split=split)
    column = fitted.obs[f"{model}_marginal_ll"]
    assert column.dtype == np.float64
    evaluated = np.ones(300, dtype=bool) if split == "all" else fitted.obs["zinbtools_split"] == split
    assert evaluated.sum() == SIZES[split]
    np.testing.assert_array_equal(column.notna(), evaluated)
    assert (column[evaluated] < 0).all()
    rows = nll(fitted, model, split)
    assert rows["restart"].tolist() == [0, 1]
    best = fitted.uns["zinbtools"]["params"]["best_restart"][model]
    np.testing.assert_allclose(rows["value"].iloc[best], -column.mean(), rtol=1e-12)
    assert rows["value"].nunique() == 2
    assert rows["se"].between(1e-6, 5).all()


def test_torch_says_how_many_threads_share_the_cells(
    fitted: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as torch may use, unless fewer are asked for or whole restarts are shared out."""
    asked, found = [], []

    def spy(*arguments: Any, n_threads: int, **options: Any) -> MarginalLikelihood:
        asked.append(n_threads)
        return marginal_log_likelihood(*arguments, n_threads=n_threads, **options)

    monkeypatch.setattr("zinbtools.tl._marginal.marginal_log_likelihood", spy)
    monkeypatch.setattr("zinbtools.jobs.threads.usable_cores", lambda: 3)
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            found.append(zt.tl.marginal_ll(fitted, n_samples=5, copy=True))
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(2) as executor:
            zt.tl.marginal_ll(fitted, n_samples=5, executor=executor, copy=True)
        zt.tl.marginal_ll(fitted, n_samples=5, n_jobs=1, copy=True)
    finally:
        torch.set_num_threads(before)
    of_two, of_three = [1] * 4, [3] * 4  # two have two restarts each; three share the cells of each of four
    assert asked == [1] * 4 + of_two + of_three + [1] * 8
    assert_same_anndata(*found[:2])
    assert_same_anndata(*found[1:])


def test_a_mask_chooses_cells(fitted: AnnData) -> None:
    test = (fitted.obs["zinbtools_split"] == "test").to_numpy()
    by_name = zt.tl.marginal_ll(fitted, n_samples=5, copy=True)
    zt.tl.marginal_ll(fitted, n_samples=5, split=test)
    for column in ("nb_marginal_ll", "zinb_pareto_k"):
        np.testing.assert_array_equal(fitted.obs[column], by_name.obs[column])
    assert nll(fitted, "nb", "subset")["value"].tolist() == nll(by_name, "nb")["value"].tolist()


def test_diagnostics(fitted: AnnData) -> None:
    """Four epochs leave the encoder far off: draws from it are worth little, and a warning says so."""
    with pytest.warns(RuntimeWarning, match=r"rests on few draws in \d+% of the cells .*proposal='laplace'"):
        encoded = zt.tl.marginal_ll(fitted, n_samples=40, proposal="posterior", copy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zt.tl.marginal_ll(fitted, n_samples=40)
    tables = [adata.uns["zinbtools"]["metrics"].query("split == 'test'") for adata in (fitted, encoded)]
    good, poor = (t.pivot_table("value", ["model", "restart"], "metric") for t in tables)
    assert (good["ess"] > 2 * poor["ess"]).all()
    assert good["bad_pareto_k"].mean() < 0.5 * poor["bad_pareto_k"].mean()
    assert (good["nll"] < poor["nll"]).all()
    bad = (fitted.obs["nb_pareto_k"].dropna() > 0.7).mean()
    best = fitted.uns["zinbtools"]["params"]["best_restart"]["nb"]
    assert good["bad_pareto_k"]["nb", best] == pytest.approx(bad)


def test_the_curve_ends_at_the_estimate(fitted: AnnData) -> None:
    zt.tl.marginal_ll(fitted, n_samples=20)
    curve = fitted.uns["zinbtools"]["nll_by_draws"]
    assert curve["n_draws"].unique().tolist() == [1, 2, 4, 8, 16, 20]
    last = curve[curve["n_draws"] == 20].set_index(["model", "restart"])["nll"]
    expected = pd.concat([nll(fitted, m) for m in ("nb", "zinb")]).set_index(["model", "restart"])["value"]
    pd.testing.assert_series_equal(last, expected, check_names=False)


def test_debiasing_moves_up(fitted: AnnData) -> None:
    plain = zt.tl.marginal_ll(fitted, n_samples=40, copy=True)
    zt.tl.marginal_ll(fitted, n_samples=40, debias=True)
    assert (nll(fitted, "nb")["value"].to_numpy() < nll(plain, "nb")["value"].to_numpy()).all()


def test_it_is_a_tighter_bound_than_the_elbo(fitted: AnnData) -> None:
    zt.tl.marginal_ll(fitted, n_samples=50)
    metrics = fitted.uns["zinbtools"]["metrics"].query("split == 'test'")
    wide = metrics.pivot_table(index=["model", "restart"], columns="metric", values="value")
    assert (wide["nll"] < -wide["elbo"]).all()


def test_seeds_and_copies(fitted: AnnData) -> None:
    before = fitted.copy()
    first = zt.tl.marginal_ll(fitted, n_samples=3, rng=1, copy=True)
    second = zt.tl.marginal_ll(fitted, n_samples=3, rng=2, copy=True)
    assert_same_anndata(fitted, before)
    assert (first.obs["nb_marginal_ll"] != second.obs["nb_marginal_ll"]).any()
    zt.tl.marginal_ll(fitted, n_samples=3, rng=np.random.SeedSequence(1))
    assert_same_anndata(fitted, first)


def test_a_new_run_replaces_its_rows_only(fitted: AnnData) -> None:
    before = fitted.uns["zinbtools"]["metrics"]
    zt.tl.marginal_ll(fitted, n_samples=3, rng=1)
    after = fitted.uns["zinbtools"]["metrics"]
    assert len(after) == len(before)
    of_it = ["nll", "ess", "bad_pareto_k"]
    others = [table[~table["metric"].isin(of_it)].reset_index(drop=True) for table in (before, after)]
    assert others[0].equals(others[1])
    zt.tl.marginal_ll(fitted, n_samples=3, split="train")
    assert len(fitted.uns["zinbtools"]["metrics"]) == len(before) + 12


def test_the_fit_of_a_key(counts: AnnData) -> None:
    zt.tl.fit_nb_zinb(counts, max_epochs=1, models="nb", progress=False, key_added="run")
    zt.tl.marginal_ll(counts, n_samples=2, key="run")
    assert "run_nb_marginal_ll" in counts.obs
    assert "nll" in counts.uns["run"]["metrics"]["metric"].tolist()
    assert "zinbtools" not in counts.uns


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"key": "elsewhere"}, KeyError, r"'elsewhere'.*zt\.tl\.fit_nb_zinb\(adata, key_added='elsewhere'\)"),
        (
            {"split": "holdout"},
            ValueError,
            "split must be one of 'train', 'validation', 'test', 'all' or an array, found 'holdout'",
        ),
        ({"split": np.zeros(300, dtype=bool)}, ValueError, r"boolean, of shape \(300,\), and true somewhere"),
        ({"split": np.arange(3)}, ValueError, r"found int64 of shape \(3,\)"),
        ({"proposal": "prior"}, ValueError, "proposal must be one of 'laplace', 'posterior', found 'prior'"),
        ({"n_samples": 0}, ValueError, "n_samples must be a whole number of at least 1.*found 0"),
        ({"device": "abacus"}, ValueError, "device must be .* found 'abacus'"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be a whole number of at least 1.*found 0"),
        ({"executor": 2}, TypeError, "executor must be one of 'threads', 'processes', a .* found 2"),
        ({"rng": "1"}, TypeError, "rng must be a whole number .* found '1'"),
    ],
)
def test_what_is_refused(
    fitted: AnnData, arguments: dict[str, object], error: type[Exception], words: str
) -> None:
    before = fitted.copy()
    with pytest.raises(error, match=words):
        zt.tl.marginal_ll(fitted, **arguments)
    assert_same_anndata(fitted, before)


def test_there_must_be_a_fit(counts: AnnData) -> None:
    with pytest.raises(KeyError, match=r"holds no fit; run zt\.tl\.fit_nb_zinb\(adata\) first"):
        zt.tl.marginal_ll(counts)
    with pytest.raises(TypeError, match="adata must be an AnnData, found list"):
        zt.tl.marginal_ll([])
