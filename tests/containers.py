"""The same counts in every container that an AnnData may hold."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anndata import AnnData, read_h5ad
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

from zinbtools._anndata import lazy
from zinbtools.model import streaming

Container = Callable[[AnnData, Path], AnnData]


def _with(values: Callable[[np.ndarray], Any]) -> Container:
    """The counts in another container in memory."""

    def contained(adata: AnnData, folder: Path) -> AnnData:
        return _replaced(adata, values(adata.X.toarray()))

    return contained


def _replaced(adata: AnnData, counts: Any) -> AnnData:
    return AnnData(counts, obs=adata.obs, var=adata.var)


def _h5ad(values: Callable[[np.ndarray], Any]) -> Container:
    """An AnnData backed by a file."""

    def contained(adata: AnnData, folder: Path) -> AnnData:
        _replaced(adata, values(adata.X.toarray())).write_h5ad(folder / "counts.h5ad")
        return read_h5ad(folder / "counts.h5ad", backed="r")

    return contained


def _zarr(values: Callable[[np.ndarray], Any]) -> Container:
    """An AnnData whose counts are in a zarr store."""

    def contained(adata: AnnData, folder: Path) -> AnnData:
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(folder / "counts.zarr", mode="w")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats to come
            write_elem(group, "X", values(adata.X.toarray()))
        found = group["X"]
        return _replaced(adata, found if isinstance(found, zarr.Array) else sparse_dataset(found))

    return contained


def _dask(values: Callable[[np.ndarray], Any]) -> Container:
    """A dask array with chunks of unequal numbers of rows."""

    def contained(adata: AnnData, folder: Path) -> AnnData:
        array = pytest.importorskip("dask.array")
        counts = adata.X.toarray()
        chunks = array.from_array(counts, chunks=((7, 100, 1, len(counts) - 108), (counts.shape[1],)))
        return _replaced(adata, chunks.map_blocks(values, dtype=counts.dtype))

    return contained


def _annbatch(adata: AnnData, folder: Path) -> AnnData:
    """An annbatch collection of two stores, in which the cells are as they were."""
    collections = pytest.importorskip("annbatch", reason="annbatch needs Python 3.12")
    from anndata.experimental import read_elem_lazy  # not in 0.11
    from dask import array

    plain = AnnData(adata.X, obs=adata.obs[[]], var=adata.var[[]])
    plain.write_h5ad(folder / "counts.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # annbatch's own
        collection = collections.DatasetCollection(folder / "collection.zarr")
        collection.add_adatas(
            [folder / "counts.h5ad"], dataset_size=200, shuffle_chunk_size=100, shuffle=False
        )
        stores = list(collection)
        chunks = (60, adata.n_vars)
        counts = array.concatenate([read_elem_lazy(store["X"], chunks=chunks) for store in stores])
    assert len(stores) == 2
    return _replaced(adata, counts)


def _view(adata: AnnData, folder: Path) -> AnnData:
    twice = AnnData(np.repeat(adata.X.toarray(), 2, axis=0), var=adata.var)
    twice.obs_names = [f"{name}-{i}" for name in adata.obs_names for i in range(2)]
    twice.obs = adata.obs.loc[np.repeat(adata.obs_names, 2)].set_axis(twice.obs_names)
    view = twice[::2]
    assert view.is_view
    return view


def _stored_zeros(counts: np.ndarray) -> sparse.csr_matrix:
    """Each row is as it is, backwards, with its zeros."""
    n_cells, n_genes = counts.shape
    genes = np.tile(np.arange(n_genes)[::-1], n_cells)
    return sparse.csr_matrix(
        (counts[:, ::-1].ravel(), genes, np.arange(n_cells + 1) * n_genes), shape=counts.shape
    )


IN_MEMORY: dict[str, Container] = {
    "dense": _with(np.asarray),
    "csr_matrix": _with(sparse.csr_matrix),
    "csr_array": _with(sparse.csr_array),
    "csc_matrix": _with(sparse.csc_matrix),
    "csc_array": _with(sparse.csc_array),
    "float64": _with(lambda x: x.astype(np.float64)),
    "int32": _with(lambda x: sparse.csr_matrix(x.astype(np.int32))),
    "int64": _with(lambda x: sparse.csr_matrix(x.astype(np.int64))),
    "column-major": _with(np.asfortranarray),
    "stored zeros": _with(_stored_zeros),
    "view": _view,
}
OUTSIDE: dict[str, Container] = {
    "h5ad": _h5ad(sparse.csr_matrix),
    "h5ad int64": _h5ad(lambda x: sparse.csr_matrix(x.astype(np.int64))),
    "h5ad float64 stored zeros": _h5ad(lambda x: _stored_zeros(x.astype(np.float64))),
    "h5ad dense": _h5ad(np.asarray),
    "h5ad by columns": _h5ad(sparse.csc_matrix),
    "zarr": _zarr(sparse.csr_matrix),
    "zarr dense": _zarr(np.asarray),
    "dask": _dask(np.asarray),
    "dask csr_matrix": _dask(sparse.csr_matrix),
    "dask csr_array": _dask(sparse.csr_array),
    "annbatch": _annbatch,
}


def read_in_blocks(monkeypatch: pytest.MonkeyPatch, *, window: int = 2**27) -> None:
    """Small blocks of small data, which would be read at once otherwise; ``window`` bytes at a time."""
    monkeypatch.setattr(lazy, "MEMORY_BYTES", 0)
    monkeypatch.setattr(lazy, "_BLOCK_BYTES", 2**11)
    monkeypatch.setattr(streaming, "WINDOW_BYTES", window)
