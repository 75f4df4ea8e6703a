"""Find the genes of a fit in an AnnData, and refuse counts other than those that were fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from .._record.keys import Keys
from .counts import Counts, Place, look, refuse_empty, refuse_numbers, refuse_unless_whole, rounded
from .findings import Findings
from .reading import gene_names


def places_of(adata: AnnData, names: Sequence[str]) -> np.ndarray:
    """Find genes of a fit by name: their indices, in the fit's order; ValueError if one is missing."""
    places = gene_names(adata).get_indexer(pd.Index(names, dtype=object))
    if (absent := places < 0).any():
        raise ValueError(
            f"adata lacks {np.count_nonzero(absent)} of the {len(places)} genes that were fitted, "
            f"{names[int(np.argmax(absent))]!r} among them; use an AnnData that has them, or fit again."
        )
    return places


def fitted_counts(adata: AnnData, keys: Keys, names: Sequence[str], layer: str | None, check: bool) -> Counts:
    """Read the counts of the genes that were fitted, in the fit's order.

    Cells may be some of those that were fitted, in any order, and others beside them. Those that were fitted
    have a digest in ``obs``, which says whether their counts are what they were; fits by zinbtools 0.1.0
    have left none, and of them, as of new cells, the counts are only asked to be whole.

    Raises
    ------
    ValueError
        If a gene is missing, if the numbers are others than those that were fitted, or no counts.
    """
    genes, place = places_of(adata, names), Place(adata, layer)
    matrix, found = look(adata, layer, genes)
    if not found.are_whole and not check:
        matrix, found = rounded(matrix)
    known = _digests_of_fit(adata, keys)
    _refuse_others(found, known, place)
    if np.isnan(known).any():
        refuse_numbers(found, place)
        refuse_unless_whole(found, place)
        refuse_empty(found, place, genes, empty_genes=True)
    return Counts(matrix, genes, found.digests)


def _digests_of_fit(adata: AnnData, keys: Keys) -> np.ndarray:
    """Read the digests of the counts that were fitted, NaN for other cells, (n_obs,)."""
    if keys.digest not in adata.obs:
        return np.full(adata.n_obs, np.nan)
    return pd.to_numeric(adata.obs[keys.digest], errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _refuse_others(found: Findings, known: np.ndarray, place: Place) -> None:
    """Refuse numbers of fitted cells that are not those that were fitted."""
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
