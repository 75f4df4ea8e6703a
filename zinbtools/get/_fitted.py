"""A fit as it is kept in an AnnData: from settings and arrays back to models that run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse

from .._anndata.counts import Counts
from .._anndata.covariates import Covariates, restore_covariates
from .._anndata.fitted_counts import places_of
from .._anndata.reading import SPLITS, checked_column, listing
from .._record.parts import PARAMS, WEIGHTS
from .._record.record import Record
from ..model.config import FitConfig, Likelihood
from ..model.data import CountData
from ..model.streaming import StreamedCountData, in_one_window
from ..model.vae import CountVAE, Shape
from ._settings import FitSettings


class Fitted(Record):
    """What `tl.fit_nb_zinb` left under one key: a record with weights, from which its models are rebuilt."""

    @classmethod
    def read(cls, adata: AnnData, key: str | None = None) -> Self:
        """Find the fit in an AnnData; KeyError if there is none."""
        if not isinstance(adata, AnnData):
            raise TypeError(f"adata must be an AnnData, found {type(adata).__name__}.")
        fit = super().read(adata, key)
        for part in (PARAMS, WEIGHTS):
            fit[part]  # or its error
        return fit

    @property
    def params(self) -> Mapping[str, Any]:
        """Settings of the fit."""
        return self[PARAMS]

    @property
    def weights(self) -> Mapping[str, Mapping[str, np.ndarray]]:
        """Arrays of each model, (n_restarts, ...) each."""
        return self[WEIGHTS]

    @cached_property
    def settings(self) -> FitSettings:
        """What the fit was asked; ValueError if it is not told whole."""
        return FitSettings.restored(self)

    @property
    def draw_seed(self) -> int:
        """Seed of the draws over which the layers are averages."""
        return int(self.params["draw_seed"])

    @property
    def covariates(self) -> Covariates:
        return restore_covariates(self.params.get("covariates", {}))

    def genes(self, adata: AnnData) -> np.ndarray:
        """Where the genes that were fitted are in an AnnData; ValueError if one is missing."""
        return places_of(adata, self.settings.genes)

    def counts(self, adata: AnnData) -> Counts:
        """The counts that were fitted; ValueError if the AnnData holds other numbers by now."""
        return self.settings.counts(adata, self.keys)

    def data(self, adata: AnnData, device: torch.device) -> CountData:
        """The counts that were fitted and the covariates, as the models take them."""
        return count_data(adata, self.counts(adata).matrix, self.covariates, device)

    def cells(self, adata: AnnData, split: str | np.ndarray) -> np.ndarray:
        """Indices of the cells of a split, of all cells for ``"all"``, or of those where a mask is true."""
        if not isinstance(split, str):
            mask = np.asarray(split)
            if mask.dtype != bool or mask.shape != (adata.n_obs,) or not mask.any():
                raise ValueError(
                    f"split as a mask must be boolean, of shape ({adata.n_obs},), and true somewhere; "
                    f"found {mask.dtype} of shape {mask.shape}."
                )
            return np.flatnonzero(mask)
        if split == "all":
            return np.arange(adata.n_obs)
        labels = checked_column(adata.obs, self.keys.split, "split", "obs").astype(str).to_numpy()
        cells = np.flatnonzero(labels == split)
        if split not in SPLITS or not len(cells):
            there = listing(sorted(set(SPLITS) & set(labels)))
            none = ", of which there are no cells" if split in SPLITS else ""
            raise ValueError(f"split must be one of {there} or 'all', found {split!r}{none}.")
        return cells

    def unseen_cells(self, adata: AnnData) -> np.ndarray:
        """Indices of the validation cells, which no model was trained on; there may be none."""
        labels = adata.obs.get(self.keys.split, pd.Series(index=adata.obs_names, dtype=object))
        return np.flatnonzero(labels.astype(str) == "validation")

    def restarts(self, model: str) -> list[int]:
        """Restarts of a model whose training did not fail."""
        bias = self.weights.get(model, {}).get("scale.bias")
        if bias is None or np.ndim(bias) == 0:
            raise self._broken(model, " lacks 'scale.bias'")
        n = len(np.asarray(bias))
        return [r for r in range(n) if r not in np.atleast_1d(self.params.get("failed", {}).get(model, []))]

    def load(self, model: Likelihood, device: torch.device, restart: int | None = None) -> CountVAE:
        """One restart of a model, in evaluation mode; the best one by default."""
        if model not in self.models:
            raise ValueError(f"model must be one of {', '.join(self.models)}, found {model!r}.")
        chosen = self.best_restart(model) if restart is None else restart
        if chosen not in self.restarts(model):
            good = ", ".join(map(str, self.restarts(model)))
            raise ValueError(f"restart must be one of those that did not fail ({good}), found {chosen!r}.")
        shared = ("library_mean", "library_variance")
        arrays = {
            name: np.asarray(value)[... if name in shared or np.ndim(value) == 0 else [chosen]]
            for name, value in self.weights[model].items()
        }
        shape = Shape(len(self.settings.genes), self.covariates.n_groups, self.covariates.n_columns)
        config = self.settings.configs[model]
        self._check_weights(model, arrays, shape, config)
        rebuilt = CountVAE(model, shape, config)
        rebuilt.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
        return rebuilt.to(device).eval()

    def _check_weights(
        self, model: Likelihood, arrays: Mapping[str, np.ndarray], shape: Shape, config: FitConfig
    ) -> None:
        """ValueError if arrays, which may come from anybody's file, are not the weights of such a model."""
        if config.n_layers > len(arrays):
            raise self._broken(model, f" holds too few arrays for n_layers={config.n_layers}")
        with torch.device("meta"):  # shapes without memory
            expected = CountVAE(model, shape, config).state_dict()
        for name in sorted(expected.keys() ^ arrays.keys()):
            raise self._broken(model, f" {'lacks' if name in expected else 'has no use for'} {name!r}")
        for name, like in expected.items():
            found = arrays[name]
            if found.shape != like.shape or found.dtype.kind != "f":
                like_this = f"[{name!r}] must be floats of shape {tuple(like.shape)}"
                raise self._broken(model, f"{like_this}, found {found.dtype} {found.shape}")
            positive = name == "library_variance" or name.endswith("running_var")
            if not np.isfinite(found).all() or (positive and (found < 0).any()):
                what = "negative or not finite" if positive else "not finite"
                raise self._broken(model, f"[{name!r}] holds numbers that are {what}")

    def _broken(self, model: str, what: str) -> ValueError:
        return self.damaged(WEIGHTS, f"[{model!r}]{what}")


def weight_arrays(model: CountVAE) -> dict[str, np.ndarray]:
    """All arrays of a model, by name."""
    return {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}


def count_data(adata: AnnData, matrix: Any, covariates: Covariates, device: torch.device) -> CountData:
    """Counts and covariates as the models take them: in memory where they are, or fit into one window."""
    rows = matrix if sparse.issparse(matrix) else in_one_window(matrix)
    kind = CountData if rows is not None else StreamedCountData
    return kind(
        matrix if rows is None else rows,
        group=covariates.group(adata.obs),
        covariates=covariates.matrix(adata.obs),
        size_factor=covariates.size_factor(adata.obs),
        device=device,
    )


def resolve_device(device: str | torch.device) -> torch.device:
    """``"auto"`` is the GPU where torch sees one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', found {device!r}.") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch sees no CUDA device; use 'auto' or 'cpu'.")
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(
            f"device must be 'auto', 'cpu' or 'cuda', found {device!r}: the metrics need double precision."
        )
    return resolved
