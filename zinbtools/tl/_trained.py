"""Models that were trained on one sample, before anything of them is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from .._anndata.covariates import store_covariates
from .._anndata.fitted_counts import places_of
from .._anndata.reading import SPLITS
from .._anndata.results import Results, storable
from .._record.keys import Keys
from .._record.parts import FAILURES, HISTORY, METRICS, PARAMS, TUNING, WEIGHTS, Metric
from .._record.record import Record
from .._words.warn import warn
from ..get._fitted import weight_arrays
from ..model.config import Likelihood
from ..model.data import CountData
from ..model.restarts import merge, train_restarts
from ..model.training import Training
from ..model.vae import CountVAE
from ._metrics import in_order, metrics_table
from ._outputs import best_restart as best_of
from ._outputs import describe, failures_table, fit_metrics, history_table
from ._setup import Run, Seeds, Setup


@dataclass(frozen=True)
class Trained:
    """Restarts of each model; to be evaluated as a `Fitted` is, which it becomes when it is written."""

    setup: Setup
    seeds: Seeds
    trainings: Mapping[Likelihood, Training]
    metrics: Sequence[Metric]

    @property
    def models(self) -> list[Likelihood]:
        """Those that were trained, in the order NB, ZINB."""
        return list(self.trainings)

    @property
    def data(self) -> CountData:
        return self.setup.data

    @property
    def n_restarts(self) -> int:
        return len(next(iter(self.trainings.values())).best_epoch)

    @property
    def n_draws(self) -> int:
        """Posterior draws over which layers are averaged."""
        return self.setup.settings.n_draws

    @property
    def draw_seed(self) -> int:
        """Seed of these draws."""
        return self.seeds.draws

    def cells(self, split: str) -> np.ndarray:
        """Indices of the cells of a split, or of all."""
        if split == "all":
            return np.arange(self.data.n_cells)
        return self.setup.members[split].numpy(force=True)

    def restarts(self, model: Likelihood) -> list[int]:
        """Restarts whose training did not fail."""
        training = self.trainings[model]
        return [r for r in range(len(training.best_epoch)) if r not in training.failed]

    def best_restart(self, model: Likelihood) -> int:
        """The restart of highest validation ELBO."""
        return best_of(self.trainings[model])

    def load(self, model: Likelihood, device: torch.device, restart: int | None = None) -> CountVAE:
        """One restart of a model, in evaluation mode; the best one by default."""
        one = deepcopy(self.trainings[model].model)
        one.take([self.best_restart(model) if restart is None else restart])
        return one.to(device).eval()

    def results(
        self, adata: AnnData, keys: Keys, digests: np.ndarray, layers: Sequence[str], **params: Any
    ) -> Results:
        """All that `fit_nb_zinb` leaves in ``adata``, with further ``params``; nothing is written yet.

        Parameters
        ----------
        digests
            By which the counts of each cell are known again, (n_obs,).
        layers
            Which of them to make.
        """
        setup = self.setup
        results = Results(
            obs={keys.split: pd.Categorical(setup.labels, categories=SPLITS), keys.digest: digests},
            uns={
                PARAMS.name: storable(
                    {
                        **setup.settings.stored(),
                        "covariates": store_covariates(setup.covariates),
                        "n_restarts": self.n_restarts,
                        "draw_seed": self.draw_seed,
                        "best_restart": {name: self.best_restart(name) for name in self.models},
                        "failed": {name: np.array(sorted(t.failed)) for name, t in self.trainings.items()},
                        "version": version("zinbtools"),
                        **params,
                    }
                ),
                HISTORY.name: history_table(self.trainings),
                METRICS.name: metrics_table(self.metrics),
                WEIGHTS.name: {name: weight_arrays(t.model) for name, t in self.trainings.items()},
            },
        )
        failures = self.failures
        if len(failures):
            results.uns[FAILURES.name] = failures
        record = Record.read(adata, keys.key_added)
        if TUNING in record:  # it is about the data, not about the fit before this one
            results.uns[TUNING.name] = record.uns[keys.uns][TUNING.name]
        genes = places_of(adata, setup.settings.genes)
        for name in self.models:
            model = self.load(name, self.data.device)
            describe(
                results,
                keys,
                model,
                self.data,
                genes=genes,
                n_vars=adata.n_vars,
                layers=layers,
                n_draws=self.n_draws,
                seed=self.draw_seed,
            )
        return results

    @property
    def failures(self) -> pd.DataFrame:
        """A row per restart that failed; RuntimeError if they are all restarts of a model."""
        return failures_table(self.trainings, self.setup.sample.genes)


def train(setup: Setup, seeds: Seeds, run: Run, known: Trained | None = None) -> Trained:
    """Train a restart of each model for every seed that is not ``known`` yet.

    Warns
    -----
    RuntimeWarning
        Of each restart whose loss stopped being finite.

    Raises
    ------
    RuntimeError
        If these are all restarts of a model, or a worker process died.
    """
    settings, start = setup.settings, 0 if known is None else known.n_restarts
    trainings = train_restarts(
        settings.models,
        setup.data,
        setup.shape,
        setup.cells,
        settings.configs,
        seeds=seeds.restarts[start:],
        order_seed=seeds.order,
        n_jobs=run.n_jobs,
        executor=run.executor,
        resume=run.resume,
        progress=run.progress,
    )
    trained = evaluated(setup, seeds, trainings, start)
    if known is not None:
        merged = {name: merge([known.trainings[name], training]) for name, training in trainings.items()}
        trained = replace(trained, trainings=merged, metrics=in_order([*known.metrics, *trained.metrics]))
    failures = trained.failures
    for message in failures.loc[failures["restart"] >= start, "message"]:
        warn(f"A restart is left out: {message}", RuntimeWarning)
    return trained


def evaluated(
    setup: Setup, seeds: Seeds, trainings: Mapping[Likelihood, Training], start: int = 0
) -> Trained:
    """Compute the metrics that every fit has, of restarts that are numbered from ``start`` on."""
    metrics = [
        metric._replace(restart=start + metric.restart)
        for name, training in trainings.items()
        for metric in fit_metrics(
            name, training, setup.data, setup.members, seeds.restarts[start:], seeds.draws
        )
    ]
    return Trained(setup, seeds, trainings, metrics)
