"""Which cells a model of scvi-tools was trained on, found among those that it is to be evaluated on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.counts import Counts
from .._anndata.reading import read_matrix


def own_split(adata: AnnData, counts: Counts, source: Any, layer: str | None) -> np.ndarray:
    """The model's split, (n_obs,); cells that it does not know are test cells.

    Parameters
    ----------
    counts
        Those of ``adata``, of the model's genes.
    source
        The SCVI model, with its AnnData.
    layer
        Where the model's AnnData has its counts.

    Raises
    ------
    ValueError
        If names do not tell which cell is which.
    """
    labels = np.full(source.adata.n_obs, "test", dtype=object)
    for name, attribute in (("train", "train_indices"), ("validation", "validation_indices")):
        members = getattr(source, attribute, None)
        if members is not None and len(members):
            labels[np.asarray(members)] = name
    if adata is source.adata:
        return labels
    places = _places(
        adata.obs_names,
        source.adata.obs_names,
        np.concatenate([_totals(rows) for rows in counts.blocks()]),
        _totals(read_matrix(source.adata, layer)),
    )
    return np.where(places < 0, "test", labels[places])


def _totals(rows: Any) -> np.ndarray:
    """Counts of each cell."""
    return np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel()


def _places(names: pd.Index, known: pd.Index, totals: np.ndarray, known_totals: np.ndarray) -> np.ndarray:
    """The place of each cell among those that the model knows, -1 for others.

    The same totals in the same order are those cells, whatever they are called; else the names say who is
    who, and the totals that they are right.
    """
    if np.array_equal(totals, known_totals):
        return np.arange(len(names))
    remedy = "give model.adata itself, or the split in a column of obs (split=)"
    for whose, index in (("adata", names), ("model.adata", known)):
        if not index.is_unique:
            raise ValueError(
                f"obs_names of {whose} must be unique for the model's split to be looked up by them, found "
                f"{index[index.duplicated()][0]!r} twice; {remedy}."
            )
    places = known.get_indexer(names)
    other = (places >= 0) & (totals != known_totals[places])
    if other.any():
        raise ValueError(
            f"{int(other.sum())} cells of adata have names of the model's cells and other counts, "
            f"{names[other][0]!r} among them, so that obs_names do not tell which cells it was trained on; "
            f"{remedy}."
        )
    return places
