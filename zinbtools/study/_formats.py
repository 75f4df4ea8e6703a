"""The files that counts come in: what each is called, how it is known by its name, and how it is read."""

from __future__ import annotations

import csv
import gzip
import re
import shutil
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import read_elem, read_mtx
from scipy import sparse

from .._files.hdf5 import check_hdf5
from .._files.leftovers import own_folder
from .._files.zarr import check_zarr, without_pickle
from .._words.warn import warn

KINDS = (
    ".h5ad, .zarr, .h5 (Cell Ranger), .loom or .h5mu, a folder with matrix.mtx, or a table (.csv, .tsv, .txt)"
)
_GENES = "Gene Expression"
# What the names of cells and genes are called in loom files, the most common first.
_LOOM_CELLS = ("CellID", "obs_names", "cell_names", "barcode")
_LOOM_GENES = ("Gene", "var_names", "gene_names", "gene")
_A_GENE = re.compile(r"ENS[A-Z]*G\d{6,}|RP[LS]\d+|MT-[A-Z]|ACTB$|GAPDH$|MALAT1$|B2M$|EEF1A1$", re.IGNORECASE)
_A_BARCODE = re.compile(r"[ACGT]{8,}")


class Asked(NamedTuple):
    """What is to be read of a file that holds more than one matrix, or holds it the other way round."""

    modality: str | None = None
    transpose: bool = False


class Format(NamedTuple):
    """A kind of file.

    Attributes
    ----------
    name
        What it is called in a sentence.
    read
        Reads it.
    """

    name: str
    read: Callable[[Path, Asked], AnnData]


def format_of(path: Path, asked: Asked) -> Format:
    """Find the kind of a file by its name; ValueError for one of no kind, or that is not asked so."""
    name = path.name.lower()
    plain = name.removesuffix(".gz")
    if path.is_dir() and not name.endswith(".zarr"):
        found: Format | None = Format("a folder of matrix.mtx", _read_10x_folder)
    elif plain.endswith("matrix.mtx"):
        found = Format("a matrix with its tables of genes and cells", _read_10x_matrix)
    else:
        ending = Path(plain).suffix
        found = _BY_ENDING.get(ending)
        if found is not None and plain != name and ending not in _TABLES:
            found = None if ending == ".zarr" else Format(found.name, _unpacked(found.read, path.stem))
    if found is None:
        raise ValueError(
            f"{path.name} is of no kind that is read: {KINDS}; all but .zarr may end in .gz too."
        )
    if asked.modality is not None and Path(plain).suffix != ".h5mu":
        raise ValueError(
            f"modality={asked.modality!r} is a part of an .h5mu file, but found {path.name}; leave it out."
        )
    if asked.transpose and Path(plain).suffix not in _TABLES:
        raise ValueError(f"transpose=True is for tables of text, but found {path.name}; leave it out.")
    return found


def files_of(path: Path) -> list[Path]:
    """List the files that are read of a path that has a format."""
    name = path.name.lower()
    if name.endswith(".zarr"):
        return [found for found in path.rglob("*") if found.is_file()]
    if path.is_dir():
        return _files_of_matrix(path, "")
    if name.removesuffix(".gz").endswith("matrix.mtx"):
        return _files_of_matrix(path.parent, _prefix(path))
    return [path]


def _read_h5ad(path: Path, _: Asked) -> AnnData:
    check_hdf5(path)
    return anndata.read_h5ad(path)


def _read_zarr(path: Path, _: Asked) -> AnnData:
    check_zarr(path)
    with without_pickle():
        return anndata.read_zarr(path)


def _read_h5mu(path: Path, asked: Asked) -> AnnData:
    check_hdf5(path)
    with h5py.File(path, "r", locking=False) as file:
        if "mod" not in file:
            raise ValueError("it has no modalities; if it is an AnnData, let it end in .h5ad.")
        names = list(file["mod"])
        name = names[0] if asked.modality is None and len(names) == 1 else asked.modality
        if name not in names:
            there = ", ".join(map(repr, names))
            no = "" if asked.modality is None else f", and no {asked.modality!r}"
            raise ValueError(f"it holds the modalities {there}{no}; choose one, as by modality={names[0]!r}.")
        found: Any = read_elem(file["mod"][name])
    if not isinstance(found, AnnData):
        raise ValueError(f"modality {name!r} is no AnnData; write the file anew with mudata.")
    return found


def _read_10x_h5(path: Path, _: Asked) -> AnnData:
    import scanpy as sc

    check_hdf5(path)
    with h5py.File(path, "r", locking=False) as file:
        if {"X", "obs", "var"} <= set(file):
            raise ValueError("it is an AnnData; let its name end in .h5ad.")
    return _genes_of(sc.read_10x_h5(path, gex_only=False), path)


def _read_10x_matrix(path: Path, _: Asked) -> AnnData:
    """Read a matrix whose name tells those of its tables, as ``GSM1_matrix.mtx.gz`` does."""
    return _read_matrix(path.parent, _prefix(path))


def _prefix(path: Path) -> str:
    return path.name[: path.name.lower().rindex("matrix.mtx")]


def _read_10x_folder(path: Path, _: Asked) -> AnnData:
    return _read_matrix(path, "")


def _read_matrix(folder: Path, prefix: str) -> AnnData:
    """Read the matrix of genes by cells and both tables, packed or not, of any version of Cell Ranger."""
    matrix, features, barcodes = _files_of_matrix(folder, prefix)
    genes, cells = _table(features), _table(barcodes)
    counts = sparse.csr_matrix(read_mtx(matrix).X.T)
    if counts.shape != (len(cells), len(genes)):
        raise ValueError(
            f"{matrix.name} has {counts.shape[1]:,} rows and {counts.shape[0]:,} columns, but there are "
            f"{len(genes):,} genes and {len(cells):,} cells in the tables beside it."
        )
    var = pd.DataFrame({"gene_ids": genes[0].to_numpy()}, index=pd.Index(genes[min(1, genes.shape[1] - 1)]))
    if genes.shape[1] > 2:
        var["feature_types"] = genes[2].to_numpy()
    adata = AnnData(counts, obs=pd.DataFrame(index=pd.Index(cells[0])), var=var)
    adata.obs_names.name = adata.var_names.name = None
    return _genes_of(adata, folder)


def _files_of_matrix(folder: Path, prefix: str) -> list[Path]:
    """Find the matrix, the table of genes and that of cells."""
    tables = [[f"{prefix}features.tsv", f"{prefix}genes.tsv"], [f"{prefix}barcodes.tsv"]]
    return [_one_of(folder, *names) for names in ([f"{prefix}matrix.mtx"], *tables)]


def _one_of(folder: Path, *names: str) -> Path:
    found = [path for name in names for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if found:
        return found[0]
    there = sorted(path.name for path in folder.iterdir())
    inside = [name for name in there if name.endswith((".h5", ".mtx", ".mtx.gz")) or (folder / name).is_dir()]
    hint = f"; it holds {', '.join(inside[:6])}: name one of these" if inside else ""
    raise ValueError(f"there is no {' or '.join(names)} in the folder, packed by gzip or not{hint}.")


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)


def _genes_of(adata: AnnData, path: Path) -> AnnData:
    """Leave out features that are no genes, such as antibodies, and say so."""
    if path.name.startswith("raw_"):
        warn(
            f"{path.name} holds every barcode, droplets without a cell too; the matrix of cells is called "
            "filtered_feature_bc_matrix."
        )
    if "feature_types" not in adata.var or (are_genes := (adata.var["feature_types"] == _GENES)).all():
        return adata
    if not are_genes.any():
        raise ValueError(f"none of its features is of the type {_GENES!r}.")
    others = sorted(set(adata.var.loc[~are_genes, "feature_types"].astype(str)))
    warn(f"{(~are_genes).sum():,} features that are no genes are left out: {', '.join(others)}.")
    return adata[:, are_genes.to_numpy()].copy()


def _read_loom(path: Path, _: Asked) -> AnnData:
    try:
        import loompy  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError("loom files need the package loompy: pip install loompy.") from error
    check_hdf5(path)
    with h5py.File(path, "r", locking=False) as file:
        cells, genes = (list(file.get(place, ())) for place in ("col_attrs", "row_attrs"))
    obs_names = next((name for name in _LOOM_CELLS if name in cells), _LOOM_CELLS[0])
    var_names = next((name for name in _LOOM_GENES if name in genes), _LOOM_GENES[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # loompy and anndata use what numpy and pandas deprecate
        adata = anndata.io.read_loom(path, X_name="", obs_names=obs_names, var_names=var_names)
    adata.obs_names, adata.var_names = adata.obs_names.astype(str), adata.var_names.astype(str)
    return adata


def _read_csv(path: Path, asked: Asked) -> AnnData:
    return _read_table(path, ",", asked)


def _read_tsv(path: Path, asked: Asked) -> AnnData:
    return _read_table(path, "\t", asked)


def _read_table(path: Path, separator: str, asked: Asked) -> AnnData:
    """Read a table whose first row and first column hold the names; the corner may be empty or missing."""
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig") as file:
        header = next(csv.reader(file, delimiter=separator), [])
    kinds: Any = defaultdict(lambda: np.float32, {0: str})
    frame = pd.read_csv(
        path,
        sep=separator,
        header=None,
        skiprows=1,
        index_col=0,
        dtype=kinds,
        keep_default_na=False,
        na_values=[""],
        compression="gzip" if packed else None,
    )
    names = header[-frame.shape[1] :] if frame.shape[1] else []
    if not names or len(header) - len(names) not in (0, 1):
        raise ValueError(
            f"its first row has {len(header)} names where the next one has {frame.shape[1] + 1} fields; both "
            f"are parted by {'commas' if separator == ',' else 'tabs'}?"
        )
    rows = frame.index.astype(str)
    if rows.str.fullmatch(r"\d+").all() and not rows.is_unique:
        raise ValueError("its first column holds no names; put those of the rows there.")
    adata = AnnData(
        sparse.csr_matrix(frame.to_numpy()),
        obs=pd.DataFrame(index=pd.Index(rows.to_numpy(dtype=object))),
        var=pd.DataFrame(index=pd.Index(np.asarray(names, dtype=object))),
    )
    adata = adata.T if asked.transpose else adata
    if _share(_A_GENE, adata.obs_names) > 0.01 or _share(_A_BARCODE, adata.var_names) > 0.5:
        what = "leave transpose=True out" if asked.transpose else "give transpose=True"
        raise ValueError(f"its cells seem to be genes ({', '.join(adata.obs_names[:3])}); {what}.")
    adata.X = sparse.csr_matrix(adata.X)
    return adata


def _share(pattern: re.Pattern[str], names: pd.Index) -> float:
    return sum(pattern.match(str(name)) is not None for name in names) / max(len(names), 1)


def _unpacked(read: Callable[[Path, Asked], AnnData], name: str) -> Callable[[Path, Asked], AnnData]:
    """Unpack a file that was packed by gzip into a folder of its own, and read it there."""

    def unpack_and_read(path: Path, asked: Asked) -> AnnData:
        with own_folder(Path(gettempdir()), "zinbtools-") as folder:
            with gzip.open(path) as packed, (folder / name).open("wb") as file:
                shutil.copyfileobj(packed, file, 2**20)
            return read(folder / name, asked)

    return unpack_and_read


_BY_ENDING = {
    ".h5ad": Format("h5ad", _read_h5ad),
    ".zarr": Format("zarr", _read_zarr),
    ".h5": Format("an h5 file of Cell Ranger", _read_10x_h5),
    ".h5mu": Format("h5mu", _read_h5mu),
    ".loom": Format("loom", _read_loom),
    ".csv": Format("a table with commas", _read_csv),
    ".tsv": Format("a table with tabs", _read_tsv),
    ".txt": Format("a table with tabs", _read_tsv),
    ".tab": Format("a table with tabs", _read_tsv),
}
_TABLES = {".csv", ".tsv", ".txt", ".tab"}
