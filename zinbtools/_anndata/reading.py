"""Read matrices, columns, names and splits from an AnnData."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .rows import as_rows

SPLITS = ("train", "validation", "test")
FEWEST_TEST_CELLS = 2  # an error of a mean needs as many
FEWEST_FOLDS = 3


def check_anndata(adata: AnnData, copy: bool) -> None:
    """Refuse an AnnData that cannot be written to, or has no cells, no genes or ambiguous ones."""
    if adata.isbacked and (copy or adata.is_view):
        what = "copy=True" if copy else "a view"
        raise ValueError(
            f"{what} does not go with an AnnData backed by a file; call adata.to_memory() first."
        )
    check_shape(adata)
    gene_names(adata)


def check_shape(adata: AnnData) -> None:
    """Refuse an AnnData without cells or genes."""
    if 0 in adata.shape:
        raise ValueError(f"adata has {adata.n_obs} cells and {adata.n_vars} genes; both must be more than 0.")


def gene_names(adata: AnnData) -> pd.Index:
    """Return the genes' names as text, whatever ``var_names`` holds; refuse two that are the same."""
    names = pd.Index(
        [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in adata.var_names],
        dtype=object,
    )
    if not names.is_unique:
        name = names[names.duplicated()][0]
        raise ValueError(
            f"var_names must be unique as text, found {name!r} twice; call adata.var_names_make_unique()."
        )
    return names


def read_matrix(adata: AnnData, layer: str | None) -> sparse.csr_array:
    """Read ``X`` or a layer into memory as compressed rows, whatever it is stored in."""
    matrix = stored_matrix(adata, layer)
    if hasattr(matrix, "to_memory"):  # a sparse matrix in a file
        matrix = matrix.to_memory()
    if hasattr(matrix, "compute"):  # a dask array
        matrix = matrix.compute()
    return as_rows(matrix)


def stored_matrix(adata: AnnData, layer: str | None) -> Any:
    """Find ``X`` or a layer, and refuse what cannot hold counts; nothing is read yet."""
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


def read_mask(adata: AnnData, mask_var: str | np.ndarray | None) -> np.ndarray:
    """Read which genes to fit, boolean, (n_vars,)."""
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
    """Read or draw ``train``, ``validation`` or ``test`` for each cell, (n_obs,).

    Parameters
    ----------
    split
        Shares of the three, or a column of ``obs`` with these words. However small its share, the test split
        has two cells at least.
    stop_on
        The split that early stopping looks at; it and ``train`` must have cells.
    """
    if isinstance(split, str):
        labels = checked_column(adata.obs, split, "split", "obs").astype(str).to_numpy()
        unknown = sorted(set(labels) - set(SPLITS))
        if unknown:
            raise ValueError(
                f"split column {split!r} must hold {listing(SPLITS)}, found {listing(unknown[:1])}."
            )
    else:
        n_test, n_validation = (round(share * adata.n_obs) for share in (split[2], split[1]))
        if split[2] > 0:
            n_test = max(n_test, FEWEST_TEST_CELLS)
        labels = np.full(adata.n_obs, "train", dtype="<U10")
        order = np.random.default_rng(seed).permutation(adata.n_obs)
        labels[order[:n_test]] = "test"
        labels[order[n_test : n_test + n_validation]] = "validation"
    for name, least in (("train", 2), (stop_on, 1), ("test", FEWEST_TEST_CELLS)):
        found = int((labels == name).sum())
        if found < least:
            raise ValueError(
                f"split {split!r} leaves {found} {name} cells of {adata.n_obs}; at least {least} are needed."
            )
    return labels.astype(object)


def draw_folds(
    strata: np.ndarray, n_folds: int, seed: np.random.SeedSequence, stop_on: str = "validation"
) -> list[np.ndarray]:
    """Draw ``train``, ``validation`` or ``test`` for each cell, (n_obs,), once per fold.

    Every cell is a test cell once. The next fold validates, and the others train; the next one trains too
    where ``stop_on`` is ``test``. The cells of each stratum, (n_obs,) integers, are dealt to the folds in
    turn.
    """
    n_obs, fewest = len(strata), n_folds * FEWEST_TEST_CELLS
    if n_folds < FEWEST_FOLDS:
        raise ValueError(f"folds must be 1, or {FEWEST_FOLDS} or more, found {n_folds}.")
    if n_obs < fewest:
        raise ValueError(
            f"folds={n_folds} asks for at least {fewest} cells, {FEWEST_TEST_CELLS} in each, found {n_obs}."
        )
    order = np.random.default_rng(seed).permutation(n_obs)
    order = order[np.argsort(strata[order], kind="stable")]
    of_cell = np.empty(n_obs, dtype=np.int64)
    of_cell[order] = np.arange(n_obs) % n_folds
    labels = []
    for fold in range(n_folds):
        names = np.full(n_obs, "train", dtype=object)
        if stop_on == "validation":
            names[of_cell == (fold + 1) % n_folds] = "validation"
        names[of_cell == fold] = "test"
        labels.append(names)
    return labels


def checked_column(frame: pd.DataFrame, key: str, argument: str, where: str) -> pd.Series:
    """Return a column of ``obs`` or ``var``; KeyError with the argument's name if there is none."""
    if key not in frame:
        raise KeyError(f"{argument}: {key!r} is not in adata.{where}; there are {listing(frame.columns)}.")
    return frame[key]


def layer_names(adata: AnnData) -> list[str]:
    """List the layers; from anndata 0.13 on they hold ``X`` too, as None."""
    return [name for name in adata.layers if name is not None]


def listing(names: Iterable[Any]) -> str:
    """Write names for a sentence."""
    return ", ".join(repr(str(name)) for name in names) or "none"
