"""The copies at which the counts of each cell are most likely.

With genes and cells exchanged, the regression of a gene of reads is that of a cell: its genes have molecules
and copies of their own, and it is asked for the depth of the cell and the factor of its copies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .cell_copies import Cells
from .count_models import Copies, fit_counts

Floats = NDArray[np.float64]

LEAST_COPIES = 1.02
_FEWEST_GENES, _FEW_GENES, _MOST_CELLS, _MOST_ENTRIES = 30, 300, 2000, 600_000  # to learn from
_DETECTED, _FEWEST_COUNTS = (0.05, 0.95), 5
_WIDE = 0.5  # prior standard deviation of the log factor of a cell
_LARGEST_THETA = 1e4


@dataclass(frozen=True)
class LikelyCells:
    """What genes say of the copies of a cell.

    Attributes
    ----------
    which
        The genes, by index, (n,).
    reads, copies, inverse_dispersion
        Of each gene: what its reads are proportional to, the copies of its molecules in a typical cell, and
        theta of its molecules, (n,).
    shape
        Of the copies.
    centre
        Average over cells of the logarithm of copies.
    """

    which: NDArray[np.int64]
    reads: Floats
    copies: Floats
    inverse_dispersion: Floats
    shape: float
    centre: float = 0.0

    @classmethod
    def of(cls, cells: Cells, copies: Copies) -> Self:
        """Learn from some cells of which the copies are known about."""
        n_cells = len(copies.mean)
        some = np.unique(np.linspace(0, n_cells - 1, min(n_cells, _MOST_CELLS)).round().astype(np.int64))
        learned, level = cells.rows(some), float(np.exp(np.log(copies.mean).mean()))
        which = _telling(learned.counts)
        part, depth = learned.part(which), learned.reads / learned.reads.mean()
        of_some = replace(copies, mean=copies.mean[some], shape=copies.shape[some])
        means = depth if part.shares is None else depth[:, None] * part.shares
        fits = fit_counts(part.counts, means, copies=of_some, families=["nb"])
        nb = fits.of("nb")
        theta = np.minimum(fits.inverse_dispersion[:, nb], _LARGEST_THETA)
        of_genes = np.maximum(1 + (level - 1) * np.exp(fits.log_copies[:, nb]), LEAST_COPIES)
        reads = np.exp(fits.coefficients[:, nb, 0]) * of_genes
        known = np.isfinite(of_genes) & np.isfinite(reads) & (reads > 0) & (theta > 0)
        found = cls(which[known], reads[known], of_genes[known], theta[known], float(np.median(copies.shape)))
        return replace(found, centre=float(found._log_copies(learned).mean()))

    def own_copies(self, cells: Cells) -> Floats:
        """Copies of cells over the geometric mean of those that were learned from, (N,)."""
        return np.exp(self._log_copies(cells) - self.centre)

    def _log_copies(self, cells: Cells) -> Floats:
        part = cells.part(self.which)
        n_cells, n_genes = part.counts.shape
        fits = fit_counts(
            part.counts.T,
            self.reads if part.shares is None else (part.shares * self.reads).T,
            inverse_dispersions=np.broadcast_to(self.inverse_dispersion[:, None], (n_genes, n_cells)),
            copies=Copies(self.copies, np.full(n_genes, self.shape), _WIDE),
            families=["nb"],
        )
        factor = np.nan_to_num(fits.log_copies[:, fits.of("nb")])  # a cell without counts has none
        level = float(np.exp(np.log(self.copies).mean()))
        return np.log1p((level - 1) * np.exp(factor))


def _telling(counts: sparse.csr_array) -> NDArray[np.int64]:
    """Genes that some cells have and others lack, evenly spread over how many have them."""
    n_cells, n_genes = counts.shape
    n_counts = np.bincount(counts.indices[counts.data > 0], minlength=n_genes)
    order = np.argsort(n_counts, kind="stable")
    least, most = (share * n_cells for share in _DETECTED)
    inside = order[(n_counts[order] >= max(least, _FEWEST_COUNTS)) & (n_counts[order] <= most)]
    if len(inside) < _FEWEST_GENES:
        inside = order[n_counts[order] > 0]
    number = min(len(inside), max(_FEW_GENES, _MOST_ENTRIES // n_cells))
    return np.sort(inside[np.unique(np.linspace(0, len(inside) - 1, number).round().astype(np.int64))])
