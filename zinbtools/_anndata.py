"""The only door between AnnData and the numbers: checked counts and covariates in, results out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from ._keys import Keys
from ._stored import StoredCounts, as_rows, bounds_of, is_outside, tidy

SPLITS = ("train", "validation", "test")
_LARGEST_COUNT = 2**31 - 1


@dataclass(frozen=True)
class Counts:
    """Raw counts of all cells and of the genes to be fitted.

    Attributes
    ----------
    matrix
        (n_obs, n_fitted) integers as float32, in memory or where they are stored.
    genes
        Which of the AnnData's genes they are, boolean, (n_vars,).
    """

    matrix: sparse.csr_array | StoredCounts
    genes: np.ndarray

    def blocks(self) -> Iterator[sparse.csr_array]:
        """The counts of all cells in order, in blocks that fit into memory."""
        return iter(self.matrix if isinstance(self.matrix, StoredCounts) else (self.matrix,))


def check_anndata(adata: Any, copy: bool) -> None:
    """Refuse what is not an AnnData, cannot be written to, or has no cells, no genes or ambiguous ones."""
    if not isinstance(adata, AnnData):
        raise TypeError(f"adata must be an AnnData, found {type(adata).__name__}.")
    if adata.isbacked and (copy or adata.is_view):
        what = "copy=True" if copy else "a view"
        raise ValueError(
            f"{what} does not go with an AnnData backed by a file; call adata.to_memory() first."
        )
    if 0 in adata.shape:
        raise ValueError(f"adata has {adata.n_obs} cells and {adata.n_vars} genes; both must be more than 0.")
    if not adata.var_names.is_unique:
        name = adata.var_names[adata.var_names.duplicated()][0]
        raise ValueError(
            f"var_names must be unique, found {name!r} twice; call adata.var_names_make_unique()."
        )


def read_matrix(adata: AnnData, layer: str | None) -> sparse.csr_array:
    """``X`` or a layer in memory as compressed rows, whatever it is stored in; the AnnData is left alone."""
    matrix = _stored_matrix(adata, layer)
    if hasattr(matrix, "to_memory"):  # a sparse matrix in a file
        matrix = matrix.to_memory()
    if hasattr(matrix, "compute"):  # a dask array
        matrix = matrix.compute()
    return as_rows(matrix)


def _stored_matrix(adata: AnnData, layer: str | None) -> Any:
    """``X`` or a layer as it is, if it can hold counts."""
    if layer is not None and layer not in adata.layers:
        raise KeyError(f"layer {layer!r} is not in adata.layers; there are {listing(layer_names(adata))}.")
    matrix: Any = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise ValueError(
            f"adata.X is empty; name the layer with the raw counts: there are {listing(layer_names(adata))}."
        )
    if hasattr(matrix, "numblocks") and matrix.numblocks[1] > 1:
        raise ValueError(
            f"the dask array is chunked along genes ({matrix.numblocks[1]} chunks); "
            "rechunk it to whole rows with .rechunk({1: -1})."
        )
    if matrix.dtype.kind not in "fiub":
        raise TypeError(f"counts must be numbers, found dtype {matrix.dtype}.")
    return matrix


def read_counts(
    adata: AnnData,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    check: bool = True,
    empty_genes: bool = False,
) -> Counts:
    """Raw counts of the genes in ``mask_var``, checked.

    Parameters
    ----------
    layer
        Key of ``adata.layers``; ``None`` is ``adata.X``.
    mask_var
        Boolean column of ``adata.var``, or boolean array, (n_vars,); ``None`` is all genes.
    check
        Refuse numbers that are not whole; otherwise warn and round them.
    empty_genes
        Allow genes without a count, as some of the cells that were fitted may have.

    Raises
    ------
    ValueError
        For negative, not finite, not whole or too large numbers, cells or genes without a count.
    KeyError, TypeError
        For a missing layer or column, and for what is not numbers.
    """
    genes = read_mask(adata, mask_var)
    stored = _stored_matrix(adata, layer)
    bounds = bounds_of(stored) if is_outside(stored) else None
    found = _Findings(genes)
    matrix: sparse.csr_array | StoredCounts
    if bounds is None:
        matrix = found.add(read_matrix(adata, layer))
    else:
        matrix = StoredCounts(stored, bounds, genes)
        for rows in matrix.all_rows():
            found.add(rows)
    place = "adata.X" if layer is None else f"layer {layer!r}"
    found.refuse_numbers(adata, place, layer)
    if not found.are_whole:
        message = f"{place} holds numbers that are not whole{_kind_of_values(found.largest_fitted)}"
        if check:
            raise ValueError(f"{message}; give raw counts: {_raw_places(adata, layer)}.")
        warnings.warn(f"{message}; they are rounded.", UserWarning, stacklevel=3)
        matrix, found = _rounded(matrix)
    within = "" if genes.all() else " within mask_var"
    _refuse_empty("cells", adata.obs_names, found.of_cells, within, "sc.pp.filter_cells(min_counts=1)")
    if not empty_genes:
        names = adata.var_names[genes]
        _refuse_empty("genes", names, found.of_genes, within, "sc.pp.filter_genes(min_counts=1)")
    if isinstance(matrix, sparse.csr_array):
        matrix = matrix.astype(np.float32, copy=False)
    return Counts(matrix, genes)


class _Findings:
    """What is learned of a matrix as its rows go by.

    Attributes
    ----------
    n_bad, smallest, largest
        Of all numbers: how many are not finite, and the range.
    largest_fitted, are_whole
        Of the numbers of the fitted genes.
    of_genes
        Cells with a count of each fitted gene.
    """

    def __init__(self, genes: np.ndarray) -> None:
        self._genes = genes
        self.n_bad, self.smallest, self.largest, self.largest_fitted = 0, 0.0, 0.0, 0.0
        self.are_whole = True
        self.of_genes = np.zeros(int(genes.sum()), dtype=np.int64)
        self._of_cells: list[np.ndarray] = []

    @property
    def of_cells(self) -> np.ndarray:
        """Fitted genes with a count in each cell."""
        return np.concatenate(self._of_cells)

    def add(self, rows: sparse.csr_array) -> sparse.csr_array:
        """Look at rows of all genes; they come back tidy, with the fitted genes only."""
        if rows.data.size:
            finite = np.isfinite(rows.data)
            self.n_bad += int(finite.size - np.count_nonzero(finite))
            self.smallest = min(self.smallest, rows.data.min())
            self.largest = max(self.largest, rows.data.max())
        rows = tidy(rows if self._genes.all() else rows[:, self._genes])
        for part in _chunks(rows.data):
            self.are_whole = self.are_whole and np.array_equal(part, np.rint(part))
        if rows.data.size:
            self.largest_fitted = max(self.largest_fitted, rows.data.max())
        self._of_cells.append(np.diff(rows.indptr))
        for part in _chunks(rows.indices):
            self.of_genes += np.bincount(part, minlength=len(self.of_genes))
        return rows

    def refuse_numbers(self, adata: AnnData, place: str, layer: str | None) -> None:
        """ValueError for what counts cannot be."""
        if self.n_bad:
            raise ValueError(f"{place} holds {self.n_bad} numbers that are NaN or infinite.")
        if self.smallest < 0:
            raise ValueError(
                f"{place} holds negative numbers (smallest {self.smallest:g}), as scaled data do; "
                f"give raw counts: {_raw_places(adata, layer)}."
            )
        if self.largest > _LARGEST_COUNT:
            raise ValueError(
                f"{place} holds {self.largest:g}, more than the largest count allowed, 2^31 - 1."
            )


def _rounded(
    matrix: sparse.csr_array | StoredCounts,
) -> tuple[sparse.csr_array | StoredCounts, _Findings]:
    """Whole numbers, and what is to be found in them."""
    found = _Findings(np.ones(matrix.shape[1], dtype=bool))
    if isinstance(matrix, StoredCounts):
        matrix = replace(matrix, rounded=True)
        for rows in matrix:
            found.add(rows)
        return matrix, found
    matrix = matrix.copy()
    matrix.data = np.rint(matrix.data)
    return found.add(matrix), found


def _chunks(values: np.ndarray, size: int = 2**20) -> Iterator[np.ndarray]:
    """Parts of an array, so that what is derived from each stays small."""
    return (values[start : start + size] for start in range(0, max(len(values), 1), size))


def read_mask(adata: AnnData, mask_var: str | np.ndarray | None) -> np.ndarray:
    """Which genes to fit, boolean, (n_vars,)."""
    if mask_var is None:
        return np.ones(adata.n_vars, dtype=bool)
    if isinstance(mask_var, str):
        mask = checked_column(adata.var, mask_var, "mask_var", "var").to_numpy()
    else:
        mask = np.asarray(mask_var)
    if mask.dtype != bool or mask.shape != (adata.n_vars,):
        raise ValueError(
            f"mask_var must be boolean of length {adata.n_vars}, found {mask.dtype} of shape {mask.shape}."
        )
    if not mask.any():
        raise ValueError("mask_var selects no gene; select at least one.")
    return mask


def read_split(
    adata: AnnData, split: Sequence[float] | str, seed: np.random.SeedSequence, stop_on: str = "validation"
) -> np.ndarray:
    """``train``, ``validation`` or ``test`` for each cell, (n_obs,).

    Parameters
    ----------
    split
        Shares of the three, or a column of ``obs`` with these words.
    stop_on
        The split that early stopping looks at; it and ``train`` must have cells.
    """
    if isinstance(split, str):
        labels = checked_column(adata.obs, split, "split", "obs").astype(str).to_numpy()
        unknown = sorted(set(labels) - set(SPLITS))
        if unknown:
            raise ValueError(f"split column {split!r} must hold {listing(SPLITS)}, found {unknown[0]!r}.")
    else:
        try:
            shares = np.asarray(split, dtype=float)
        except (TypeError, ValueError):  # what is not numbers is refused with the rest
            shares = np.zeros(0)
        if shares.shape != (3,) or not (shares >= 0).all() or not np.isclose(shares.sum(), 1):
            raise ValueError(
                f"split must be three shares (train, validation, test) that sum to 1, found {split}."
            )
        n_test, n_validation = (round(share * adata.n_obs) for share in (shares[2], shares[1]))
        labels = np.full(adata.n_obs, "train", dtype="<U10")
        order = np.random.default_rng(seed).permutation(adata.n_obs)
        labels[order[:n_test]] = "test"
        labels[order[n_test : n_test + n_validation]] = "validation"
    for name, least in (("train", 2), (stop_on, 1), ("test", 1)):
        found = int((labels == name).sum())
        if found < least:
            raise ValueError(
                f"split {split!r} leaves {found} {name} cells of {adata.n_obs}; at least {least} are needed."
            )
    return labels.astype(object)


@dataclass
class Results:
    """All that a fit writes, collected first, so that nothing is written if something goes wrong."""

    obsm: dict[str, np.ndarray] = field(default_factory=dict)
    layers: dict[str, np.ndarray] = field(default_factory=dict)
    obs: dict[str, Any] = field(default_factory=dict)
    var: dict[str, np.ndarray] = field(default_factory=dict)
    uns: dict[str, Any] = field(default_factory=dict)

    def write(self, adata: AnnData, keys: Keys) -> None:
        """Put the results in their places, and take away what is left there of an earlier fit."""
        for place, names in keys.all_names().items():
            for name in names:
                if name in getattr(adata, place):
                    del getattr(adata, place)[name]
        for place in ("obsm", "layers", "obs", "var"):
            for name, values in getattr(self, place).items():
                getattr(adata, place)[name] = values
        adata.uns[keys.uns] = self.uns


def writable(adata: AnnData, copy: bool) -> AnnData:
    """The object to write into: a copy on request; a view is turned into an AnnData of its own."""
    target = adata.copy() if copy else adata
    if target.is_view:
        warnings.warn("adata is a view and is turned into an AnnData of its own.", UserWarning, stacklevel=4)
        target._init_as_actual(target.copy())
    return target


def spread(values: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Values of the fitted genes, (..., n_fitted), among all genes, (..., n_vars), NaN elsewhere."""
    if genes.all():
        return values
    full = np.full((*values.shape[:-1], len(genes)), np.nan, dtype=values.dtype)
    full[..., genes] = values
    return full


def storable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as h5ad and zarr can hold them: without ``None`` and empty ones, lists as string arrays."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            value = storable(value)
        elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            value = np.array(value, dtype=object)
        if value is None or (hasattr(value, "__len__") and len(value) == 0):
            continue
        kept[name] = value
    return kept


def _kind_of_values(largest: float) -> str:
    """A guess at what numbers that are not whole might be."""
    return ", as log-transformed data do" if largest < 20 else ", as normalised data do"


def _raw_places(adata: AnnData, layer: str | None) -> str:
    """Where in this AnnData raw counts may be."""
    places = ["layer=None (X)"] if layer is not None and adata.X is not None else []
    places += [f"layer={name!r}" for name in layer_names(adata) if name != layer]
    if adata.raw is not None:
        places.append("adata.raw.to_adata()")
    return f"perhaps {' or '.join(places)}" if places else "no other layer is there"


def _refuse_empty(what: str, names: pd.Index, sizes: np.ndarray, within: str, remedy: str) -> None:
    empty = names[sizes == 0]
    if len(empty):
        some = ", ".join(map(repr, empty[:3])) + (", ..." if len(empty) > 3 else "")
        raise ValueError(
            f"{len(empty)} {what} have no count{within} ({some}); remove them, as {remedy} does."
        )


def checked_column(frame: pd.DataFrame, key: str, argument: str, where: str) -> pd.Series:
    if key not in frame:
        raise KeyError(f"{argument}: {key!r} is not in adata.{where}; there are {listing(frame.columns)}.")
    return frame[key]


def layer_names(adata: AnnData) -> list[str]:
    """From anndata 0.13 on the layers hold ``X`` too, as None."""
    return [name for name in adata.layers if name is not None]


def listing(names: Iterable[Any]) -> str:
    return ", ".join(repr(str(name)) for name in names) or "none"
