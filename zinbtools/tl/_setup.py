"""What is read and checked before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse
from torch import Tensor

from .._anndata.counts import Matrix, read_counts
from .._anndata.covariates import Covariates, read_covariates, warn_of_untrained
from .._anndata.fitted_counts import places_of
from .._anndata.kinds import MOLECULES, Finding
from .._anndata.lazy import LazyCounts
from .._anndata.reading import SPLITS, draw_folds, gene_names, read_split
from .._anndata.rows import columns
from .._check.rng import RNG, integers, seed_sequence
from ..get._fitted import count_data, resolve_device
from ..get._settings import FitSettings
from ..jobs import Where, check_workers
from ..jobs.threads import available_threads
from ..model.config import default_batch_size, default_epochs
from ..model.data import CountData
from ..model.training import Cells
from ..model.vae import Shape


@dataclass(frozen=True)
class Run:
    """Where a fit is computed and what is shown and kept meanwhile: nothing here changes a result."""

    device: torch.device
    n_jobs: int = 1
    executor: Where = "threads"
    resume: str | os.PathLike[str] | None = None
    progress: bool = False

    @classmethod
    def on(
        cls, device: str, n_jobs: int | Literal["auto"] = "auto", executor: Where = "threads", **more: Any
    ) -> Run:
        """Find the device and how many jobs run side by side, and check that there can be such workers."""
        where = resolve_device(device)
        check_workers(n_jobs, executor, where.type)
        return cls(where, available_threads(where) if n_jobs == "auto" else n_jobs, executor, **more)

    def within(self, name: str) -> Run:
        """Keep finished jobs in a folder of their own, as a folder is about one split of one set of cells."""
        return self if self.resume is None else replace(self, resume=Path(self.resume) / name)

    @property
    def n_threads(self) -> int:
        """How many threads of this process may share what is not shared out to others."""
        return self.n_jobs if self.executor == "threads" else available_threads(self.device)


@dataclass(frozen=True)
class Seeds:
    """One seed per purpose; the models share all of them, so that restarts are paired."""

    split: np.random.SeedSequence
    order: int
    draws: int
    search: int
    restarts: list[int]

    @classmethod
    def spawn(cls, rng: RNG, n_restarts: int = 1) -> Seeds:
        """Make the seeds; those of the first restarts do not depend on how many there are."""
        split, rest, restarts = seed_sequence(rng).spawn(3)
        order, draws, search = integers(rest, 3)
        return cls(split, order, draws, search, integers(restarts, n_restarts))


@dataclass(frozen=True)
class Sample:
    """Counts to be fitted, and what goes with them.

    Attributes
    ----------
    matrix
        (n_obs, n_fitted) integers as float32, in memory or where they are stored.
    cells
        An AnnData with the columns of ``obs`` that a fit may ask for.
    genes
        Names of the genes, (n_fitted,).
    finding
        What the numbers are: molecules, or something else.
    """

    matrix: Matrix
    cells: AnnData
    genes: pd.Index
    finding: Finding = MOLECULES

    @property
    def n_obs(self) -> int:
        return self.cells.n_obs

    def with_column(self, name: str, values: np.ndarray) -> Sample:
        """With one more column of ``obs``."""
        return replace(self, cells=AnnData(obs=self.cells.obs.assign(**{name: values})))

    def part(self, cells: np.ndarray) -> Sample:
        """Some cells, by index in ascending order, as far as they and their genes have counts."""
        return self.with_counts(_rows(self.matrix, cells), cells)

    def with_counts(self, matrix: sparse.csr_array, cells: np.ndarray | None = None) -> Sample:
        """Other counts of these genes, of some cells, without the cells and genes that have none."""
        matrix = sparse.csr_array(matrix)
        full = np.ravel(matrix.sum(1)) > 0
        present = np.ravel(matrix.sum(0)) > 0
        obs = self.cells.obs if cells is None else self.cells.obs.iloc[cells]
        matrix = columns(matrix if full.all() else matrix[full], np.flatnonzero(present))
        return Sample(matrix, AnnData(obs=obs[full].copy()), self.genes[present], self.finding)


def read_sample(adata: AnnData, settings: FitSettings) -> tuple[Sample, np.ndarray]:
    """Read and check the counts that settings name; and the digest by which each cell is known again."""
    names = gene_names(adata)
    mask = np.zeros(adata.n_vars, dtype=bool)
    mask[places_of(adata, settings.genes)] = True
    column = settings.mask_var
    by_column = column in adata.var and np.array_equal(adata.var[column].to_numpy(), mask)
    counts = read_counts(
        adata, settings.layer, None if mask.all() else column if by_column else mask, settings.check_counts
    )
    return Sample(counts.matrix, adata, names[counts.genes], counts.finding), counts.digests


def _rows(matrix: Matrix, cells: np.ndarray) -> sparse.csr_array:
    if not isinstance(matrix, LazyCounts):
        return matrix[cells]
    return sparse.csr_array(sparse.vstack(list(_rows_of_blocks(matrix, cells)), format="csr"))


def _rows_of_blocks(matrix: LazyCounts, cells: np.ndarray) -> Iterator[sparse.csr_array]:
    for start, block in zip(matrix.bounds, matrix, strict=False):
        inside = cells[(start <= cells) & (cells < start + block.shape[0])]
        yield block[inside - start]


@dataclass(frozen=True)
class Setup:
    """Counts and covariates as the models take them, and what is to be fitted to them.

    Attributes
    ----------
    settings
        With ``max_epochs`` set.
    labels
        ``train``, ``validation`` or ``test`` for each cell, (n_obs,).
    members
        Cells of each, by index.
    """

    settings: FitSettings
    sample: Sample
    covariates: Covariates
    labels: np.ndarray
    members: dict[str, Tensor]
    data: CountData
    shape: Shape
    cells: Cells

    def on(self, labels: np.ndarray) -> Setup:
        """On another split of the same cells."""
        members, cells = _split(labels, self.settings, self.data.device)
        return replace(self, labels=labels, members=members, cells=cells)


def prepare(
    sample: Sample, settings: FitSettings, seed: np.random.SeedSequence, device: torch.device
) -> Setup:
    """Read covariates and split from the sample's columns; nothing is written."""
    return prepare_folds(sample, settings, seed, device, n_folds=1)[0]


def prepare_folds(
    sample: Sample,
    settings: FitSettings,
    seed: np.random.SeedSequence,
    device: torch.device,
    *,
    n_folds: int,
) -> list[Setup]:
    """Read covariates, and draw as many splits in which every cell is tested once; one is as settings ask."""
    covariates = read_covariates(
        sample.cells,
        batch_key=settings.batch_key,
        categorical_keys=settings.categorical_covariate_keys,
        continuous_keys=settings.continuous_covariate_keys,
        size_factor_key=settings.size_factor_key,
    )
    stop_on = settings.common.stop_on
    if n_folds == 1:
        folds = [read_split(sample.cells, settings.split, seed, stop_on)]
    else:
        folds = draw_folds(covariates.group(sample.cells.obs), n_folds, seed, stop_on)
        n_stop = int(stop_on == "validation")
        shares = np.array([n_folds - 1 - n_stop, n_stop, 1]) / n_folds
        settings = replace(settings, split=tuple(shares.tolist()))
    warn_of_untrained(covariates, sample.cells.obs, [labels == "train" for labels in folds])
    settings = _by_size(settings, int((folds[0] == "train").sum()))
    first = setup_of(sample, settings, covariates, folds[0], device)
    return [first, *map(first.on, folds[1:])]


def _by_size(settings: FitSettings, n_train: int) -> FitSettings:
    """With what follows from the number of training cells where nothing else is asked."""
    if settings.batches_by_size:
        settings = settings.changed(batch_size=default_batch_size(n_train))
    configs = {
        name: replace(config, max_epochs=config.max_epochs or default_epochs(n_train))
        for name, config in settings.configs.items()
    }
    return settings.of_models(configs)


def setup_of(
    sample: Sample, settings: FitSettings, covariates: Covariates, labels: np.ndarray, device: torch.device
) -> Setup:
    """Counts, covariates and split as the models take them."""
    data = count_data(sample.cells, sample.matrix, covariates, device)
    shape = Shape(data.n_genes, covariates.n_groups, covariates.n_columns)
    members, cells = _split(labels, settings, device)
    return Setup(settings, sample, covariates, labels, members, data, shape, cells)


def _split(
    labels: np.ndarray, settings: FitSettings, device: torch.device
) -> tuple[dict[str, Tensor], Cells]:
    """Cells of each split, by index, and what the training takes them for."""
    members = {name: torch.as_tensor(np.flatnonzero(labels == name), device=device) for name in SPLITS}
    everyone, common = torch.arange(len(labels), device=device), settings.common
    prior = members["train"] if common.prior_cells == "train" else everyone
    return members, Cells(train=members["train"], stop=members[common.stop_on], prior=prior)
