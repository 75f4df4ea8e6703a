"""Whether the trainings of a fit had come to their end, and whether its likelihoods rest on enough draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._record.parts import HISTORY, NLL_BY_DRAWS
from .._record.record import Record
from .._words.models import model_name
from .._words.numbers import counted, percent
from ..model.config import default_epochs
from ..stats.convergence import State, late_rise, training_health
from ..stats.importance import SharesOfK
from ._settings import FitSettings

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["SharesOfK", "TrainingHealth", "health_of_fit", "health_of_runs", "pareto_shares"]

_BADNESS: list[State] = ["finished", "unfinished", "short"]


@dataclass(frozen=True)
class TrainingHealth:
    """How far the trainings of a fit got; the worst one speaks for all.

    Attributes
    ----------
    state
        As `zinbtools.stats.convergence.training_health` has it.
    max_epochs
        How many epochs a training might have.
    asked
        How many the number of training cells asks for, or the protocol; None if that is not known.
    rise
        Rise of the best validation ELBO over the last quarter of the epochs, as a share of it.
    model, restart
        Of which training.
    """

    state: State
    max_epochs: int
    asked: int | None
    rise: float
    model: str
    restart: int

    @property
    def caution(self) -> str:
        """What to know before a result is believed; empty where the trainings had come to their end.

        Examples
        --------
        >>> TrainingHealth("short", 3, 103, 0.01, "zinb", 0).caution
        'training was cut short: at most 3 epochs, where 103 are asked for.'
        """
        if self.state == "short":
            epochs = counted(self.max_epochs, "epoch")
            return f"training was cut short: at most {epochs}, where {self.asked} are asked for."
        if self.state == "unfinished":
            return (
                f"training had not levelled off: after {counted(self.max_epochs, 'epoch')} the validation "
                f"ELBO still rose, by {percent(self.rise)} over the last quarter of them "
                f"({model_name(self.model)}, restart {self.restart})."
            )
        return ""


def health_of_runs(
    history: pd.DataFrame, settings: FitSettings, n_train: int | None
) -> TrainingHealth | None:
    """Judge the runs of a fit; None if no validation ELBO was recorded.

    Parameters
    ----------
    history
        A row per model, restart and epoch, as the fit leaves it.
    settings
        What the fit was asked, with ``max_epochs`` as it was trained.
    n_train
        Number of training cells; None if they are not known, or were trained on by other rules than ours.
    """
    found, asked = [], _asked(settings, n_train)
    limits = {str(name): config.max_epochs for name, config in settings.configs.items()}
    for (model, restart), run in history.groupby(["model", "restart"], observed=True):
        elbo = run.sort_values("epoch")["validation_elbo"].to_numpy(dtype=float)
        if np.isnan(rise := late_rise(elbo)):
            continue
        max_epochs = len(elbo) if asked is None else limits.get(str(model)) or len(elbo)
        state = training_health(elbo, max_epochs, asked)
        found.append(TrainingHealth(state, max_epochs, asked, rise, str(model), int(restart)))
    return max(found, key=lambda run: (_BADNESS.index(run.state), run.rise), default=None)


def health_of_fit(adata: AnnData, key: str | None = None) -> TrainingHealth | None:
    """Judge the trainings of a fit that is there; None if no validation ELBO was recorded."""
    record = Record.read(adata, key)
    labels = adata.obs.get(record.keys.split)
    n_train = None if labels is None or record.is_imported else int((labels == "train").sum())
    return health_of_runs(record[HISTORY], FitSettings.restored(record), n_train)


def _asked(settings: FitSettings, n_train: int | None) -> int | None:
    """How many epochs a training should have."""
    if n_train is None:
        return None
    if settings.epochs_by_size:  # cells may have been taken away since
        return settings.common.max_epochs
    if settings.preset.config.max_epochs is not None:
        return settings.preset.config.max_epochs
    return default_epochs(n_train) if n_train else None


def pareto_shares(adata: AnnData, key: str | None = None) -> dict[str, SharesOfK | None]:
    """Count the cells of high Pareto k under each model; None where there were too few draws to tell.

    A model whose likelihoods were not computed is left out.
    """
    record = Record.read(adata, key)
    n_draws = int(record[NLL_BY_DRAWS]["n_draws"].max()) if NLL_BY_DRAWS in record else None
    found: dict[str, SharesOfK | None] = {}
    for model in record.models:
        names = record.keys.marginal_ll(model), record.keys.pareto_k(model)
        if not set(names) <= set(adata.obs):
            continue
        log_likelihood, k = (record.column("obs", name, "marginal_ll") for name in names)
        known = k[np.isfinite(log_likelihood)]
        found[model] = None if np.isnan(known).all() else SharesOfK.of(known, n_draws)
    return found
