"""Models that were trained on one sample, before anything of them is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from .._anndata.results import Results, spread, storable
from .._record.keys import Keys
from .._record.parts import FAILURES, HISTORY, METRICS, PARAMS, TUNING, WEIGHTS, Metric
from .._record.record import Record
from .._words.warn import warn
from ..get._fitted import weight_arrays
from ..get._settings import FitSettings
from ..model.config import Likelihood
from ..model.data import CountData
from ..model.predictive import expectations
from ..model.restarts import merge, train_restarts
from ..model.training import Training
from ..model.vae import CountVAE
from ._metrics import in_order, metrics_table
from ._outputs import failures_table, fit_metrics, history_table
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
    def settings(self) -> FitSettings:
        """What was asked."""
        return self.setup.settings

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
        """The restart whose kept weights have the highest validation ELBO, among those that did not fail."""
        training = self.trainings[model]
        kept = [r for r in training.history if r.epoch == training.best_epoch[r.replicate]]
        good = [r for r in kept if r.replicate not in training.failed]
        return max(good, key=lambda record: record.validation_elbo).replicate

    def load(self, model: Likelihood, device: torch.device, restart: int | None = None) -> CountVAE:
        """One restart of a model, in evaluation mode; the best one by default."""
        whole, chosen = self.trainings[model].model, self.best_restart(model) if restart is None else restart
        by_restart = whole.replicate_state()
        state = {k: v[[chosen]] if k in by_restart else v for k, v in whole.state_dict().items()}
        one = CountVAE(model, self.setup.shape, whole.config)
        one.load_state_dict(state)
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
        setup, found = self.setup, self.setup.sample.finding
        results = Results(
            obs={keys.split: pd.Categorical(setup.labels, categories=SPLITS), keys.digest: digests},
            uns={
                PARAMS.name: storable(
                    {
                        **self.settings.stored(),
                        "covariates": store_covariates(setup.covariates),
                        "n_cells": adata.n_obs,
                        "n_restarts": self.n_restarts,
                        "draw_seed": self.draw_seed,
                        "best_restart": {name: self.best_restart(name) for name in self.models},
                        "failed": {name: np.array(sorted(t.failed)) for name, t in self.trainings.items()},
                        "version": version("zinbtools"),
                        **params,
                    }
                )
                | {"counts": str(found.kind), "counts_sign": found.sign},
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
        genes = places_of(adata, self.settings.genes)
        for name in self.models:
            self._describe(results, keys, name, genes, adata.n_vars, layers)
        return results

    def _describe(
        self,
        results: Results,
        keys: Keys,
        name: Likelihood,
        genes: np.ndarray,
        n_vars: int,
        layers: Sequence[str],
    ) -> None:
        """Add what a model's best restart says of cells and of genes, which are given by index."""
        data, n_cells = self.data, self.data.n_cells
        model = self.load(name, data.device)
        latent = np.empty((n_cells, model.config.n_latent), dtype=np.float32)
        kept = {what: np.full((n_cells, n_vars), np.nan, dtype=np.float32) for what in layers}
        sums = {what: np.zeros(data.n_genes) for what in ("zero", "dropout", "log_theta")}
        n_draws = self.settings.n_draws if layers else 1  # which is enough for averages over all cells
        for block in expectations(model, data, n_draws=n_draws, seed=self.draw_seed):
            rows = block.cells.numpy(force=True)
            latent[rows] = block.latent.numpy(force=True)
            for what, values in kept.items():
                values[np.ix_(rows, genes)] = getattr(block, what).numpy(force=True)
            for what in sums:
                values = getattr(block, what).expand(len(rows), -1)
                sums[what] += values.sum(0, dtype=torch.float64).numpy(force=True)
        results.obsm[keys.latent(name)] = latent
        theta = np.exp(sums["log_theta"] / n_cells)
        results.var[keys.inverse_dispersion(name)] = spread(theta, genes, n_vars)
        results.var[keys.zero_fraction(name)] = spread(sums["zero"] / n_cells, genes, n_vars)
        if "mean" in kept:
            results.layers[keys.mean(name)] = kept["mean"]
        if name == "zinb":
            results.var[keys.mean_dropout()] = spread(sums["dropout"] / n_cells, genes, n_vars)
            if "dropout" in kept:
                results.layers[keys.dropout()] = kept["dropout"]

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
