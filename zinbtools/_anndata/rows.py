"""Turn matrices of any kind into compressed rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


def as_rows(matrix: Any) -> sparse.csr_array:
    """Turn a matrix in memory into compressed rows; float16, which scipy has not, becomes float32."""
    if sparse.issparse(matrix):
        refuse_broken(matrix)
    else:
        matrix = np.asarray(matrix)
    native = matrix.dtype.newbyteorder("=")  # nor has scipy sparse matrices of another order of bytes
    rows = sparse.csr_array(matrix.astype(np.float32 if native == np.float16 else native, copy=False))
    for name in ("data", "indices", "indptr"):  # torch warns of arrays that are not writable
        setattr(rows, name, np.require(getattr(rows, name), requirements="W"))
    return rows


def columns(rows: sparse.csr_array, genes: np.ndarray) -> sparse.csr_array:
    """Take columns by index, in this order; all of them in order give the rows themselves."""
    if len(genes) == rows.shape[1] and (np.diff(genes) == 1).all():
        return rows
    return rows[:, genes]


def refuse_broken(matrix: Any) -> None:
    """Refuse a sparse matrix whose indices point beyond it: scipy would read and write there."""
    if hasattr(matrix, "check_format"):
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"a sparse matrix is broken ({error}); write the file anew.") from error


def tidy(rows: sparse.csr_array) -> sparse.csr_array:
    """Drop zeros, add up duplicates and sort the genes; in a copy if anything has to be done."""
    if rows.has_canonical_format and rows.data.all():
        return rows
    rows = rows.copy()  # these arrays may be somebody's
    rows.sum_duplicates()
    rows.eliminate_zeros()
    return rows


def single_precision(rows: sparse.csr_array) -> sparse.csr_array:
    """Turn numbers into float32; those that it cannot hold, which are no counts, become infinite."""
    with np.errstate(over="ignore"):
        return rows.astype(np.float32, copy=False)
