"""Dense layers of a fit, whether they were kept or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._record.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def layers_of(
    adata: AnnData,
    model: Literal["nb", "zinb"],
    kinds: Sequence[Literal["mean", "dropout"]],
    genes: NDArray[np.intp] | None,
    key: str | None,
) -> list[NDArray[np.floating]]:
    """Return layers of a fit, cells by genes, from ``adata.layers`` or else from the weights.

    Parameters
    ----------
    genes
        Positions in ``var``, in ascending order; None for all.

    Returns
    -------
    An array per kind; NaN for genes and cells that were not fitted.

    Raises
    ------
    KeyError
        If there is no fit.
    ValueError
        If the model was not fitted.
    """
    keys = Keys(key)
    names = {"mean": keys.mean(model), "dropout": keys.dropout(model)}
    if all(names[kind] in adata.layers for kind in kinds):
        whole = [np.asarray(adata.layers[names[kind]]) for kind in kinds]
        return whole if genes is None else [layer[:, genes] for layer in whole]
    from ._model import of_fitted_cells  # it loads torch

    places = np.arange(adata.n_vars) if genes is None else genes
    return of_fitted_cells(adata, model, kinds, places, key)
