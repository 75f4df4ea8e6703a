"""The picture of a search, read from the artists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

from zinbtools import get, pl
from zinbtools._record.parts import SUMMARY, TRIALS
from zinbtools.pl._style import COLORS

NAN = np.nan


@pytest.fixture
def tuned() -> AnnData:
    """Trials of both models together: good, better in one only, NB pruned, failed, best, far off."""
    status = ["ok", "ok", "pruned", "failed", "ok", "ok"]
    nll = {"nb": [10.0, 9.0, NAN, NAN, 8.0, 500.0], "zinb": [10.0, 12.0, 9.0, NAN, 7.0, 400.0]}
    loss = [10.0, 10.5, 10.2, NAN, 7.5, 450.0]
    table = pd.concat(
        pd.DataFrame(
            {
                "trial": range(6),
                "model": model,
                "status": [
                    "ok" if np.isfinite(value) else s for value, s in zip(values, status, strict=True)
                ],
                "trial_status": status,
                "loss": loss,
                "nll": values,
                "elbo": [-11.5, -11.5, -9.8, NAN, -8.5, -501.0],
            },
            columns=TRIALS.holds,
        )
        for model, values in nll.items()
    )
    rows = [("nb", 4, 9.5, 8.0, 1.5, 0.1), ("zinb", 4, 9.6, 7.0, 2.6, 0.1)]
    summary = pd.DataFrame(rows, columns=SUMMARY.holds)
    best = {model: {"n_hidden": 64, "schedule": "constant"} for model in nll}
    tuning = {"trials": table.sort_values(["trial", "model"]), "summary": summary, "best": best, "params": {}}
    return AnnData(np.ones((2, 2), dtype=np.float32), uns={"zinbtools": {"tuning": tuning}})


def test_every_trial_has_its_mark(tuned: AnnData) -> None:
    ax = pl.tuning(tuned)
    table, high = get.tuning_df(tuned), ax.get_ylim()[1]
    for model, trials in table.groupby("model"):
        lines = [line for line in ax.lines if to_hex(line.get_color()) == COLORS[model].lower()]
        dots, rings, crosses, best, default = lines
        good = trials[(trials["status"] == "ok") & (trials["trial"] < 5)]
        np.testing.assert_array_equal(dots.get_xydata(), good[["trial", "nll"]])
        assert rings.get_xydata().tolist() == ([[2, 9.8]] if model == "nb" else [])
        np.testing.assert_array_equal(crosses.get_xydata(), [[3, high], [5, high]])
        of_best = {"nb": [10, 10, 10, 10, 8, 8], "zinb": [10, 10, 10, 10, 7, 7]}[model]
        np.testing.assert_array_equal(best.get_ydata(), of_best)
        assert set(default.get_ydata()) == {{"nb": 9.5, "zinb": 9.6}[model]}


def test_the_axis_shows_the_good_ones(tuned: AnnData) -> None:
    low, high = pl.tuning(tuned).get_ylim()
    assert 6 < low < 7
    assert 9.6 < high < 400


@pytest.mark.parametrize("column", ["nll", "loss", "elbo"])
def test_a_search_in_which_all_failed_is_drawn(tuned: AnnData, column: str) -> None:
    tuning = tuned.uns["zinbtools"]["tuning"]
    tuning["trials"][["nll", "loss", "elbo"]] = NAN
    tuning["summary"][["trial", "best_nll"]] = [[-1, 9.5], [-1, 9.6]]
    assert np.isfinite(pl.tuning(tuned).get_ylim()).all()


def test_the_settings_stand_beside_the_summary(tuned: AnnData) -> None:
    summary = get.tuning_summary_df(tuned)
    assert summary["n_hidden"].tolist() == [64, 64]
    tuned.uns["zinbtools"]["tuning"]["best"]["nb"] = {"n_layers": 2}
    summary = get.tuning_summary_df(tuned).set_index("model")
    assert summary.loc["nb", "n_layers"] == 2
    assert pd.isna(summary.loc["nb", "n_hidden"])
    assert summary.loc["zinb", "schedule"] == "constant"


def test_without_a_search_there_is_nothing_to_draw() -> None:
    with pytest.raises(KeyError, match=r"holds no 'tuning'; run zt\.tl\.tune\(adata\) first"):
        pl.tuning(AnnData(np.ones((2, 2), dtype=np.float32)))
