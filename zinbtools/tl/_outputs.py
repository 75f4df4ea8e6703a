"""What a fit leaves behind: history, metrics, failures, and what the best restart says of cells and genes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from .._record.parts import FAILURES, HISTORY, Metric
from .._words.warn import warn
from ..get._settings import FitSettings
from ..model.config import Likelihood
from ..model.data import CountData
from ..model.layers import Streams
from ..model.predictive import mean_dropout
from ..model.training import Failure, Training
from ..model.vae import mean_elbo


def failures_table(trainings: Mapping[Likelihood, Training], genes: pd.Index) -> pd.DataFrame:
    """Tell of restarts whose loss stopped being finite."""
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
    return pd.DataFrame(rows, columns=FAILURES.holds)


def refuse_failures(trainings: Mapping[Likelihood, Training], genes: pd.Index) -> None:
    """RuntimeError if all restarts of a model failed."""
    for name, training in trainings.items():
        if len(training.failed) == len(training.best_epoch):
            message = failures_table({name: training}, genes)["message"].iloc[-1]
            raise RuntimeError(f"No fit: {message}")


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
