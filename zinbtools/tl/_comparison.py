"""NB and ZINB on the same test cells: fitted in pairs until it is clear, evaluated, and judged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import ArrayLike

from .._anndata.access import gene_names, read_mask, read_matrix
from .._files.leftovers import own_folder
from .._record.keys import Keys
from ..get._fitted import Fitted, resolve_device
from ..jobs import DaskClient
from ..model.data import CountData
from ..model.marginal import MarginalLikelihood, Proposal
from ..model.vae import CountVAE
from ..model.zeros import ZeroCalibration, dropped_zeros, replicated_counts, zero_calibration
from ..stats.crossed import CrossedMean, crossed_mean
from ..stats.equivalence import Position, conclude, default_rope, position
from ..stats.zero_excess import ZeroExcess, zero_excess
from ._fit import fit_nb_zinb
from ._marginal import Restart, evaluate_restarts

AUTO_ROUNDS = (3, 5, 10, 20)  # restarts after which it is asked whether they suffice
FEWEST_CELLS = 100  # of a part of the data that is fitted by itself
N_DRAWS = 2  # from the posterior, where the sum is over thousands of entries
MOST_CELLS = 2000  # whose zeros are compared


@dataclass(frozen=True)
class Method:
    """How NB and ZINB are compared; parameters as for `model_selection`.

    ``settings`` are all that `fit_nb_zinb` is to be told.
    """

    n_restarts: int | Literal["auto"]
    alpha: float
    rope: float | None
    n_samples: int
    n_null: int
    proposal: Proposal
    seed: int
    device: str
    n_jobs: int
    executor: Executor | DaskClient | None
    settings: Mapping[str, Any]

    @property
    def rounds(self) -> Sequence[int]:
        return AUTO_ROUNDS if self.n_restarts == "auto" else (self.n_restarts,)

    def compare(
        self,
        adata: AnnData,
        *,
        resume: str | os.PathLike[str] | None = None,
        key_added: str | None = None,
    ) -> Comparison:
        """Fit both models to the counts, and compare them; the fit is written into ``adata``."""
        estimates: dict[Restart, MarginalLikelihood] = {}
        temporary = len(self.rounds) > 1 and resume is None
        with own_folder(Path(gettempdir()), "zinbtools-") if temporary else nullcontext(resume) as folder:
            for n_restarts in self.rounds:
                fit, new = self.fit_and_evaluate(
                    adata, n_restarts, known=estimates, resume=folder, key_added=key_added
                )
                estimates |= new
                found = Comparison(self, adata, fit, fit.cells(adata, "test"), estimates)
                if found.position != "open":
                    break
        return found

    def fit_and_evaluate(
        self,
        adata: AnnData,
        n_restarts: int,
        *,
        known: Mapping[Restart, MarginalLikelihood] = {},
        resume: str | os.PathLike[str] | None = None,
        key_added: str | None = None,
    ) -> tuple[Fitted, dict[Restart, MarginalLikelihood]]:
        """Fit, and the log likelihood of the test cells under the restarts that are not known yet."""
        fit_nb_zinb(adata, **self.settings, n_restarts=n_restarts, resume=resume, key_added=key_added)
        fit = Fitted.read(adata, key_added)
        restarts = [(name, restart) for name in fit.models for restart in fit.restarts(name)]
        return fit, evaluate_restarts(
            adata,
            fit,
            [restart for restart in restarts if restart not in known],
            fit.cells(adata, "test"),
            resolve_device(self.device),
            n_samples=self.n_samples,
            proposal=self.proposal,
            rng=self.seed,
            n_jobs=self.n_jobs,
            executor=self.executor,
        )

    def with_settings(self, **settings: Any) -> Method:
        return replace(self, settings={**self.settings, **settings})

    def once(self) -> Method:
        """With one restart."""
        return replace(self, n_restarts=1)


@dataclass(frozen=True)
class Comparison:
    """What the test cells say of the two models."""

    method: Method
    adata: AnnData
    fit: Fitted
    cells: np.ndarray
    estimates: Mapping[Restart, MarginalLikelihood]

    @property
    def device(self) -> torch.device:
        return resolve_device(self.method.device)

    @cached_property
    def data(self) -> CountData:
        """The counts that were fitted."""
        return self.fit.data(self.adata, self.device)

    @property
    def restarts(self) -> list[int]:
        """Those that did not fail for either model."""
        return sorted(set(self.fit.restarts("nb")) & set(self.fit.restarts("zinb")))

    def log_likelihood(self, restart: Restart) -> np.ndarray:
        """Of each test cell, nats, (n_cells,)."""
        return self.estimates[restart].log_likelihood[0].numpy(force=True)

    @cached_property
    def gains(self) -> np.ndarray:
        """Log likelihood under the ZINB minus that under the NB, nats, (n_restarts, n_cells)."""
        pairs = [(self.log_likelihood(("zinb", r)), self.log_likelihood(("nb", r))) for r in self.restarts]
        if not pairs:
            raise RuntimeError("no restart succeeded for both models; see uns for the failures.")
        return np.stack([zinb - nb for zinb, nb in pairs])

    @cached_property
    def difference(self) -> CrossedMean:
        return crossed_mean(self.gains)

    @property
    def nll(self) -> float:
        """The NB's, averaged over restarts, nats per cell."""
        return -float(np.mean([self.log_likelihood(("nb", r)).mean() for r in self.restarts]))

    @property
    def rope(self) -> float:
        given = self.method.rope
        return default_rope(self.nll) if given is None else given

    @property
    def position(self) -> Position:
        return position(*self.difference.interval(1 - self.method.alpha), self.rope)

    def zeros(self) -> tuple[ZeroCalibration, ZeroExcess]:
        """Zeros of test cells against what the NB's best restart expects."""
        counts = zero_calibration(
            self.fit.load("nb", self.device),
            self.data,
            torch.as_tensor(_some(self.cells, self.method.seed), device=self.device),
            n_null=self.method.n_null,
            n_draws=N_DRAWS,
            seed=self.method.seed,
        )
        return counts, zero_excess(*counts)

    def dropped(self) -> dict[int, float]:
        """Share of the test cells' zeros that each restart of the ZINB makes by dropout."""
        cells = torch.as_tensor(self.cells, device=self.device)
        settings = {"n_draws": N_DRAWS, "seed": self.method.seed}
        return {
            restart: dropped_zeros(self.fit.load("zinb", self.device, restart), self.data, cells, **settings)
            for restart in self.fit.restarts("zinb")
        }

    def verdict(self, zeros: ZeroExcess) -> str:
        return conclude(self.position, zeros.found(self.method.alpha))


def settings_of_fit(adata: AnnData, keys: Keys) -> dict[str, Any]:
    """The settings of the fit that is there, as `fit_nb_zinb` takes them; none where there is no fit."""
    if "weights" not in adata.uns.get(keys.uns, {}):
        return {}
    fit = Fitted.read(adata, keys.key_added)
    config, params = fit.config(fit.models[0]), fit.params
    names = ("layer", "batch_key", "size_factor_key", "protocol")
    covariates = ("categorical_covariate_keys", "continuous_covariate_keys")
    of_config = (
        *("n_latent", "n_hidden", "n_layers", "dropout_rate", "dispersion", "max_epochs"),
        *("early_stopping", "batch_size", "learning_rate"),
    )
    return {
        **{name: params.get(name) for name in names},
        **{name: list(params.get(name, [])) for name in covariates},
        **{name: getattr(config, name) for name in of_config},
        "library": "latent" if config.library == "size_factor" else config.library,
        "config": "tuned" if params.get("settings_of") and any(params["settings_of"].values()) else None,
        "mask_var": np.isin(np.arange(adata.n_vars), fit.genes(adata)),
        "check_counts": bool(params.get("check_counts", True)),
        "n_draws": int(params["n_draws"]),
        "split": keys.split,
        "layers": [
            what
            for what, layer in (("mean", keys.mean("nb")), ("dropout", keys.dropout()))
            if layer in adata.layers
        ],
    }


def scratch(adata: AnnData, settings: Mapping[str, Any], keys: Keys) -> tuple[AnnData, dict[str, Any]]:
    """The counts alone, to be fitted without a trace in ``adata``, and the settings for this."""
    genes = read_mask(adata, settings.get("mask_var"))
    counts = _bare(read_matrix(adata, settings.get("layer")), adata, keys)
    counts.var_names = gene_names(adata)
    return counts, {**settings, "layer": None, "mask_var": genes, "layers": ()}


def countable(adata: AnnData, settings: Mapping[str, Any]) -> tuple[AnnData, dict[str, Any]]:
    """Without cells and genes that have no count."""
    genes = settings["mask_var"]
    cells = np.asarray(adata.X[:, genes].sum(1)).ravel() > 0
    adata = adata[cells].copy()
    return adata, {**settings, "mask_var": genes & (np.asarray(adata.X.sum(0)).ravel() > 0)}


def twin(
    adata: AnnData, fit: Fitted, nb: CountVAE, data: CountData, settings: Mapping[str, Any], seed: int
) -> tuple[AnnData, dict[str, Any]]:
    """Counts that the NB has drawn for the cells and genes of the fit, and settings to fit them with."""
    counts = _bare(replicated_counts(nb, data, seed=seed), adata, fit.keys)
    counts.var_names = gene_names(adata)[fit.genes(adata)]
    everything = np.ones(counts.n_vars, dtype=bool)
    return countable(counts, {**settings, "layer": None, "mask_var": everything, "layers": ()})


def _bare(matrix: Any, adata: AnnData, keys: Keys) -> AnnData:
    """Counts with what a fit of them may ask for: columns of ``obs``, and the settings that were tuned."""
    results = adata.uns.get(keys.uns, {})
    uns = {Keys().uns: {"tuning": results["tuning"]}} if "tuning" in results else {}
    return AnnData(matrix, obs=adata.obs.copy(), uns=uns)


def part(counts: AnnData, members: ArrayLike, settings: Mapping[str, Any]) -> tuple[AnnData, dict[str, Any]]:
    """Some of the cells of `scratch`, by index, and settings to fit them with."""
    cells, of_part = countable(counts[np.sort(members)].copy(), settings)
    if of_part.get("batch_key") is not None and cells.obs[of_part["batch_key"]].nunique() < 2:
        of_part["batch_key"] = None
    return cells, of_part


def _some(cells: np.ndarray, seed: int) -> np.ndarray:
    """At most `MOST_CELLS` of them."""
    if len(cells) <= MOST_CELLS:
        return cells
    return np.sort(np.random.default_rng(seed).choice(cells, MOST_CELLS, replace=False))
