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
from ..jobs import threads
from ..model.config import Likelihood
from ..model.data import CountData
from ..model.predictive import expectations
from ..model.restarts import merge, train_restarts
from ..model.training import Training
from ..model.vae import CountVAE
from ._metrics import in_order, metrics_table
from ._outputs import failures_table, fit_metrics, history_table, refuse_failures
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
        state = {k: v[chosen, None] if k in by_restart else v for k, v in whole.state_dict().items()}
        one = CountVAE(model, self.setup.shape, whole.config).to(device)
        one.load_state_dict(state)
        return one.eval()

    def results(
        self,
        adata: AnnData,
        keys: Keys,
        digests: np.ndarray,
        layers: Sequence[str],
        n_threads: int = 1,
        **params: Any,
    ) -> Results:
        """All that `fit_nb_zinb` leaves in ``adata``, with further ``params``; nothing is written yet.

        Parameters
        ----------
        digests
            By which the counts of each cell are known again, (n_obs,).
        layers
            Which of them to make.
        n_threads
            That share the cells.
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
            self._describe(results, keys, name, genes, adata.n_vars, layers, n_threads)
        return results

    def _describe(
        self,
        results: Results,
        keys: Keys,
        name: Likelihood,
        genes: np.ndarray,
        n_vars: int,
        layers: Sequence[str],
        n_threads: int,
    ) -> None:
        """Add what a model's best restart says of cells and of genes, which are given by index."""
        data, n_cells = self.data, self.data.n_cells
        model = self.load(name, data.device)
        latent = np.empty((n_cells, model.config.n_latent), dtype=np.float32)
        kept = {what: np.full((n_cells, n_vars), np.nan, dtype=np.float32) for what in layers}
        sums = {what: np.zeros(data.n_genes) for what in ("zero", "dropout", "log_theta")}
        n_draws = self.settings.n_draws if layers else 1  # which is enough for averages over all cells
        for block in expectations(model, data, n_draws=n_draws, seed=self.draw_seed, n_threads=n_threads):
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
        """A row per restart that failed."""
        return failures_table(self.trainings, self.setup.sample.genes)

    def with_more(self, more: Trained) -> Trained:
        """With further restarts, which are numbered on."""
        merged = {name: merge([first, more.trainings[name]]) for name, first in self.trainings.items()}
        return replace(more, trainings=merged, metrics=in_order([*self.metrics, *more.metrics]))


def train(setup: Setup, seeds: Seeds, run: Run) -> Trained:
    """Train a restart of each model for every seed; raises and warns as `train_folds` does."""
    return train_folds([setup], seeds, run)[0]


def train_folds(
    setups: Sequence[Setup], seeds: Seeds, run: Run, known: Sequence[Trained] = ()
) -> list[Trained]:
    """Train a restart of each model on each split of the cells, for every seed that is not ``known`` yet.

    All are one round of jobs. The seeds are dealt to the splits in turn.

    Warns
    -----
    RuntimeWarning
        Of each restart whose loss stopped being finite.

    Raises
    ------
    RuntimeError
        If these are all restarts of a model on the first split, or a worker process died.
    """
    first, n_folds = setups[0], len(setups)
    start = known[0].n_restarts if known else 0
    of_fold = [replace(seeds, restarts=seeds.restarts[fold::n_folds]) for fold in range(n_folds)]
    trainings = train_restarts(
        first.settings.models,
        first.data,
        first.shape,
        [setup.cells for setup in setups],
        first.settings.configs,
        seeds=[seeds.restarts[start:] for seeds in of_fold],
        order_seed=seeds.order,
        n_jobs=run.n_jobs,
        executor=run.executor,
        resume=run.resume,
        progress=run.progress,
    )
    found = [evaluated(*fold, start, run.n_threads) for fold in zip(setups, of_fold, trainings, strict=True)]
    fits = [before.with_more(more) for before, more in zip(known, found, strict=True)] if known else found
    refuse_failures(fits[0].trainings, first.sample.genes)
    for fold, fit in enumerate(fits):
        failures, where = fit.failures, f" of fold {fold}" if n_folds > 1 else ""
        for message in failures.loc[failures["restart"] >= start, "message"]:
            warn(f"A restart{where} is left out: {message}", RuntimeWarning)
    return fits


def evaluated(
    setup: Setup, seeds: Seeds, trainings: Mapping[Likelihood, Training], start: int = 0, n_threads: int = 1
) -> Trained:
    """Compute the metrics that every fit has, of restarts that are numbered from ``start`` on."""

    def of_model(name: Likelihood) -> list[Metric]:
        given = setup.data, setup.members, seeds.restarts[start:], seeds.draws
        return [*fit_metrics(name, trainings[name], *given)]

    metrics = [
        metric._replace(restart=start + metric.restart)
        for of_one in threads.in_order(of_model, trainings, n_threads if setup.data.in_memory else 1)
        for metric in of_one
    ]
    return Trained(setup, seeds, trainings, metrics)
