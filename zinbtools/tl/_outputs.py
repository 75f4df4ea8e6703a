"""What a fit leaves behind: history, metrics, failures, and what the best restart says of cells and genes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._anndata.results import Results, spread
from .._record.keys import Keys
from .._record.parts import FAILURES, HISTORY, Metric
from .._words.warn import warn
from ..get._settings import FitSettings
from ..model.config import Likelihood
from ..model.data import CountData
from ..model.layers import Streams
from ..model.predictive import expectations, mean_dropout
from ..model.training import Failure, Training
from ..model.vae import CountVAE, mean_elbo


def best_restart(training: Training) -> int:
    """The restart whose kept weights have the highest validation ELBO, among those that did not fail."""
    kept = [r for r in training.history if r.epoch == training.best_epoch[r.replicate]]
    return max(
        (r for r in kept if r.replicate not in training.failed), key=lambda r: r.validation_elbo
    ).replicate


def failures_table(trainings: Mapping[Likelihood, Training], genes: pd.Index) -> pd.DataFrame:
    """Tell of restarts whose loss stopped being finite; RuntimeError if they are all restarts of a model."""
    rows = []
    for name, training in trainings.items():
        for failure in training.failures:
            gene = "no single gene" if failure.gene < 0 else str(genes[failure.gene])
            when = (
                f"was not finite at step {failure.step} of epoch {failure.epoch} ({gene})"
                if failure.step >= 0
                else f"is not finite on validation cells with the weights of epoch {failure.epoch}"
            )
            message = (
                f"the loss of the {name.upper()} model, restart {failure.replicate}, {when}: try a smaller "
                "learning_rate, or look for extreme counts or size factors."
            )
            rows.append((name, failure.replicate, failure.epoch, failure.step, gene, message))
        if len(training.failed) == len(training.best_epoch):
            raise RuntimeError(f"No fit: {rows[-1][-1]}")
    return pd.DataFrame(rows, columns=FAILURES.holds)


def history_table(trainings: Mapping[Likelihood, Training]) -> pd.DataFrame:
    """ELBOs and learning rate of every model, restart and epoch."""
    rows = [(name, *record) for name, training in trainings.items() for record in training.history]
    return pd.DataFrame(rows, columns=HISTORY.holds)


def fit_metrics(
    name: Likelihood,
    training: Training,
    data: CountData,
    members: Mapping[str, Tensor],
    elbo_seeds: Sequence[int],
    dropout_seed: int,
) -> Iterator[Metric]:
    """ELBO of every split and mean dropout of every restart that did not fail.

    One whose ELBO is not finite on the cells that decided when to stop is added to the failures.
    """
    model = training.model
    values = {
        ("elbo", split): mean_elbo(model, data, cells, Streams(elbo_seeds, data.device))
        for split, cells in members.items()
        if len(cells)
    }
    decisive = values.get(("elbo", model.config.stop_on), torch.zeros(0))
    for restart, value in enumerate(decisive.tolist()):
        if restart not in training.failed and not math.isfinite(value):
            training.failures.append(Failure(restart, training.best_epoch[restart], -1, -1))
    if name == "zinb":
        values["mean_dropout", "all"] = mean_dropout(model, data, seed=dropout_seed)
    for (metric, split), by_restart in values.items():
        for restart, value in enumerate(by_restart.tolist()):
            if restart not in training.failed:
                yield Metric(name, restart, split, metric, value)


def affordable(adata: AnnData, settings: FitSettings) -> tuple[str, ...]:
    """The layers to write, or none and a warning where they would not fit in the budget."""
    wanted, budget = settings.layers, settings.layer_memory
    n_layers = ("mean" in wanted) * len(settings.models) + ("dropout" in wanted and "zinb" in settings.models)
    needed = n_layers * adata.n_obs * adata.n_vars * 4 / 2**30
    if needed <= budget:
        return wanted
    warn(
        f"the layers would take {needed:.1f} GiB, more than layer_memory={budget:g}, and are left out; "
        "zt.get.expected_counts computes any block of them."
    )
    return ()


def describe(
    results: Results,
    keys: Keys,
    model: CountVAE,
    data: CountData,
    *,
    genes: np.ndarray,
    n_vars: int,
    layers: Sequence[str],
    n_draws: int,
    seed: int,
) -> None:
    """Add what one restart of a model says of cells and of genes, which are given by index."""
    name, n_cells = model.likelihood, data.n_cells
    latent = np.empty((n_cells, model.config.n_latent), dtype=np.float32)
    kept = {what: np.full((n_cells, n_vars), np.nan, dtype=np.float32) for what in layers}
    sums = {what: np.zeros(data.n_genes) for what in ("zero", "dropout", "log_theta")}
    # averages over all cells need no more than one draw of each
    for block in expectations(model, data, n_draws=n_draws if layers else 1, seed=seed):
        rows = block.cells.numpy(force=True)
        latent[rows] = block.latent.numpy(force=True)
        for what, values in kept.items():
            values[np.ix_(rows, genes)] = getattr(block, what).numpy(force=True)
        for what in sums:
            values = getattr(block, what).expand(len(rows), -1)
            sums[what] += values.sum(0, dtype=torch.float64).numpy(force=True)
    results.obsm[keys.latent(name)] = latent
    results.var[keys.inverse_dispersion(name)] = spread(np.exp(sums["log_theta"] / n_cells), genes, n_vars)
    results.var[keys.zero_fraction(name)] = spread(sums["zero"] / n_cells, genes, n_vars)
    if "mean" in kept:
        results.layers[keys.mean(name)] = kept["mean"]
    if name == "zinb":
        results.var[keys.mean_dropout()] = spread(sums["dropout"] / n_cells, genes, n_vars)
        if "dropout" in kept:
            results.layers[keys.dropout()] = kept["dropout"]
