"""What `tune` writes, who uses it, and that neither workers nor a crash change any bit of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same, assert_same_anndata
from hyperopt import hp

import zinbtools as zt

TESTS = Path(__file__).parents[1]
SMALL = {"max_evals": 3, "max_epochs": 4, "n_samples": 5, "progress": False}


def tune(adata: AnnData, **arguments: Any) -> AnnData:
    zt.tl.tune(adata, **SMALL | arguments)
    return adata


def found(adata: AnnData, key: str = "zinbtools") -> dict[str, Any]:
    return adata.uns[key]["tuning"]


@pytest.fixture(scope="session")
def _tuned(_simulated: AnnData) -> AnnData:
    return tune(_simulated.copy())


@pytest.fixture
def tuned(_tuned: AnnData) -> AnnData:
    """`counts` after a short search."""
    return _tuned.copy()


def test_what_is_written(counts: AnnData, tuned: AnnData) -> None:
    assert list(tuned.uns["zinbtools"]) == ["tuning"]
    assert set(tuned.obs) - set(counts.obs) == {"zinbtools_tuning_split"}
    assert tuned.obs["zinbtools_tuning_split"].value_counts().to_dict() == {
        "train": 240,
        "validation": 30,
        "test": 30,
    }
    table = zt.get.tuning_df(tuned)
    assert table["trial"].tolist() == [0, 0, 1, 1, 2, 2]
    assert table["model"].tolist() == ["nb", "zinb"] * 3
    assert set(table["status"]) == {"ok"}
    np.testing.assert_allclose(table.groupby("trial")["nll"].mean(), table["loss"][::2])
    assert (table["nll"] < -table["elbo"]).all()
    settings = ["n_latent", "n_hidden", "n_layers", "dropout_rate", "batch_size", "learning_rate"]
    assert table.groupby("trial")[settings].nunique().to_numpy().max() == 1
    assert table["learning_rate"].nunique() == 3


def test_the_summary_compares_the_best_with_the_default(tuned: AnnData) -> None:
    table, summary = zt.get.tuning_df(tuned), zt.get.tuning_summary_df(tuned)
    assert summary["model"].tolist() == ["nb", "zinb"]
    best = table.loc[table["loss"].idxmin(), "loss"]
    default = summary["default_nll"].mean()
    assert summary["best_nll"].mean() == pytest.approx(min(best, default))
    np.testing.assert_allclose(summary["gain"], summary["default_nll"] - summary["best_nll"])
    if best < default:
        row = table.loc[table["loss"].idxmin()]
        assert (summary["trial"] == row["trial"]).all()
        assert found(tuned)["best"]["nb"]["learning_rate"] == row["learning_rate"]
        assert (summary["gain_se"] > 0).all()


@pytest.mark.parametrize("key", [None, "run"])
@pytest.mark.parametrize("form", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_files_keep_a_search_and_a_fit_goes_on_from_there(
    counts: AnnData, tmp_path: Path, form: str, key: str | None
) -> None:
    space = {
        "n_hidden": hp.choice("n_hidden", [8, 16, 24]),
        "dispersion": hp.choice("d", ["gene", "gene-cell"]),
    }
    tune(counts, space=space, shared=False, key_added=key)
    path = tmp_path / f"tuned.{form}"
    getattr(counts, f"write_{form}")(path)
    read = getattr(anndata, f"read_{form}")(path)
    assert_same_anndata(read, counts)
    for adata in (read, counts):
        zt.tl.fit_nb_zinb(adata, config="tuned", max_epochs=2, progress=False, key_added=key)
    assert_same_anndata(read, counts)


def test_the_fit_repeats_the_trial_bit_for_bit(tuned: AnnData) -> None:
    found(tuned)["best"] = {  # whichever was best, this was trial 1
        name: {setting: zt.get.tuning_df(tuned)[setting][2] for setting in settings}
        for name, settings in found(tuned)["best"].items()
    }
    zt.tl.fit_nb_zinb(tuned, config="tuned", max_epochs=4, progress=False)
    assert_same(tuned.obs["zinbtools_split"], tuned.obs["zinbtools_tuning_split"], "split")
    table = zt.get.tuning_df(tuned).query("trial == 1").set_index("model")
    elbo = zt.get.history_df(tuned).groupby("model")["validation_elbo"].max()
    assert elbo.to_dict() == table["elbo"].to_dict()
    assert tuned.uns["zinbtools"]["params"]["n_hidden"] == table["n_hidden"].iloc[0]


def test_each_model_is_fitted_with_its_own_setting(counts: AnnData) -> None:
    tune(counts, shared=False, space={"n_latent": hp.randint("n_latent", 2, 30)}, max_evals=4)
    best = found(counts)["best"] = {"nb": {"n_latent": 4, "n_hidden": 16}, "zinb": {"n_latent": 7}}
    zt.tl.fit_nb_zinb(counts, config="tuned", max_epochs=2, progress=False)
    for name, settings in best.items():
        assert counts.obsm[f"X_{name}"].shape[1] == settings["n_latent"]
    block = zt.get.expected_counts(counts, model="zinb")
    np.testing.assert_allclose(block, counts.layers["zinb_mean"], rtol=1e-5)
    assert zt.get.model(counts, "nb").config.n_hidden == 16
    assert zt.get.model(counts, "zinb").config.n_hidden == 128


def test_a_search_for_each_model_is_what_it_is_for_one_alone(counts: AnnData) -> None:
    both, alone = tune(counts.copy(), shared=False), tune(counts.copy(), models="zinb")
    table = zt.get.tuning_df(both).query("model == 'zinb'").reset_index(drop=True)
    assert_same(table, zt.get.tuning_df(alone), "trials")


def test_a_fit_leaves_the_search_and_a_search_leaves_the_fit(fitted: AnnData) -> None:
    before = fitted.copy()
    tune(fitted)
    assert_same({**fitted.uns["zinbtools"], "tuning": 0}, {**before.uns["zinbtools"], "tuning": 0}, "uns")
    assert_same(fitted.obs["zinbtools_split"], before.obs["zinbtools_split"], "split")
    kept = found(fitted)
    zt.tl.fit_nb_zinb(fitted, max_epochs=1, progress=False)
    assert_same(found(fitted), kept, "tuning")
    assert zt.tl.tune(fitted, **SMALL, key_added="other", copy=True).uns["other"].keys() == {"tuning"}
    assert "other" not in fitted.uns


def test_test_cells_are_never_seen(counts: AnnData, tuned: AnnData) -> None:
    column = "zinbtools_tuning_split"
    counts.obs[column] = tuned.obs[column]
    test = np.flatnonzero(counts.obs[column] == "test")
    changed = counts.X.toarray()
    changed[test] = np.random.default_rng(0).poisson(9, changed[test].shape) + 1
    assert (changed != counts.X.toarray()).any()
    counts.X = changed
    assert_same(zt.get.tuning_df(tune(counts, split=column)), zt.get.tuning_df(tuned), "trials")


def test_the_protocol_of_the_study_is_tuned_on_validation_cells_too(counts: AnnData) -> None:
    tune(counts, protocol="blog2019", space="blog2019")
    params = found(counts)["params"]
    assert (params["stop_on"], params["schedule"]) == ("validation", "constant")
    assert zt.get.tuning_df(counts)["n_hidden"].isin([32, 64, 128, 256]).all()


def test_failed_trials_are_recorded_and_survived(counts: AnnData) -> None:
    space = {"learning_rate": hp.choice("rate", [1e30, 5e-3])}
    table = zt.get.tuning_df(tune(counts, space=space, max_evals=6, protocol="blog2019", max_epochs=2))
    failed = table["learning_rate"] > 1
    assert failed.any()
    assert not failed.all()
    assert (table["status"][failed] == "failed").all()
    assert table["message"][failed].str.contains("was not finite").all()
    assert table["nll"].isna().equals(failed)
    assert (table["message"][~failed] == "").all()


def test_a_search_without_a_finite_trial_leaves_the_object_as_it_was(
    counts: AnnData, monkeypatch: Any
) -> None:
    from zinbtools.model.search import Outcome
    from zinbtools.tl import _tune

    monkeypatch.setattr(_tune, "evaluate", lambda *_, **__: Outcome("failed", message="made up."))
    before = counts.copy()
    with pytest.raises(RuntimeError, match="No setting of the NB and ZINB model could be trained: made up"):
        tune(counts)
    assert_same_anndata(counts, before)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"max_evals": 0}, ValueError, "max_evals must be a whole number of at least 1.*found 0"),
        ({"max_queue_len": 1.5}, ValueError, "max_queue_len must be a whole number"),
        ({"space": "wide"}, ValueError, "space must be one of 'default', 'blog2019' or a space of hyperopt"),
        ({"space": {"lr": 1}}, ValueError, "space must hold settings of the fit"),
        ({"protocol": "x"}, ValueError, "protocol must be one of"),
        ({"split": (0.9, 0.0, 0.1)}, ValueError, "leaves 0 validation cells"),
        ({"executor": 3}, TypeError, "executor must be one of 'threads', 'processes', a "),
    ],
)
def test_what_is_refused(
    counts: AnnData, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    before = counts.copy()
    with pytest.raises(error, match=words):
        tune(counts, **arguments)
    assert_same_anndata(counts, before)


def test_a_fit_asks_for_what_was_not_tuned(counts: AnnData) -> None:
    with pytest.raises(KeyError, match=r"no tuning of the NB model; run zt\.tl\.tune\(adata\) first"):
        zt.tl.fit_nb_zinb(counts, config="tuned")
    with pytest.raises(ValueError, match="config must be 'tuned' or None, found 'best'"):
        zt.tl.fit_nb_zinb(counts, config="best")
    tune(counts, models="nb")
    with pytest.raises(KeyError, match="no tuning of the ZINB model"):
        zt.tl.fit_nb_zinb(counts, config="tuned")


def test_a_setting_that_was_tuned_is_not_given_as_well(tuned: AnnData) -> None:
    before = tuned.copy()
    with pytest.raises(ValueError, match="n_hidden must be left out with config='tuned'"):
        zt.tl.fit_nb_zinb(tuned, config="tuned", n_hidden=77, max_epochs=2, progress=False)
    assert_same_anndata(tuned, before)


# Anywhere and in any number of goes the same bits

WHOLE = {"max_evals": 24, "max_epochs": 5, "n_samples": 4, "progress": False, "max_queue_len": 2}


@pytest.fixture(scope="module")
def whole() -> AnnData:
    """The search of `SCRIPT`, in one go."""
    adata = zt.simulate.zisynth(n_obs=200, rng=4)
    zt.tl.tune(adata, **WHOLE)
    assert {"ok", "pruned"} == set(zt.get.tuning_df(adata)["status"])
    return adata


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_two_workers_give_the_same_tables(whole: AnnData, executor: str) -> None:
    adata = zt.simulate.zisynth(n_obs=200, rng=4)
    zt.tl.tune(adata, **WHOLE, n_jobs=2, executor=executor)
    assert_same(found(adata), found(whole), "tuning")


@pytest.mark.slow
def test_a_cluster_of_two_gives_the_same_tables(whole: AnnData) -> None:
    distributed = pytest.importorskip("distributed")
    adata = zt.simulate.zisynth(n_obs=200, rng=4)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        zt.tl.tune(adata, **WHOLE, executor=client)
    assert_same(found(adata), found(whole), "tuning")


SCRIPT = """
import json, sys
import zinbtools as zt
if __name__ == "__main__":
    adata = zt.simulate.zisynth(n_obs=200, rng=4)
    zt.tl.tune(adata, **json.loads(sys.argv[1]), resume=sys.argv[2])
    adata.write_h5ad(sys.argv[3])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize(("n_jobs", "executor"), [(1, "threads"), (2, "threads"), (2, "processes")])
def test_a_search_killed_three_times_and_resumed_is_the_same(
    whole: AnnData, tmp_path: Path, n_jobs: int, executor: str
) -> None:
    import json

    (tmp_path / "script.py").write_text(SCRIPT)
    folder, result = tmp_path / "kept", tmp_path / "tuned.h5ad"
    settings = json.dumps(WHOLE | {"n_jobs": n_jobs, "executor": executor})
    words = [sys.executable, tmp_path / "script.py", settings, folder, result]

    def n_done() -> int:
        return len(list(folder.glob("*.npz")))

    rng = np.random.default_rng()  # a new moment in every run of the test
    for _ in range(3):
        script, n_before, end = (
            subprocess.Popen(words, env=dict(os.environ)),
            n_done(),
            time.monotonic() + 300,
        )
        while n_done() <= n_before + rng.integers(8):
            assert script.poll() is None
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.2))
        script.kill()
        script.wait()
    assert 3 <= n_done() < 50
    assert not result.exists()
    ages = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    subprocess.run(words, check=True, timeout=600)
    assert {path: path.stat().st_mtime_ns for path in ages} == ages
    assert n_done() == 50
    assert_same(found(anndata.read_h5ad(result)), found(whole), "tuning")


def test_more_trials_go_on_from_those_that_are_there(counts: AnnData, tuned: AnnData, tmp_path: Path) -> None:
    tune(counts, resume=tmp_path, max_evals=2)
    ages = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(ages) == 6
    tune(counts, resume=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in ages} == ages
    assert_same(found(counts), found(tuned), "tuning")
    with pytest.raises(ValueError, match="another run, whose n_samples was 5 where it now is 6"):
        tune(counts, resume=tmp_path, n_samples=6)
    pd.testing.assert_frame_equal(zt.get.tuning_df(counts), zt.get.tuning_df(tuned))
