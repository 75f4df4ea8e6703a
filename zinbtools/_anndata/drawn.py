"""Some of many cells, drawn so that any number of them is like all: by batch and by library size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .lazy import LazyCounts, bounds_of
from .reading import gene_names, read_matrix, stored_matrix
from .rows import columns

_FEWEST = 10  # of a batch, or all that it has
_N_SIZES = 10  # strata of the library size


@dataclass(frozen=True)
class DrawnCells:
    """Cells in an order in which the first of them, however many, are like all.

    Attributes
    ----------
    adata
        What they were drawn from.
    layer
        Where their counts are there.
    order
        Their indices there, (n,).
    counts
        Theirs of the genes to be fitted, in this order, (n, n_fitted).
    genes
        Which of the genes these are, by index.
    """

    adata: AnnData
    layer: str | None
    order: np.ndarray
    counts: sparse.csr_array
    genes: np.ndarray

    def genes_of(self, n: int) -> tuple[str, ...]:
        """Name the genes with a count in the first n."""
        present = np.asarray(self.counts[:n].sum(axis=0)).ravel() > 0
        return tuple(gene_names(self.adata)[self.genes[present]])

    def first(self, n: int) -> tuple[AnnData, np.ndarray]:
        """Take n of them into memory, as they follow each other; and their indices."""
        places = np.argsort(self.order[:n])
        counts, adata = self.counts[places], self.adata
        shape = (n, adata.n_vars)
        counts = sparse.csr_matrix((counts.data, self.genes[counts.indices], counts.indptr), shape)
        cells = self.order[places]
        part = AnnData(
            X=counts if self.layer is None else None,
            obs=adata.obs.iloc[cells].copy(),
            var=adata.var.copy(),
            uns=dict(adata.uns),
            layers={} if self.layer is None else {self.layer: counts},
        )
        return part, cells


def draw_cells(
    adata: AnnData,
    n: int,
    *,
    layer: str | None = None,
    genes: np.ndarray,
    batch_key: str | None = None,
    rng: np.random.Generator,
) -> DrawnCells:
    """Draw n cells at random, of each batch its share but 10 at least, and read them in one pass.

    Parameters
    ----------
    layer
        Of the counts; ``X`` by default.
    genes
        Those to be fitted, by index in ascending order.
    batch_key
        Column of ``obs`` with batches.
    """
    batch = np.zeros(adata.n_obs, dtype=np.int64)
    if batch_key is not None and batch_key in adata.obs:
        batch = pd.factorize(adata.obs[batch_key])[0]
    cells = np.sort(_in_turn(batch, np.zeros_like(batch), rng)[:n])
    counts = _read(adata, layer, cells, genes)
    library = np.asarray(counts.sum(axis=1)).ravel()
    sizes = np.argsort(np.argsort(library, kind="stable")) * _N_SIZES // n
    turn = _in_turn(batch[cells], sizes, rng)
    return DrawnCells(adata, layer, cells[turn], counts[turn], genes)


def _in_turn(batch: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Order cells at random so that each stratum has its share of the first ones, however many these are.

    The first of all are 10 of each batch.
    """
    order = rng.permutation(len(batch))
    stratum = pd.factorize(_N_SIZES * batch[order] + size[order])[0]
    place = pd.Series(stratum).groupby(stratum).cumcount().to_numpy()
    n_within = np.bincount(stratum)
    turn = (place + rng.random(len(n_within))[stratum]) / n_within[stratum]
    first = pd.Series(turn).groupby(batch[order]).rank(method="first").to_numpy() <= _FEWEST
    return order[np.argsort(np.where(first, -1.0, turn), kind="stable")]


def _read(adata: AnnData, layer: str | None, cells: np.ndarray, genes: np.ndarray) -> sparse.csr_array:
    """Read the counts of cells, in ascending order; of a file, block by block."""
    stored = stored_matrix(adata, layer)
    bounds = bounds_of(stored)
    if bounds is None:
        return columns(read_matrix(adata, layer)[cells], genes)
    ends = cells.searchsorted(bounds)
    matrix = LazyCounts(stored, bounds, np.arange(adata.n_vars))
    parts = [
        columns(matrix.rows(block)[cells[start:stop] - bounds[block]], genes)
        for block, (start, stop) in enumerate(zip(ends, ends[1:], strict=False))
        if stop > start
    ]
    return sparse.csr_array(sparse.vstack(parts, format="csr"))
