from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from zinbtools import get, simulate
from zinbtools.study import conclusion, run_study, summary


def test_a_study_is_the_verbs_in_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    adata = simulate.zisynth(n_obs=200)
    found = run_study(
        adata, n_restarts=2, folds=3, max_epochs=2, n_samples=5, rng=3, key_added="run2", progress=False
    )
    assert capsys.readouterr().out == ""
    assert found.adata is adata
    assert found.conclusion == conclusion(adata, key="run2")
    pd.testing.assert_frame_equal(found.table, summary(adata, key="run2"))
    numbers = found.table.to_numpy(dtype=float)
    assert np.isnan(numbers).sum() == 1  # the NB's mean dropout
    assert str(found).endswith(found.conclusion)
    assert [line.split(" (")[0] for line in str(found).splitlines()[3:5]] == [
        f"{model}, best restart" for model in ("NB", "ZINB")
    ]
    assert adata.uns["run2"]["params"]["n_restarts"] == 2
    assert get.zi_genes_df(adata, key="run2")["score"].notna().all()
    assert get.nll_difference(adata, key="run2").n_cells == 67
    assert adata.uns["run2"]["model_selection"]["params"]["folds"] == 3


def test_an_executor_gives_the_same_study() -> None:
    settings = {"n_restarts": 2, "folds": 1, "max_epochs": 1, "n_samples": 5, "progress": False}
    here = run_study(simulate.zisynth(n_obs=200), **settings)
    with ThreadPoolExecutor(2) as threads:
        there = run_study(simulate.zisynth(n_obs=200), **settings, n_jobs=2, executor=threads)
    pd.testing.assert_frame_equal(get.metrics_df(here.adata), get.metrics_df(there.adata), check_exact=True)


def test_the_same_seed_gives_the_same_study(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (
        run_study(simulate.zisynth(n_obs=200), n_restarts=1, folds=1, max_epochs=1, n_samples=5)
        for _ in range(2)
    )
    pd.testing.assert_frame_equal(get.metrics_df(one.adata), get.metrics_df(other.adata), check_exact=True)
    assert one.conclusion == other.conclusion
    assert "fitting and comparing NB and ZINB: 200 cells x 50 genes\n" in capsys.readouterr().out


@pytest.mark.parametrize("n_restarts", [3, 4])
def test_four_restarts_tell_what_changes_with_the_model(n_restarts: int) -> None:
    adata = simulate.zisynth(n_obs=200)
    run_study(
        adata, n_restarts=n_restarts, folds=1, max_epochs=1, n_samples=5, progress=False, key_added="run"
    )
    assert ("consequences" in adata.uns["run"]) == (n_restarts == 4)
