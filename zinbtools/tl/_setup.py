"""What `fit_nb_zinb` and `tune` read from an AnnData before they train anything."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from .._anndata.access import SPLITS, read_split
from .._anndata.counts import read_counts
from .._anndata.covariates import Covariates, read_covariates, warn_of_untrained
from .._check.rng import RNG, integers, seed_sequence
from ..get._fitted import count_data, resolve_device
from ..jobs import DaskClient, check_workers
from ..model.config import FitConfig, Likelihood, default_epochs
from ..model.data import CountData
from ..model.marginal import Proposal
from ..model.training import Cells
from ..model.vae import Shape

# What a protocol says beside its `FitConfig`: shares of training, validation and test cells, and the
# distribution that marginal likelihoods are sampled from.
SHARES = {"default": (0.8, 0.1, 0.1), "blog2019": (0.8, 0.0, 0.2)}
PROPOSALS: dict[str, Proposal] = {"default": "laplace", "blog2019": "posterior"}


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
        split, rest, restarts = seed_sequence(rng).spawn(3)
        order, draws, search = integers(rest, 3)
        return cls(split, order, draws, search, integers(restarts, n_restarts))


@dataclass(frozen=True)
class Setup:
    """Checked counts and covariates, as the models take them.

    Attributes
    ----------
    genes
        Which of the AnnData's genes are fitted, by index, (n_fitted,).
    digests
        By which the counts of each cell are known again, (n_obs,).
    labels
        ``train``, ``validation`` or ``test`` for each cell, (n_obs,).
    members
        Cells of each, by index.
    config
        With ``max_epochs`` set.
    """

    genes: np.ndarray
    digests: np.ndarray
    covariates: Covariates
    labels: np.ndarray
    members: dict[str, Tensor]
    config: FitConfig
    data: CountData
    shape: Shape
    cells: Cells


def read_setup(
    adata: AnnData,
    config: FitConfig,
    *,
    layer: str | None,
    mask_var: str | np.ndarray | None,
    batch_key: str | None,
    categorical_covariate_keys: str | Sequence[str] | None,
    continuous_covariate_keys: str | Sequence[str] | None,
    size_factor_key: str | None,
    check_counts: bool,
    split: Sequence[float] | str,
    seed: np.random.SeedSequence,
    device: str,
    n_jobs: int,
    executor: Executor | DaskClient | None,
) -> Setup:
    """Read and check; nothing is written."""
    counts = read_counts(adata, layer, mask_var, check_counts)
    covariates = read_covariates(
        adata,
        batch_key=batch_key,
        categorical_keys=key_list(categorical_covariate_keys),
        continuous_keys=key_list(continuous_covariate_keys),
        size_factor_key=size_factor_key,
    )
    labels = read_split(adata, split, seed, config.stop_on)
    warn_of_untrained(covariates, adata.obs, labels == "train")
    n_train = int((labels == "train").sum())
    config = replace(config, max_epochs=config.max_epochs or default_epochs(n_train))
    where = resolve_device(device)
    check_workers(n_jobs, executor, where.type)
    data = count_data(adata, counts.matrix, covariates, where)
    members = {name: torch.as_tensor(np.flatnonzero(labels == name), device=where) for name in SPLITS}
    everyone = torch.arange(adata.n_obs, device=where)
    return Setup(
        genes=counts.genes,
        digests=counts.digests,
        covariates=covariates,
        labels=labels,
        members=members,
        config=config,
        data=data,
        shape=Shape(data.n_genes, covariates.n_groups, covariates.n_columns),
        cells=Cells(
            train=members["train"],
            stop=members[config.stop_on],
            prior=members["train"] if config.prior_cells == "train" else everyone,
        ),
    )


def in_order(models: Likelihood | Collection[Likelihood]) -> list[Likelihood]:
    """The models asked for, in the order NB, ZINB."""
    known: tuple[Likelihood, ...] = ("nb", "zinb")
    return [name for name in known if name in key_list(models)]


def key_list(keys: Collection[str] | str | None) -> list[str]:
    """One key, several or none as a list."""
    return [keys] if isinstance(keys, str) else [] if keys is None else list(keys)
