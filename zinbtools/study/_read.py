"""Read counts from files that a stranger may have made."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from anndata import AnnData

from .._anndata.rows import refuse_broken
from .._files.memory import within_memory
from .._words.sentence import sentence
from ._formats import Asked, format_of


def read(path: Path, *, modality: str | None = None, transpose: bool = False) -> AnnData:
    """Read counts, if nothing in the file leads out of it or runs a program.

    Parameters
    ----------
    path
        An h5ad file, a zarr store, an h5 file of Cell Ranger, a loom or h5mu file, or a table of cells by
        genes (``.csv``, ``.tsv``, ``.txt``), each but zarr packed by gzip or not; a folder with
        ``matrix.mtx``, ``features.tsv`` or ``genes.tsv`` and ``barcodes.tsv``, or the matrix in it. The
        ending, in capitals or not, tells which.
    modality
        Which of an h5mu file; it may be left out where there is one.
    transpose
        Of a table: its rows are genes and its columns cells.

    Returns
    -------
    What is in the file; of Cell Ranger's the genes, by symbol, with ``gene_ids`` in ``var``. Names may be
    there twice.

    Raises
    ------
    ValueError
        If it is of another kind, cannot be read, takes data from other files or asks for pickle, if loompy
        is not there for a loom file, or if a table seems to be the other way round.

    Warns
    -----
    UserWarning
        If features that are no genes, such as antibodies, were left out.

    Examples
    --------
    >>> import tempfile, zinbtools as zt
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     zt.simulate.zisynth(n_obs=20).write_h5ad(Path(folder, "counts.h5ad"))
    ...     read(Path(folder, "counts.h5ad")).shape
    (20, 50)
    """
    asked = Asked(modality, transpose)
    kind = format_of(path, asked)
    try:
        with within_memory(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(Variable|Observation) names are not unique")
            adata = kind.read(path, asked)
        _refuse_broken_matrices(adata)
    except Exception as error:  # readers fail in all manners over a damaged file
        raise ValueError(f"cannot read {path} as {kind.name}: {sentence(error)}") from error
    return adata


def _refuse_broken_matrices(adata: AnnData) -> None:
    """Refuse sparse matrices that no one may index, wherever they are."""
    places: list[Any] = [adata.layers, adata.obsm, adata.varm, adata.obsp, adata.varp]
    matrices = [adata.X, *(matrix for place in places for matrix in place.values())]
    if adata.raw is not None:
        matrices += [adata.raw.X, *adata.raw.varm.values()]
    for matrix in matrices:
        refuse_broken(matrix)
