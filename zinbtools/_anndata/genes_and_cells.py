"""Select genes and cells by the rules of the 2019 study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._check.arguments import checked
from .reading import read_matrix

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse


@checked
def select(
    adata: AnnData,
    *,
    layer: str | None = None,
    min_detection: float | None = None,
    n_top_genes: int | None = None,
) -> AnnData:
    """Keep detected genes, then the most variable ones, then the cells that still have a count.

    Parameters
    ----------
    adata
        Cells by genes with raw counts; not changed.
    min_detection
        Keep genes with a count in MORE than this share of the cells, 0 or more and below 1.
    n_top_genes
        Of these keep as many with the largest variance of the raw counts; among equals the first.

    Returns
    -------
    A copy with the genes in their old order, and with all layers and annotations.

    Raises
    ------
    KeyError, TypeError
        If there is no such layer, or it does not hold numbers.
    ValueError
        If a number is out of range, or no gene or no cell is left.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> adata = AnnData(np.array([[0, 9, 1], [0, 0, 1], [5, 0, 0]], dtype="float32"))
    >>> select(adata, n_top_genes=2).X
    array([[0., 9.],
           [5., 0.]], dtype=float32)
    """
    counts = read_matrix(adata, layer)
    genes = np.arange(adata.n_vars)
    if min_detection is not None:
        genes = genes[_sum_of_genes(counts.astype(bool)) / adata.n_obs > min_detection]
        if not len(genes):
            raise ValueError(
                f"min_detection={min_detection} leaves no gene: none of the {adata.n_vars:,} has a count in "
                "more than that share of the cells; choose a smaller one."
            )
    if n_top_genes is not None:
        largest = np.argsort(-_variances(counts[:, genes]), kind="stable")[:n_top_genes]
        genes = np.sort(genes[largest])
    cells = np.asarray(counts[:, genes].astype(bool).sum(axis=1)).ravel() > 0
    if not cells.any():
        raise ValueError("the counts are all zero; give the layer that holds raw counts.")
    return adata[cells, genes].copy()


def _sum_of_genes(values: sparse.csr_array) -> NDArray[np.float64]:
    return np.asarray(values.sum(axis=0, dtype=np.float64)).ravel()


def _variances(counts: sparse.csr_array) -> NDArray[np.float64]:
    values = counts.astype(np.float64)
    n_obs = counts.shape[0]
    return _sum_of_genes(values.multiply(values)) / n_obs - (_sum_of_genes(values) / n_obs) ** 2
