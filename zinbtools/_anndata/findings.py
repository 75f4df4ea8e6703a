"""Examine a matrix block by block: whether its numbers are counts, and by what to know them again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from .digests import cell_digests
from .kinds import Finding, Some, kind_of
from .rows import columns, tidy
from .spectra import Spectra

_ENTRIES = 2**18  # looked at together, so that what is derived of them stays small
_RECOVERED = 1e-3, 1e-6  # how far counts recovered from float32 logs are off, and per count
_GENES_OF_TWINS = 10  # with fewer, cells may have the same counts by chance


class Findings:
    """What was found in the rows of a matrix so far.

    Attributes
    ----------
    n_bad, smallest, largest
        Of all numbers: how many are not finite, and the range.
    largest_fitted, are_whole, furthest, are_recovered
        Of the numbers of the fitted genes: the largest, whether they are whole, how far from whole they are
        at most, and whether this is no more than the rounding of counts that were recovered from logs.
    of_genes, of_cells
        Cells with a count of each fitted gene, and fitted genes with a count in each cell.
    digests
        As `cell_digests`, of the fitted genes.
    """

    def __init__(self, genes: np.ndarray) -> None:
        self._genes = genes
        self.n_bad, self.smallest, self.largest, self.largest_fitted, self.furthest = 0, 0.0, 0.0, 0.0, 0.0
        self.are_whole = self.are_recovered = True
        self.of_genes = np.zeros(len(genes), dtype=np.int64)
        self._of_cells: list[np.ndarray] = []
        self._digests: list[np.ndarray] = []
        self._totals: list[np.ndarray] = []
        self._spectra = Spectra(len(genes))

    @property
    def of_cells(self) -> np.ndarray:
        return np.concatenate(self._of_cells)

    @property
    def digests(self) -> np.ndarray:
        return np.concatenate(self._digests)

    def add(self, rows: sparse.csr_array) -> sparse.csr_array:
        """Examine rows of all genes; return them tidy, with the fitted genes only, in the fit's order."""
        if rows.data.size:
            for start in range(0, rows.data.size, _ENTRIES):
                self.n_bad += int(np.count_nonzero(~np.isfinite(rows.data[start : start + _ENTRIES])))
            self.smallest = min(self.smallest, rows.data.min())
            self.largest = max(self.largest, rows.data.max())
        with np.errstate(invalid="ignore", over="ignore"):
            self._totals.append(np.asarray(rows.sum(axis=1)).ravel())
        rows = tidy(columns(rows, self._genes))
        for some in _split(rows):
            self._add(some)
        return rows

    def _add(self, rows: sparse.csr_array) -> None:
        self._of_cells.append(np.diff(rows.indptr))
        self._digests.append(cell_digests(rows))
        self.of_genes += np.bincount(rows.indices, minlength=len(self.of_genes))
        if not rows.data.size:
            return
        self.largest_fitted = max(self.largest_fitted, rows.data.max())
        whole = np.rint(rows.data)
        if not np.array_equal(rows.data, whole):
            self.are_whole = False
            with np.errstate(invalid="ignore"):  # what is not finite is counted above
                off = np.abs(rows.data - whole)
            off[np.isnan(off)] = 0.5
            self.furthest = max(self.furthest, float(off.max()))
            least, per_count = _RECOVERED
            close = (whole > 0) & (off <= np.maximum(least, per_count * whole))
            self.are_recovered = self.are_recovered and bool(close.all())
        elif self.smallest >= 0 and self.are_whole and self.largest_fitted < 2**53:
            self._spectra.add(rows)

    def finding(self, some: Some) -> Finding:
        """Tell what these whole numbers are; ``some`` gives rows of the fitted genes to look at once more."""
        return kind_of(self._spectra, self.of_genes, np.concatenate(self._totals), some)

    def n_twins(self) -> int:
        """Count cells whose counts another cell has too, beyond the first of each kind."""
        digests = self.digests[self.of_cells >= _GENES_OF_TWINS]
        return len(digests) - len(np.unique(digests))


def _split(rows: sparse.csr_array) -> Iterator[sparse.csr_array]:
    """Split rows so that no part has many entries."""
    if rows.nnz <= _ENTRIES:
        yield rows
        return
    start = 0
    while start < rows.shape[0]:
        stop = max(start + 1, int(rows.indptr.searchsorted(rows.indptr[start] + _ENTRIES, side="right")) - 1)
        yield rows[start:stop]
        start = stop
