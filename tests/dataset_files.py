"""Writers of small files in the formats in which the study's data sets are published."""

from __future__ import annotations

import bz2
import gzip
import pickle
import struct
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import mmwrite


def counts_of(n_obs: int, n_vars: int, seed: int = 0) -> np.ndarray:
    """Counts, cells by genes, with zeros but no empty cell."""
    counts = np.random.default_rng(seed).poisson(1.0, (n_obs, n_vars))
    counts[:, 0] += 1
    return counts


def write_10x_folder(
    folder: Path,
    counts: np.ndarray,
    barcodes: list[str],
    genes: list[str],
    symbols: list[str],
    version: int = 2,
) -> Path:
    folder.mkdir(parents=True)
    matrix = sparse.coo_matrix(counts.T)
    table = pd.DataFrame({"id": genes, "symbol": symbols})
    if version == 2:
        mmwrite(folder / "matrix.mtx", matrix, field="integer")
        table.to_csv(folder / "genes.tsv", sep="\t", header=False, index=False)
        (folder / "barcodes.tsv").write_text("\n".join(barcodes) + "\n")
    else:
        with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
            mmwrite(file, matrix, field="integer")
        table = table.assign(kind="Gene Expression")
        table.to_csv(folder / "features.tsv.gz", sep="\t", header=False, index=False)
        pd.Series(barcodes).to_csv(folder / "barcodes.tsv.gz", header=False, index=False)
    return folder


def write_10x_tar(
    path: Path, counts: np.ndarray, barcodes: list[str], genes: list[str], symbols: list[str]
) -> Path:
    root = path.parent / f"{path.name}.content"
    write_10x_folder(root / "filtered_gene_bc_matrices" / "GRCh38", counts, barcodes, genes, symbols)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root / "filtered_gene_bc_matrices", "filtered_gene_bc_matrices")
    return path


def write_10x_h5(
    path: Path,
    counts: np.ndarray,
    barcodes: list[str],
    genes: list[str],
    symbols: list[str],
    version: int = 2,
) -> Path:
    matrix = sparse.csc_matrix(counts.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("mm10" if version == 2 else "matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = matrix.shape
        group["barcodes"] = np.array(barcodes, dtype="S")
        if version == 2:
            group["genes"], group["gene_names"] = np.array(genes, dtype="S"), np.array(symbols, dtype="S")
        else:
            features = {"id": genes, "name": symbols, "feature_type": ["Gene Expression"] * len(genes)}
            for name, values in (features | {"genome": ["mm10"] * len(genes)}).items():
                group[f"features/{name}"] = np.array(values, dtype="S")
    return path


def write_loom(path: Path, counts: np.ndarray, genes: list[str], columns: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        file["matrix"] = counts.T.astype(np.int64)
        file["row_attrs/Gene"] = np.array(genes, dtype="S")
        for name, values in columns.items():
            file[f"col_attrs/{name}"] = values
    return path


def write_old_h5ad(path: Path, counts: np.ndarray, genes: list[str], sample: list[str]) -> Path:
    """As anndata 0.6 did: tables as compound arrays, categories in ``uns``."""
    matrix = sparse.csr_matrix(counts, dtype=np.float32)
    names, codes = np.unique(np.array(sample, dtype="S"), return_inverse=True)
    with h5py.File(path, "w") as file:
        for name in ("data", "indices", "indptr"):
            file[f"X/{name}"] = getattr(matrix, name)
        file["X"].attrs["h5sparse_format"] = b"csr"
        file["X"].attrs["h5sparse_shape"] = np.array(matrix.shape)
        obs = [(f"cell{i}".encode(), code) for i, code in enumerate(codes)]
        file["obs"] = np.array(obs, dtype=[("index", "S8"), ("sample", "i1")])
        file["var"] = np.array([(gene.encode(),) for gene in genes], dtype=[("index", "S12")])
        file["uns/sample_categories"] = names
    return path


def write_cortex(path: Path, counts: np.ndarray, genes: list[str], cells: dict[str, list[Any]]) -> Path:
    n_obs = len(counts)
    lines = [["(none)" if "class" in name else "", name, *map(str, row)] for name, row in cells.items()]
    lines.append([""] * (n_obs + 2))
    lines += [
        [gene, str(i % 9), *map(str, row)] for i, (gene, row) in enumerate(zip(genes, counts.T, strict=True))
    ]
    text = "\n".join("\t".join(line) for line in lines) + "\n"
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as file:
            file.write(text)
    else:
        path.write_text(text)
    return path


class DataFrame:
    """What pandas 0.22 pickled of a data frame; its module is renamed in the bytes."""

    def __init__(self, columns: dict[str, np.ndarray], index: Any) -> None:
        self.columns, self.index = columns, np.asarray(index)

    def __getstate__(self) -> dict[str, Any]:
        numbers = {
            kind: [i for i, v in enumerate(self.columns.values()) if v.dtype.kind == kind] for kind in "fi"
        }
        values = list(self.columns.values())
        blocks = [
            {"values": np.array([values[i] for i in rows]), "mgr_locs": np.array(rows)}
            for rows in numbers.values()
            if rows
        ]
        axes = [Index(np.array(list(self.columns), dtype=object)), Index(self.index)]
        manager = BlockManager(([], [], [], {"0.14.1": {"axes": axes, "blocks": blocks}}))
        return {"_data": manager, "_typ": "dataframe", "_metadata": []}


class BlockManager:
    def __init__(self, state: Any) -> None:
        self.content = state

    def __getstate__(self) -> Any:
        return self.content


class Index:
    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return _new_Index, (Index, {"data": self.data, "name": None})


def _new_Index(kind: type, fields: dict[str, Any]) -> Any:
    raise NotImplementedError("only for its name in a pickle")


_OLD_NAMES = {
    "DataFrame": "pandas.core.frame",
    "BlockManager": "pandas.core.internals",
    "Index": "pandas.core.indexes.base",
    "_new_Index": "pandas.core.indexes.base",
}


def write_old_pickle(path: Path, content: dict[str, Any]) -> Path:
    """Write as Python 3.6 with pandas 0.22 and numpy 1.14 did."""
    raw = pickle.dumps(content, protocol=3)
    for name, module in _OLD_NAMES.items():
        raw = raw.replace(f"c{__name__}\n{name}\n".encode(), f"c{module}\n{name}\n".encode())
    raw = raw.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.write_bytes(raw)
    return path


def write_rda(path: Path, tables: dict[str, pd.DataFrame], version: int = 3) -> Path:
    """As R's ``save`` does, in its binary format; a name comes whole once, and then by its number."""
    symbols: list[str] = []

    def words(*numbers: int) -> bytes:
        return struct.pack(f">{len(numbers)}i", *numbers)

    def text(value: str) -> bytes:
        return words(9 | (1 << 18 if value.isascii() else 1 << 15), len(value.encode())) + value.encode()

    def strings(values: Any) -> bytes:
        return words(16, len(values)) + b"".join(map(text, values))

    def pairs(content: dict[str, Callable[[], bytes]]) -> bytes:
        parts = []
        for name, value in content.items():
            if name in symbols:
                parts.append(words(2 | 0x400, (symbols.index(name) + 1) << 8 | 255))
            else:
                symbols.append(name)
                parts.append(words(2 | 0x400, 1) + text(name))
            parts.append(value())
        return b"".join(parts) + words(254)

    def vector(column: pd.Series) -> bytes:
        if isinstance(column.dtype, pd.CategoricalDtype):
            of_levels = {
                "levels": lambda: strings(column.cat.categories),
                "class": lambda: strings(["factor"]),
            }
            return words(13 | 0x300, len(column), *(column.cat.codes + 1)) + pairs(of_levels)
        if column.dtype.kind in "fi":
            kind, dtype = (14, ">f8") if column.dtype.kind == "f" else (13, ">i4")
            return words(kind, len(column)) + column.to_numpy(dtype).tobytes()
        return strings(column)

    def frame(table: pd.DataFrame) -> bytes:
        is_named = not isinstance(table.index, pd.RangeIndex)
        of_table = {
            "names": lambda: strings(table.columns),
            "class": lambda: strings(["data.frame"]),
            "row.names": lambda: strings(table.index) if is_named else words(13, 2, -(2**31), -len(table)),
        }
        columns = b"".join(vector(table[name]) for name in table)
        return words(19 | 0x300, table.shape[1]) + columns + pairs(of_table)

    start = b"RDX%d\nX\n" % version + words(version, 0x040001, 0x020300)
    if version == 3:
        start += words(5) + b"UTF-8"
    path.write_bytes(
        bz2.compress(start + pairs({name: partial(frame, table) for name, table in tables.items()}))
    )
    return path
