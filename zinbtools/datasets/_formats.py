"""Read formats that more than one data set, or only old software, uses: 10x, loom, CSV in blocks, pickles."""

from __future__ import annotations

import gzip
import pickle
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .._files.hdf5 import check_hdf5
from .._words.sentence import sentence

_GENES_AT_A_TIME = 1_000
_10X_FILES = {
    f"{stem}{packed}"
    for stem in ("matrix.mtx", "genes.tsv", "features.tsv", "barcodes.tsv")
    for packed in ("", ".gz")
}
LARGEST = 2**31  # bytes unpacked: several times what any of these data sets has


@contextmanager
def reading(*paths: Path) -> Iterator[None]:
    """Turn what fails in the block into a ValueError of one sentence that names a file, or all of them."""
    try:
        yield
    except Exception as error:  # readers and decoders fail in all manners over a damaged file
        if isinstance(error, ValueError) and any(str(path) in str(error) for path in paths):
            raise
        raise ValueError(f"cannot read {', '.join(map(str, paths))}: {sentence(error)}") from error


def open_text(path: Path) -> IO[str]:
    """Open a text file, compressed with gzip or not, whatever its name says."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8") if is_gzip else path.open(encoding="utf-8")


def read_10x(path: Path) -> AnnData:
    """Read what Cell Ranger wrote: its h5, its tar.gz of a matrix folder, or that folder (or one above it).

    Gene identifiers become ``var_names``, symbols ``var["symbol"]``, barcodes ``obs_names``.
    """
    if path.is_dir():
        return _read_10x_folder(path, path)
    if h5py.is_hdf5(path):
        return _read_10x_h5(path)
    with reading(path), TemporaryDirectory() as folder:
        if not tarfile.is_tarfile(path):
            raise ValueError(
                f"{path} is neither a folder nor an h5 or tar.gz file as Cell Ranger writes them."
            )
        _unpack(path, Path(folder))
        return _read_10x_folder(Path(folder), path)


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of 10x matrices in an archive into a folder per matrix; nothing else is unpacked."""
    n_bytes = 0
    matrices: dict[PurePosixPath, Path] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if name.name not in _10X_FILES or not member.isfile():
                continue  # links, devices and what no reader asks for
            n_bytes += member.size
            if n_bytes > LARGEST:
                raise ValueError(f"{name} in it says that it has {member.size:,} bytes; fetch it anew.")
            target = matrices.setdefault(name.parent, folder / str(len(matrices)))
            target.mkdir(exist_ok=True)
            with (target / name.name).open("wb") as file:
                copyfileobj(cast("IO[bytes]", archive.extractfile(member)), file)


def _read_10x_folder(folder: Path, path: Path) -> AnnData:
    """Read the one matrix in a folder, which is what ``path`` is or was unpacked to."""
    import scanpy as sc

    found = sorted({file.parent for file in folder.rglob("matrix.mtx*")})
    if len(found) != 1:
        raise ValueError(
            f"{path} must hold one 10x matrix (matrix.mtx or matrix.mtx.gz), found {len(found)}."
        )
    with reading(path):
        adata = sc.read_10x_mtx(found[0], var_names="gene_ids")
    return adata_of_genes(adata.X, adata.obs_names, adata.var_names, symbol=adata.var["gene_symbols"])


def _read_10x_h5(path: Path) -> AnnData:
    import scanpy as sc

    with reading(path), warnings.catch_warnings():
        check_hdf5(path)
        # scanpy names genes by symbol first, and symbols repeat.
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        adata = sc.read_10x_h5(path)
    return adata_of_genes(adata.X, adata.obs_names, adata.var["gene_ids"], symbol=adata.var_names)


def adata_of_genes(counts: Any, cells: Any, genes: Any, **var: Any) -> AnnData:
    """Make an AnnData of float32 counts in compressed rows, cells by genes; ``var`` has more columns."""
    return AnnData(
        sparse.csr_matrix(counts, dtype=np.float32),
        obs=pd.DataFrame(index=pd.Index(np.asarray(cells, dtype=str))),
        var=pd.DataFrame(
            {name: np.asarray(values) for name, values in var.items()},
            index=pd.Index(np.asarray(genes, dtype=str)),
        ),
    )


def read_loom(path: Path) -> tuple[AnnData, dict[str, np.ndarray]]:
    """Read counts of a loom file, and its flat columns that describe cells; genes are named by ``Gene``."""
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not a loom file (HDF5); fetch it anew.")
    with reading(path):
        check_hdf5(path)
        return _read_loom(path)


def _read_loom(path: Path) -> tuple[AnnData, dict[str, np.ndarray]]:
    with h5py.File(path) as file:
        matrix: Any = file["matrix"]
        n_genes = matrix.shape[0]
        # Genes come in rows and dense: a block at a time keeps memory to that of the sparse counts.
        blocks = [
            sparse.csr_matrix(matrix[start : start + _GENES_AT_A_TIME].astype(np.float32))
            for start in range(0, n_genes, _GENES_AT_A_TIME)
        ]
        cells: Any = file["col_attrs"]
        columns = {name: _strings(np.ravel(cells[name][:])) for name in cells}
        genes: Any = file["row_attrs/Gene"]
        names = _strings(np.ravel(genes[:]))
    counts = sparse.vstack(blocks, format="csr").T
    return adata_of_genes(counts, columns.get("CellID", np.arange(counts.shape[0])), names), columns


def _strings(values: np.ndarray) -> np.ndarray:
    return np.char.decode(values.astype(bytes), "utf-8") if values.dtype.kind in "SO" else values


def read_h5ad(path: Path) -> AnnData:
    """Read counts and annotations of an h5ad file, old ones too."""
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"{path} is not an h5ad file (HDF5), perhaps an error page; delete it and fetch it anew."
        )
    with reading(path), warnings.catch_warnings():
        check_hdf5(path)
        # The study's files are of anndata 0.6, and a reader cannot change that.
        warnings.simplefilter("ignore", ad.OldFormatWarning)
        adata = ad.read_h5ad(path)
    counts = adata_of_genes(adata.X, adata.obs_names, adata.var_names)
    counts.obs = adata.obs
    return counts


def stack(blocks: Iterator[pd.DataFrame]) -> sparse.csr_matrix:
    """Stack dense blocks of rows to one sparse float32 matrix."""
    return sparse.vstack([sparse.csr_matrix(b.to_numpy(dtype=np.float32)) for b in blocks], format="csr")


class _Pandas:
    """Stand-in for any pandas object in a pickle: keeps its state, runs nothing."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _index(_: Any, fields: Mapping[str, Any]) -> Any:
    return fields["data"]


_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "slice"): slice,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("pandas.core.frame", "DataFrame"): _Pandas,
    ("pandas.core.indexes.base", "Index"): _Pandas,
    ("pandas.core.indexes.base", "_new_Index"): _index,
    ("pandas.core.indexes.numeric", "Int64Index"): _Pandas,
    ("pandas.core.internals", "BlockManager"): _Pandas,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ValueError(
                f"the pickle asks for {module}.{name}, which no table of pandas 0.2x needs."
            ) from None


def read_old_pickle(path: Path) -> dict[str, Any]:
    """Read arrays and data frames that pandas 0.2x pickled as one dictionary.

    A pickle can run any code when it is opened. This one is taken apart by hand: only numpy arrays and the
    bare state of data frames are made, so that neither malice nor the pandas at hand matters.
    """
    with reading(path):
        with path.open("rb") as file:
            content = _Unpickler(file).load()
        return {key: _frame(v.state) if isinstance(v, _Pandas) else v for key, v in content.items()}


def _frame(state: Mapping[str, Any]) -> pd.DataFrame:
    parts = state["_data"].state[3]["0.14.1"]
    names, rows = parts["axes"]
    columns: dict[int, np.ndarray] = {}
    for block in parts["blocks"]:
        numbers = np.arange(len(names))[block["mgr_locs"]]
        columns |= dict(zip(numbers.tolist(), block["values"], strict=True))
    return pd.DataFrame({names[i]: columns[i] for i in range(len(names))}, index=rows)
