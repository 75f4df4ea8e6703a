"""Finding what a verb left in an AnnData, or saying which verb to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._record.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

LAYER_HINT = "tl.fit_nb_zinb(adata, layers=('mean', 'dropout'))"


def fit_params(adata: AnnData, key: str | None) -> dict[str, Any]:
    """Settings of the fit that ``key`` names."""
    return dict(stored(adata, key, "params", "tl.fit_nb_zinb"))


def stored(adata: AnnData, key: str | None, part: str, verb: str) -> Any:
    """``uns[key][part]``, or a KeyError that names the verb which writes it."""
    where = Keys(key).uns
    found: Mapping[str, Any] = adata.uns.get(where, {})
    if part not in found:
        raise KeyError(f"adata.uns[{where!r}] holds no {part!r}; run zinbtools.{verb} first.")
    return found[part]


def column(adata: AnnData, axis: str, name: str, verb: str) -> NDArray[np.float64]:
    """One numeric column of ``obs`` or ``var``, or a KeyError that names the verb which writes it."""
    frame: pd.DataFrame = getattr(adata, axis)
    if name not in frame:
        raise KeyError(f"adata.{axis} has no column {name!r}; run zinbtools.{verb} first.")
    return frame[name].to_numpy(dtype=np.float64)


def layer(adata: AnnData, name: str) -> NDArray[np.floating]:
    """One dense layer, n_obs x n_vars, or a KeyError that says how to get it."""
    if name not in adata.layers:
        raise KeyError(f"adata.layers has no {name!r}; run zinbtools.{LAYER_HINT} first.")
    return np.asarray(adata.layers[name])


def fitted_models(params: Mapping[str, Any]) -> list[str]:
    """Models of the fit, in the order NB, ZINB."""
    return [model for model in ("nb", "zinb") if model in list(params["models"])]
