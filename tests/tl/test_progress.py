"""Each long step of a verb is told of while it runs: evaluation, checks, tests of genes, twins."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from anndata import AnnData

import zinbtools as zt
from zinbtools.jobs import progress


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was logged, with steps that take no time to speak of."""
    caplog.set_level(logging.INFO, logger="zinbtools")
    monkeypatch.setattr(progress, "_LATE", 0.0)

    def lines() -> list[str]:
        found = [record.getMessage().split(",")[0] for record in caplog.records]
        caplog.clear()
        return [line for line in found if not line.startswith("compiling")]  # as it comes, and once

    return lines


def test_each_long_step_is_told(counts: AnnData, told: Callable[[], list[str]]) -> None:
    zt.tl.fit_nb_zinb(counts, n_restarts=2, max_epochs=2, progress=False)
    assert told() == []
    zt.tl.marginal_ll(counts, n_samples=5)
    assert told() == ["held-out likelihoods: 4 of 4 models"]
    zt.tl.ppc(counts, n_samples=3, n_null=2)
    assert told() == ["predictive checks: 16 of 16 draws"]
    zt.tl.zi_scores(counts, n_bootstrap=2)
    first, *_, last = told()
    assert (first, last) == ("tests of genes: 50 of 50 genes", "twins: 2 of 2 twins")
    zt.tl.zi_scores(counts, progress=False)
    assert told() == []


def test_a_comparison_tells_of_all_its_steps(counts: AnnData, told: Callable[[], list[str]]) -> None:
    settings = {"n_restarts": 1, "folds": 1, "max_epochs": 2, "n_samples": 5, "n_null": 2}
    zt.tl.model_selection(counts, **settings)
    steps = [line.split(":")[0] for line in told()]
    assert steps[:2] == ["NB and ZINB", "held-out likelihoods"]
    assert {"tests of genes", "predictive checks"} <= set(steps)
    zt.tl.model_selection(counts, **settings, progress=False)
    assert told() == []
