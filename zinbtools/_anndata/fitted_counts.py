"""The counts of a fit: where its genes are by now, and whether their counts are still what was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from .._record.keys import Keys
from .access import gene_names
from .counts import Counts, Place, look, refuse_empty, refuse_numbers, refuse_unless_whole, rounded
from .findings import Findings


def stored_genes(adata: AnnData, genes: np.ndarray) -> dict[str, Any]:
    """What `fitted_genes` reads from a fit's params; genes are given by index, in ascending order."""
    chosen = np.isin(np.arange(adata.n_vars), genes)
    return {
        "var_names": gene_names(adata).tolist(),
        "fitted_genes": None if chosen.all() else chosen,
    }


def fitted_genes(adata: AnnData, params: Mapping[str, Any]) -> np.ndarray:
    """Where a fit's genes are in an AnnData, in the fit's order, by name; ValueError if one is missing."""
    if "var_names" not in params:
        raise ValueError(
            "the fit's params lack 'var_names'; take the file as zinbtools wrote it, or fit again."
        )
    names = np.atleast_1d(np.asarray(params["var_names"], dtype=object))  # zarr gives a dtype of its own
    mask = np.asarray(params.get("fitted_genes", np.ones(len(names), dtype=bool)), dtype=bool)
    if mask.shape != names.shape:
        raise ValueError(
            f"the fit's params hold {len(names)} var_names, but fitted_genes of shape {mask.shape}; "
            "take the file as zinbtools wrote it, or fit again."
        )
    places = gene_names(adata).get_indexer(names[mask].astype(str))
    if (places < 0).any():
        raise ValueError(
            f"adata lacks {np.count_nonzero(places < 0)} of the {len(places)} genes that were fitted, "
            f"{names[mask][places < 0][0]!r} among them; use an AnnData that has them, or fit again."
        )
    return places


def fitted_counts(adata: AnnData, keys: Keys, params: Mapping[str, Any]) -> Counts:
    """The counts of the genes that were fitted, in the fit's order.

    Cells may be some of those that were fitted, in any order, and others beside them. Those that were fitted
    have a digest in ``obs``, which says whether their counts are what they were; fits by zinbtools 0.1.0
    have left none, and of them, as of new cells, the counts are only asked to be whole.

    Raises
    ------
    ValueError
        If a gene is missing, if the numbers are others than those that were fitted, or no counts.
    """
    genes, place = fitted_genes(adata, params), Place(adata, params.get("layer"))
    matrix, found = look(adata, place.layer, genes)
    if not found.are_whole and not params.get("check_counts", True):
        matrix, found = rounded(matrix)
    known = _digests_of_fit(adata, keys)
    _refuse_others(found, known, place)
    if np.isnan(known).any():
        refuse_numbers(found, place)
        refuse_unless_whole(found, place)
        refuse_empty(found, place, genes, empty_genes=True)
    return Counts(matrix, genes, found.digests)


def _digests_of_fit(adata: AnnData, keys: Keys) -> np.ndarray:
    """Of the counts that were fitted, NaN for other cells, (n_obs,)."""
    if keys.digest not in adata.obs:
        return np.full(adata.n_obs, np.nan)
    return pd.to_numeric(adata.obs[keys.digest], errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _refuse_others(found: Findings, known: np.ndarray, place: Place) -> None:
    """ValueError if cells that were fitted have other numbers by now."""
    fitted = ~np.isnan(known)
    n_changed = np.count_nonzero(found.digests[fitted] != known[fitted])
    if not n_changed:
        return
    if found.n_bad:
        cause = "it holds NaN or infinite numbers"
    elif not found.are_whole:
        cause = "its numbers are not whole, as log-transformed or normalised numbers are"
    elif found.smallest < 0:
        cause = "it holds negative numbers, as scaled data do"
    elif found.largest_fitted <= 1:
        cause = "it holds 0 and 1 only, as binarised counts do"
    elif np.array_equal(np.sort(found.digests[fitted]), np.sort(known[fitted])):
        cause = "its rows have changed places, which those of obs have not"
    else:
        cause = "they have other counts"
    raise ValueError(
        f"{place} no longer holds the counts that were fitted ({n_changed} of {fitted.sum()} cells differ): "
        f"{cause}; put the counts back into {place.code}, or fit again where they are kept (layer=...)."
    )
