"""Read counts from files that a stranger may have made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
from anndata import AnnData

from .._anndata.rows import refuse_broken
from .._files.hdf5 import check_hdf5
from .._files.memory import within_memory
from .._files.zarr import check_zarr, without_pickle
from .._words.sentence import sentence


def read(path: Path) -> AnnData:
    """Read an h5ad file or a zarr store, if nothing in it leads out of it or runs a program.

    Parameters
    ----------
    path
        A path that ends in ``.h5ad`` or ``.zarr``.

    Raises
    ------
    ValueError
        If it ends otherwise, cannot be read, takes data from other files or asks for pickle.

    Examples
    --------
    >>> import tempfile, zinbtools as zt
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     zt.simulate.zisynth(n_obs=20).write_h5ad(Path(folder, "counts.h5ad"))
    ...     read(Path(folder, "counts.h5ad")).shape
    (20, 50)
    """
    readers: dict[str, Callable[[Path], AnnData]] = {".h5ad": _read_h5ad, ".zarr": _read_zarr}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"{path.name} must end in .h5ad or .zarr; write the counts with adata.write_h5ad first."
        )
    try:
        with within_memory():
            adata = reader(path)
        _refuse_broken_matrices(adata)
    except Exception as error:  # readers fail in all manners over a damaged file
        raise ValueError(f"cannot read {path} as {path.suffix[1:]}: {sentence(error)}") from error
    return adata


def _read_h5ad(path: Path) -> AnnData:
    check_hdf5(path)
    return anndata.read_h5ad(path)


def _read_zarr(path: Path) -> AnnData:
    check_zarr(path)
    with without_pickle():
        return anndata.read_zarr(path)


def _refuse_broken_matrices(adata: AnnData) -> None:
    """Refuse sparse matrices that no one may index, wherever they are."""
    places: list[Any] = [adata.layers, adata.obsm, adata.varm, adata.obsp, adata.varp]
    matrices = [adata.X, *(matrix for place in places for matrix in place.values())]
    if adata.raw is not None:
        matrices += [adata.raw.X, *adata.raw.varm.values()]
    for matrix in matrices:
        refuse_broken(matrix)
