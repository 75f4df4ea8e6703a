"""zinbtools, as the measurements see it; `theirs` has the same functions."""

from __future__ import annotations

import time
from collections.abc import Iterable
from inspect import signature
from typing import Any, Literal

import torch
from anndata import AnnData

import zinbtools as zt

Model = Literal["nb", "zinb"]

PACKAGES = ("zinbtools", "torch", "numpy", "scipy", "anndata", "scanpy", "numba")


def fit(
    adata: AnnData,
    models: Iterable[Model],
    *,
    epochs: int | None = None,
    stop: bool = True,
    seed: int = 0,
    n_restarts: int = 1,
) -> AnnData:
    """Train with the default settings; by default the number of epochs is zinbtools' own."""
    # restarts go to as many processes as there are threads to use
    knows_jobs = "n_jobs" in signature(zt.tl.fit_nb_zinb).parameters
    jobs: dict[str, Any] = {"n_jobs": torch.get_num_threads()} if knows_jobs else {}
    zt.tl.fit_nb_zinb(
        adata,
        models=list(models),
        split="split",
        max_epochs=epochs,
        early_stopping=stop,
        n_restarts=n_restarts,
        rng=seed,
        layers=(),
        progress=False,
        **jobs,
    )
    return adata


def validation_elbo(fitted: AnnData) -> list[float]:
    """Nats per cell, higher is better, after each epoch."""
    return zt.get.history_df(fitted).validation_elbo.tolist()


def test_nll(fitted: AnnData) -> list[float]:
    """Nats per cell, one for each restart, from 100 importance samples."""
    zt.tl.marginal_ll(fitted, n_samples=100)
    metrics = zt.get.metrics_df(fitted)
    return metrics[metrics.metric == "nll"].value.tolist()


def study(adata: AnnData, models: Iterable[Model], n_fits: int, seed: int) -> dict[str, object]:
    """Fit both models ``n_fits`` times, in one call; evaluate all."""
    start = time.perf_counter()
    fit(adata, models, seed=seed, n_restarts=n_fits)
    fitted = time.perf_counter()
    test_nll(adata)
    evaluated = time.perf_counter()
    metrics, history = zt.get.metrics_df(adata), zt.get.history_df(adata)
    nll = metrics[metrics.metric == "nll"].groupby("model").value.agg(list).to_dict()
    return {
        "seconds": fitted - start,
        "evaluation_seconds": evaluated - fitted,
        "nll": nll,
        "late_gain": {
            model: runs.groupby("restart").validation_elbo.agg(_late_gain).mean()
            for model, runs in history.groupby("model")
        },
    }


def _late_gain(elbo: Iterable[float]) -> float:
    """By how much the validation ELBO rose over the last tenth of the epochs."""
    values = list(elbo)
    return values[-1] - values[-1 - max(1, len(values) // 10)] if len(values) > 1 else float("nan")
