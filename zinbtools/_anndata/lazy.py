"""Counts too many for memory: read rows of a file or of a dask array, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from anndata.abc import CSRDataset
from anndata.io import sparse_dataset
from scipy import sparse

from .rows import as_rows, columns, tidy

MEMORY_BYTES = 2**27  # counts that take no more are read at once
_BLOCK_BYTES = 2**22
_BYTES_PER_COUNT = 8  # the count and its gene
_DENSITY = 0.1  # of dense matrices and dask arrays, which do not tell


@dataclass(frozen=True)
class LazyCounts:
    """Counts of N cells x G genes outside of memory, to be read in blocks of consecutive cells.

    A pickle holds the name of the file, and reads from there again.

    Attributes
    ----------
    matrix
        Compressed rows or a dense matrix in an h5ad or zarr file, or a dask array.
    bounds
        The first cell of each block, and N at the end.
    genes
        Which of the columns are read, by index, in this order.
    rounded
        Whether numbers are rounded.
    """

    matrix: Any
    bounds: np.ndarray
    genes: np.ndarray
    rounded: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], len(self.genes)

    def __len__(self) -> int:
        """Count the blocks."""
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[sparse.csr_array]:
        """Read every block in turn."""
        return map(self.read, range(len(self)))

    def all_rows(self) -> Iterator[sparse.csr_array]:
        """Read all genes, as they are stored, block by block."""
        return map(self.rows, range(len(self)))

    def read(self, block: int) -> sparse.csr_array:
        """Read counts of the selected genes without zeros, float32, (n_cells, G)."""
        rows = self.rows(block)
        rows = tidy(columns(rows, self.genes))
        if self.rounded:
            rows.data = np.rint(rows.data)
            rows.eliminate_zeros()
        return rows.astype(np.float32, copy=False)

    def rows(self, block: int) -> sparse.csr_array:
        return as_rows(_slice(self.matrix, *self.bounds[block : block + 2].tolist()))

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyCounts, (_portable(self.matrix), self.bounds, self.genes, self.rounded)


@dataclass(frozen=True)
class _InFile:
    """A matrix in an HDF5 file, which cannot be pickled itself."""

    file: Path
    name: str

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self.file, self.name)


def bounds_of(matrix: Any) -> np.ndarray | None:
    """Divide a matrix into blocks to read; None if it is in memory, or small enough to be read at once."""
    if not (isinstance(matrix, CSRDataset | h5py.Dataset) or _package(matrix) in ("dask", "zarr")):
        return None
    n_cells, n_genes = matrix.shape
    if isinstance(matrix, CSRDataset):
        n_counts = matrix.group["data"].shape[0]
    else:
        n_counts = int(n_cells * n_genes * _DENSITY)
    if n_counts * _BYTES_PER_COUNT <= MEMORY_BYTES:
        return None
    size = max(1, _BLOCK_BYTES * n_cells // (n_counts * _BYTES_PER_COUNT))
    if _package(matrix) != "dask":
        return np.append(np.arange(0, n_cells, size), n_cells)
    bounds = [0]
    ends = np.cumsum(matrix.chunks[0]).tolist()  # part of a chunk costs as much as all of it
    for end, following in pairwise([*ends, n_cells + size]):
        if end > bounds[-1] and following - bounds[-1] > size:
            bounds.append(end)
    return np.array(bounds)


def _package(matrix: Any) -> str:
    return type(matrix).__module__.partition(".")[0]


def _slice(matrix: Any, start: int, stop: int) -> Any:
    if _package(matrix) != "dask":
        return matrix[start:stop]
    from dask.base import compute

    ends = np.cumsum(matrix.chunks[0])
    first, last = ends.searchsorted([start, stop - 1], side="right")
    parts = compute(*(matrix.partitions[k] for k in range(first, last + 1)))
    return sparse.vstack([as_rows(part) for part in parts], format="csr")


def _portable(matrix: Any) -> Any:
    group = matrix.group if isinstance(matrix, CSRDataset) else matrix
    if isinstance(group, h5py.Group | h5py.Dataset):
        return _InFile(Path(group.file.filename).absolute(), group.name)
    return matrix


def _open(file: Path, name: str) -> Any:
    # whoever has the file open for writing does not write while we read
    found = h5py.File(file, "r", locking=False)[name]
    return found if isinstance(found, h5py.Dataset) else sparse_dataset(found)
