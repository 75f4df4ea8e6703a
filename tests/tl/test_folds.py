"""Cross-fitting: every cell is tested once, and nothing else is changed by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anndata import AnnData
from compare import assert_same_anndata
from hypothesis import given
from hypothesis import strategies as st

import zinbtools as zt
from zinbtools._anndata.reading import draw_folds
from zinbtools._record.keys import Keys
from zinbtools.model.training import Failure
from zinbtools.stats.crossed import crossed_mean
from zinbtools.study import summary
from zinbtools.tl import _comparison, _trained
from zinbtools.tl._asked import asked
from zinbtools.tl._comparison import FOLD_ROUNDS, MOST_AT_ONCE, n_folds_of
from zinbtools.tl._marginal import evaluate_models
from zinbtools.tl._setup import Run, Seeds, prepare, read_sample
from zinbtools.tl._trained import train

QUICK: dict[str, Any] = {
    "n_restarts": 1,
    "folds": 3,
    "max_epochs": 3,
    "n_samples": 5,
    "n_null": 3,
    "metrics": ["nll"],
    "progress": False,
}


def compared(adata: AnnData, **settings: Any) -> dict[str, Any]:
    zt.tl.model_selection(adata, **QUICK | settings)
    return adata.uns["zinbtools"]["model_selection"]


@given(st.integers(3, 12), st.integers(24, 90), st.integers(1, 5), st.integers(0, 9))
def test_every_cell_is_tested_once(n_folds: int, n_obs: int, n_batches: int, seed: int) -> None:
    batches = np.random.default_rng(seed).integers(n_batches, size=n_obs)
    folds = np.array(draw_folds(batches, n_folds, np.random.SeedSequence(seed)))
    assert ((folds == "test").sum(0) == 1).all()
    np.testing.assert_array_equal(folds == "validation", np.roll(folds == "test", -1, axis=0))
    assert ((folds == "train").sum(0) == n_folds - 2).all()
    for batch in (np.ones(n_obs, dtype=bool), *(batches == b for b in range(n_batches))):
        sizes = (folds[:, batch] == "test").sum(1)
        assert sizes.max() - sizes.min() <= 1


def test_without_validation_all_others_train() -> None:
    folds = np.array(draw_folds(np.zeros(30, dtype=int), 3, np.random.SeedSequence(0), stop_on="test"))
    assert ((folds == "train") == (folds != "test")).all()


def test_the_difference_is_over_all_cells(counts: AnnData) -> None:
    found = compared(counts, n_restarts=2, batch_key="sample")
    row, by_restart = found["differences"].iloc[0], found["by_restart"]
    assert (row["n_cells"], row["n_restarts"], row["n_folds"]) == (300, 2, 3)
    assert by_restart.groupby(["fold", "restart"]).size().tolist() == [1] * 6
    means = by_restart.groupby("fold")["difference"].mean()
    assert row["difference"] == pytest.approx(means.mean())  # folds of 100 cells each
    assert row["se"] >= means.std() / np.sqrt(3) * (1 - 1e-9)
    assert "on 300 cells in three folds with 2 restarts each the ZINB's" in found["sentence"]
    assert set(counts.obs["zinbtools_split"].value_counts()) == {100}
    table = summary(counts)
    assert table.loc["nb", "nll"] - table.loc["zinb", "nll"] == pytest.approx(row["difference"])
    assert table["restarts"].tolist() == [2, 2]


def test_the_fit_that_is_reported_is_the_first_fold_s(counts: AnnData) -> None:
    by_restart = compared(counts)["by_restart"].set_index("fold")["difference"]
    again = counts.copy()
    zt.tl.marginal_ll(again, n_samples=5)
    assert zt.get.nll_difference(again).mean == pytest.approx(by_restart[0])
    alone = counts.copy()
    zt.tl.fit_nb_zinb(alone, split="zinbtools_split", max_epochs=3, progress=False)
    np.testing.assert_array_equal(alone.obsm["X_zinb"], counts.obsm["X_zinb"])


def test_a_fold_is_a_fit_of_its_own_split_and_seed(counts: AnnData) -> None:
    by_restart = compared(counts.copy())["by_restart"].set_index("fold")["difference"]
    seeds = Seeds.spawn(0, 3)
    counts.obs["second"] = draw_folds(np.zeros(300, dtype=int), 3, seeds.split)[1]
    settings, run = asked(counts, Keys(), split="second", max_epochs=3), Run.on("cpu")
    setup = prepare(read_sample(counts, settings)[0], settings, seeds.split, run.device)
    fit = train(setup, replace(seeds, restarts=seeds.restarts[1:2]), run)
    wanted = [(fit, (name, 0), fit.cells("test")) for name in ("zinb", "nb")]
    how: dict[str, Any] = {"proposal": "laplace", "rng": 0, "n_jobs": 1, "executor": "threads"}
    zinb, nb = evaluate_models(fit.data, wanted, n_samples=5, **how)
    assert by_restart[1] == pytest.approx(float((zinb.log_likelihood - nb.log_likelihood).mean()))


def test_workers_and_a_folder_give_the_same(counts: AnnData, tmp_path: Path) -> None:
    alone, elsewhere, resumed = counts.copy(), counts.copy(), counts.copy()
    compared(alone)
    compared(elsewhere, n_jobs=2, resume=tmp_path)
    assert_same_anndata(alone, elsewhere)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zinbtools.model.restarts.train", None)  # nothing is trained again
        compared(resumed, resume=tmp_path)
    assert_same_anndata(alone, resumed)


def test_rounds_end_when_it_is_clear(counts: AnnData) -> None:
    clear = compared(counts.copy(), n_restarts="auto", rope=1e6)["differences"].iloc[0]
    assert clear["n_restarts"] == 1
    wide = compared(counts.copy(), n_restarts="auto", rope=0.0, max_epochs=1)["differences"].iloc[0]
    assert wide["n_restarts"] in FOLD_ROUNDS


@pytest.mark.parametrize(("rope", "n_folds"), [(1e6, 1), (1e-9, 10)])
def test_all_cells_where_a_tenth_leaves_it_open(
    counts: AnnData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rope: float, n_folds: int
) -> None:
    monkeypatch.setattr(_comparison, "MOST_AT_ONCE", 200)
    monkeypatch.setattr(_comparison, "AUTO_ROUNDS", (1, 2, 3))
    monkeypatch.setattr(_comparison, "FOLD_ROUNDS", (1,))
    if rope < 1:
        monkeypatch.setattr(_comparison, "position", lambda *_: "open")
    asked, train = [], _comparison.train_folds

    def note(setups: Any, seeds: Any, *rest: Any, **options: Any) -> Any:
        asked.append((len(setups), len(seeds.restarts)))
        return train(setups, seeds, *rest, **options)

    monkeypatch.setattr(_comparison, "train_folds", note)
    how: dict[str, Any] = {"folds": "auto", "n_restarts": "auto", "rope": rope, "max_epochs": 1}
    resumed = counts.copy()
    found = compared(counts, **how, resume=tmp_path)["differences"].iloc[0]
    assert asked == ([(1, 1)] if rope > 1 else [(1, 1), (10, 10)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zinbtools.model.restarts.train", None)  # nothing is trained again
        compared(resumed, **how, resume=tmp_path)
    assert_same_anndata(counts, resumed)
    assert found["n_folds"] == n_folds
    assert found["n_cells"] == (30 if rope > 1 else 300)


def test_no_more_restarts_where_cells_alone_leave_it_open() -> None:
    rng = np.random.default_rng(0)
    of_cells, of_restarts = rng.standard_normal((1, 200)), rng.standard_normal((3, 1))
    cells_alone = crossed_mean(0.05 + of_cells + 0.01 * of_restarts)
    restarts_too = crossed_mean(0.05 + 0.01 * of_cells + of_restarts)
    edge = cells_alone.mean + cells_alone.se
    assert not cells_alone.may_leave(edge, 20)
    assert restarts_too.may_leave(restarts_too.mean + restarts_too.se, 20)


def test_rounds_give_what_one_call_gives(counts: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_comparison, "FOLD_ROUNDS", (1, 2))
    rounds = compared(counts.copy(), n_restarts="auto", rope=0.0, max_epochs=1)
    n_restarts = int(rounds["differences"]["n_restarts"].iloc[0])
    at_once = compared(counts.copy(), n_restarts=n_restarts, rope=0.0, max_epochs=1)
    np.testing.assert_array_equal(rounds["by_restart"], at_once["by_restart"])


def test_a_pair_that_fails_leaves_its_fold_out(counts: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    train = _trained.train_restarts

    def failing(*args: Any, **kwargs: Any) -> Any:
        trained = train(*args, **kwargs)
        trained[1]["zinb"].failures.append(Failure(0, 0, 0, -1))
        return trained

    monkeypatch.setattr(_trained, "train_restarts", failing)
    with pytest.warns(RuntimeWarning, match="A restart of fold 1 is left out: the loss of the ZINB"):
        found = compared(counts)
    assert found["by_restart"]["fold"].tolist() == [0, 2]
    assert found["differences"]["n_cells"].tolist() == [200]
    by_fold = found["by_restart"]["difference"]
    assert found["differences"]["difference"].iloc[0] == pytest.approx(by_fold.mean())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 2}, "folds must be 1, or 3 or more, found 2"),
        ({"folds": 151}, "folds=151 asks for at least 302 cells, 2 in each, found 300"),
        ({"folds": 0}, "folds must be"),
        ({"folds": 3, "split": (0.8, 0.1, 0.1)}, "folds must be 1 or 'auto' with split"),
    ],
)
def test_folds_that_cannot_be(counts: AnnData, settings: dict[str, Any], message: str) -> None:
    before = counts.copy()
    with pytest.raises(ValueError, match=message):
        compared(counts, **settings)
    assert_same_anndata(before, counts)


def test_how_many_by_default(counts: AnnData) -> None:
    settings = asked(counts, Keys())
    sizes = (5, 6, 12, 20, 300, 2000, 2001)
    assert [n_folds_of("auto", settings, n, MOST_AT_ONCE) for n in sizes] == [1, 3, 6, 10, 10, 10, 1]
    assert [n_folds_of("auto", settings, n) for n in (2001, 10_000, 10_001)] == [10, 10, 1]
    assert n_folds_of(7, settings, 3000) == 7
    assert n_folds_of("auto", asked(counts, Keys(), split="mine"), 300) == 1
    assert n_folds_of("auto", asked(counts, Keys(), protocol="blog2019"), 300) == 1


def test_groups_have_folds_of_their_own(counts: AnnData) -> None:
    counts.obs["half"] = np.arange(300) % 2
    groups = compared(counts, groupby="half", max_epochs=1)["groups"]
    assert groups["message"].tolist() == ["", ""]
    assert np.isfinite(groups["se"]).all()


def test_a_rival_is_compared_in_the_same_folds(counts: AnnData) -> None:
    found = compared(counts, models=["nb", "zinb", "poisson"])
    assert found["differences"]["n_folds"].tolist() == [3, 3]
    assert found["differences"]["n_cells"].tolist() == [300, 300]


def test_crossed_mean_of_the_folds_is_the_row(counts: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    from zinbtools.tl import _gains

    seen: list[Any] = []
    monkeypatch.setattr(_gains, "crossed_mean", lambda *t: seen.append(t) or crossed_mean(*t))
    row = compared(counts)["differences"].iloc[0]
    assert [table.shape for table in seen[0]] == [(1, 100)] * 3
    assert row["se"] == crossed_mean(*seen[0]).se
