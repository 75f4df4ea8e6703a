"""Write results into an AnnData: all of them or none, in places that are ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._record.keys import Keys
from .._record.parts import HISTORY, TUNING, WEIGHTS
from .._words.warn import warn


@dataclass
class Results:
    """Collects all that a fit writes, so that nothing is written if something goes wrong."""

    obsm: dict[str, np.ndarray] = field(default_factory=dict)
    layers: dict[str, np.ndarray] = field(default_factory=dict)
    obs: dict[str, Any] = field(default_factory=dict)
    var: dict[str, Any] = field(default_factory=dict)
    uns: dict[str, Any] = field(default_factory=dict)

    def write(self, adata: AnnData, keys: Keys) -> None:
        """Put the results in their places, and take away what is left there of an earlier fit."""
        for place, names in keys.all_names().items():
            for name in names:
                if name in getattr(adata, place):
                    del getattr(adata, place)[name]
        for place in ("obsm", "layers", "obs", "var"):
            for name, values in getattr(self, place).items():
                getattr(adata, place)[name] = values
        adata.uns[keys.uns] = self.uns


def write_of_some(part: AnnData, cells: np.ndarray, adata: AnnData, keys: Keys) -> None:
    """Write into an AnnData what verbs have left in one of some of its cells, given by index.

    Other cells have no value. Embeddings and layers, whose readers take every cell for one with values, are
    left out.
    """
    names = keys.all_names()
    places = np.full(adata.n_obs, -1)
    places[cells] = np.arange(len(cells))
    obs = {name: _of_some(part.obs[name], places) for name in names["obs"] if name in part.obs}
    var = {name: part.var[name].array for name in names["var"] if name in part.var}
    Results(obs=obs, var=var, uns=part.uns[keys.uns]).write(adata, keys)


def _of_some(values: pd.Series, places: np.ndarray) -> Any:
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes = np.where(places < 0, -1, values.cat.codes.to_numpy()[places])
        return pd.Categorical.from_codes(codes, dtype=values.dtype)
    return np.where(places < 0, np.nan, values.to_numpy()[places])


def refuse_to_overwrite(adata: AnnData, keys: Keys) -> None:
    """Refuse to write results where something is that no earlier fit under the same key has written."""
    there, ours = adata.uns.get(keys.uns, {}), {part.name for part in (WEIGHTS, HISTORY, TUNING)}
    if not isinstance(there, Mapping) or (there and not ours & set(there)):
        raise ValueError(
            f"adata.uns[{keys.uns!r}] holds something that is no fit of zinbtools and would be lost; "
            "choose another key_added, or move it."
        )
    if keys.split in adata.obs:  # a fit has been here, though its uns may be gone
        return
    for place in ("obsm", "layers", "var"):
        for name in keys.all_names()[place]:
            if name in getattr(adata, place):
                raise ValueError(
                    f"adata.{place}[{name!r}] was not written by a fit under this key_added and would be "
                    "lost; choose another key_added, or delete it."
                )


def target_of(adata: AnnData, copy: bool) -> AnnData:
    """Return the object to write into: a copy on request; a view becomes an AnnData of its own."""
    target = adata.copy() if copy else adata
    if target.is_view:
        warn("adata is a view and is turned into an AnnData of its own.")
        target._init_as_actual(target.copy())
    return target


def spread(values: np.ndarray, genes: np.ndarray, n_vars: int) -> np.ndarray:
    """Put values of the fitted genes, (..., n_fitted), at their places, (..., n_vars), NaN elsewhere."""
    full = np.full((*values.shape[:-1], n_vars), np.nan, dtype=values.dtype)
    full[..., genes] = values
    return full


def storable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn settings into what h5ad and zarr hold: no ``None``, nothing empty, lists as string arrays."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            value = storable(value)
        elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            value = np.array(value, dtype=object)
        if value is None or (hasattr(value, "__len__") and len(value) == 0):
            continue
        kept[name] = value
    return kept
