"""What runs in threads gives the bits of one thread, in all verbs, and what it says meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import anndata as ad
import numpy as np
import pytest
import torch
from anndata import AnnData
from compare import assert_same_anndata, assert_same_results

import zinbtools as zt
from zinbtools.model.training import CompiledStack

QUICK: dict[str, Any] = {"folds": 1, "max_epochs": 4, "n_samples": 10, "n_null": 5, "progress": False}


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three cores and threads of torch, on any machine."""
    monkeypatch.setattr("zinbtools.jobs.threads.usable_cores", lambda: 3)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


@pytest.fixture
def threads_of_steps(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the threads in which a step of a training is taken."""
    names: set[str] = set()

    class Watched(CompiledStack):
        def step(self, *arguments: Any) -> list[float]:
            names.add(threading.current_thread().name)
            return super().step(*arguments)

    monkeypatch.setattr("zinbtools.model.training.CompiledStack", Watched)
    return names


def inflated() -> AnnData:
    adata = zt.simulate.zisynth(n_obs=500, lam=0, p=0.3, rng=3)
    adata.obs["group"] = np.where(np.arange(500) % 2, "odd", "even")
    return adata


def test_a_whole_comparison_gives_the_bits_of_one_thread(threads_of_steps: set[str]) -> None:
    found = {}
    for n_jobs in (1, "auto"):
        threads_of_steps.clear()
        adata = found[n_jobs] = inflated()
        zt.tl.model_selection(
            adata, n_restarts=2, groupby="group", n_bootstrap=1, n_jobs=n_jobs, rope=0.0, **QUICK
        )
        assert (len(threads_of_steps) == 1) == (n_jobs == 1)
        assert ("MainThread" in threads_of_steps) == (n_jobs == 1)
    assert (found[1].var["zi_call"] == "zero-inflated").any()  # so that genes were tested by state
    assert_same_anndata(found["auto"], found[1])


def test_verbs_after_the_fit_give_the_bits_of_one_thread() -> None:
    found = []
    for n_threads in (1, 3):
        torch.set_num_threads(n_threads)
        adata = inflated()
        zt.tl.fit_nb_zinb(adata, max_epochs=4, n_restarts=2, batch_key="group", progress=False)
        zt.tl.marginal_ll(adata, n_samples=5)
        zt.tl.ppc(adata, n_samples=6, n_null=4)
        zt.tl.zi_scores(adata, n_bootstrap=1)
        zt.tl.zero_test(adata, groupby="group")
        found.append(adata)
    assert_same_anndata(*found)


def test_counts_on_disk_give_the_bits_of_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinbtools.model.streaming.WINDOW_BYTES", 2**16)
    path, found = tmp_path / "counts.h5ad", []
    inflated().write_h5ad(path)
    for n_jobs in (1, "auto"):
        adata = ad.read_h5ad(path, backed="r")
        zt.tl.model_selection(adata, n_restarts=2, n_jobs=n_jobs, **QUICK)
        found.append(adata)
    assert_same_results(*found)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_threads_and_processes_give_the_same_fit(executor: Any, counts: AnnData) -> None:
    settings = {"max_epochs": 2, "batch_key": "sample", "progress": False}
    alone = zt.tl.fit_nb_zinb(counts, n_jobs=1, copy=True, **settings)
    zt.tl.fit_nb_zinb(counts, n_jobs=2, executor=executor, **settings)
    assert_same_anndata(counts, alone)


class Bar:
    """Takes the place of a bar, and remembers what it is told."""

    made: ClassVar[list[Bar]] = []
    disable = False

    def __init__(self, *, desc: str, total: int, **_: Any) -> None:
        self.desc, self.total, self.n = desc, total, 0
        self.made.append(self)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, n: int) -> None:
        self.n += n


def test_the_bar_says_how_many_threads_and_counts_all_epochs(
    counts: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zinbtools.jobs.progress.tqdm", Bar)
    monkeypatch.setattr(Bar, "made", [])
    asked = (
        {"n_jobs": 1},
        {"resume": tmp_path},
        {"resume": tmp_path},
        {"n_jobs": 2, "executor": "processes"},
    )
    for settings in asked:
        zt.tl.fit_nb_zinb(counts, n_restarts=2, max_epochs=3, **settings)
    told = [bar.desc for bar in Bar.made]
    assert told == ["NB and ZINB", *["NB and ZINB, 3 threads"] * 2, "NB and ZINB, 2 processes"]
    assert [(bar.n, bar.total) for bar in Bar.made] == [(12, 12)] * 4
