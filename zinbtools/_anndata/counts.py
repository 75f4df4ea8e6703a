"""Read raw counts from an AnnData, or refuse its numbers and say where counts may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from anndata import AnnData
from scipy import sparse

from .._record.keys import is_written
from .._words.count_kinds import CountKind, advice
from .._words.warn import warn
from .findings import Findings
from .kinds import MOLECULES, Finding
from .lazy import LazyCounts, bounds_of
from .reading import check_shape, gene_names, layer_names, read_mask, read_matrix, stored_matrix
from .rows import single_precision

LARGEST_COUNT = 2**31 - 1  # the models have it as float32, less than one part in ten million off
LARGEST_EXACT = 2**24  # float32 holds every whole number up to here
_TWINS = 0.01  # share of cells with the counts of another cell that is worth a word

Matrix: TypeAlias = sparse.csr_array | LazyCounts


@dataclass(frozen=True)
class Counts:
    """Raw counts of all cells and of the genes to be fitted.

    Attributes
    ----------
    matrix
        (n_obs, n_fitted) integers as float32, in memory or where they are stored.
    genes
        Which of the AnnData's genes they are, by index, (n_fitted,).
    digests
        By which the counts of each cell are known again, float64, (n_obs,).
    finding
        What the numbers are: molecules, or something else; not looked at where they were fitted before.
    """

    matrix: Matrix
    genes: np.ndarray
    digests: np.ndarray
    finding: Finding = MOLECULES

    def blocks(self) -> Iterator[sparse.csr_array]:
        """Give the counts of all cells in order, in blocks that fit into memory."""
        return iter(self.matrix if isinstance(self.matrix, LazyCounts) else (self.matrix,))


@dataclass(frozen=True)
class Place:
    """Where in an AnnData counts are, as users write it; for sentences."""

    adata: AnnData
    layer: str | None
    mask_var: str | np.ndarray | None = None

    def __str__(self) -> str:
        return "adata.X" if self.layer is None else f"layer {self.layer!r}"

    @property
    def code(self) -> str:
        return "adata.X" if self.layer is None else f"adata.layers[{self.layer!r}]"

    def raw_counts(self) -> str:
        """Suggest where raw counts may be, those first whose names say so."""
        others = [name for name in layer_names(self.adata) if name != self.layer and not is_written(name)]
        others.sort(key=lambda name: not any(word in name.lower() for word in ("count", "raw", "umi")))
        places = ["layer=None (X)"] if self.layer is not None and self.adata.X is not None else []
        places += [f"layer={name!r}" for name in others]
        if self.adata.raw is not None:
            places.append("adata.raw.to_adata()")
        return f"give raw counts: perhaps {' or '.join(places)}" if places else "give raw counts"

    def without_empty(self, what: str) -> str:
        """Write the code that drops cells, or genes, without a count here."""
        if self.layer is None and self.mask_var is None:
            return f"as sc.pp.filter_{what}(adata, min_counts=1) does"
        mask = f"adata.var[{self.mask_var!r}]" if isinstance(self.mask_var, str) else "mask_var"
        if what == "genes":
            kept = f"adata[:, np.ravel({self.code}.sum(0)) > 0]"
        elif self.mask_var is None:
            kept = f"adata[np.ravel({self.code}.sum(1)) > 0]"
        else:
            kept = f"adata[np.ravel({self.code}[:, np.flatnonzero({mask})].sum(1)) > 0]"
        return f"adata = {kept}.copy()"


def read_counts(
    adata: AnnData,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    check: bool = True,
    empty_genes: bool = False,
) -> Counts:
    """Read the raw counts of the genes in ``mask_var`` and check them.

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

    Warns
    -----
    UserWarning
        If numbers were rounded, if they are whole but look like no counts, or if cells are there twice.
    """
    place = Place(adata, layer, mask_var)
    genes = np.flatnonzero(read_mask(adata, mask_var))
    matrix, found = look(adata, layer, genes)
    refuse_numbers(found, place)
    if check:
        refuse_unless_whole(found, place)
    if not found.are_whole:
        warn(f"{place} holds numbers that are not whole; they are rounded.")
        matrix, found = rounded(matrix)
    refuse_empty(found, place, genes, empty_genes=empty_genes)
    counts = Counts(matrix, genes, found.digests)
    finding = found.finding(lambda: next(counts.blocks()))
    _warn(found, finding, place)
    return replace(counts, finding=finding)


def exact_counts(adata: AnnData, layer: str | None = None, *, copy: bool) -> sparse.csr_array:
    """Read all raw counts, exactly and without zeros; cells and genes may be without a count.

    Returns
    -------
    (n_obs, n_vars), of the `exact_type` of the counts; with ``copy`` the arrays are nobody else's.

    Raises
    ------
    KeyError, TypeError, ValueError
        As `read_counts`, and for an AnnData without cells or genes.
    """
    check_shape(adata)
    place, found = Place(adata, layer), Findings(np.arange(adata.n_vars))
    counts = found.add(read_matrix(adata, layer))
    refuse_numbers(found, place)
    refuse_unless_whole(found, place)
    return counts.astype(exact_type(counts.data), copy=copy)


def exact_type(counts: np.ndarray) -> type[np.float32 | np.float64]:
    """Choose float32 where it holds all of these counts exactly, else float64."""
    return np.float32 if counts.max(initial=0) <= LARGEST_EXACT else np.float64


def look(adata: AnnData, layer: str | None, genes: np.ndarray) -> tuple[Matrix, Findings]:
    """Read the numbers of some genes, by index, and examine them; nothing is refused."""
    stored = stored_matrix(adata, layer)
    bounds = bounds_of(stored)
    found = Findings(genes)
    if bounds is None:
        return single_precision(found.add(read_matrix(adata, layer))), found
    matrix = LazyCounts(stored, bounds, genes)
    for rows in matrix.all_rows():
        found.add(rows)
    return matrix, found


def rounded(matrix: Matrix) -> tuple[Matrix, Findings]:
    """Round numbers, and examine the whole ones."""
    found = Findings(np.arange(matrix.shape[1]))
    if isinstance(matrix, LazyCounts):
        matrix = replace(matrix, rounded=True)
        for rows in matrix:
            found.add(rows)
        return matrix, found
    matrix = matrix.copy()
    matrix.data = np.rint(matrix.data)
    return found.add(matrix), found


def refuse_numbers(found: Findings, place: Place) -> None:
    """Refuse numbers that no count can be."""
    if found.n_bad:
        raise ValueError(
            f"{place} holds {found.n_bad} numbers that are NaN or infinite; if they came with "
            "anndata.concat(join='outer'), use join='inner' or fill_value=0."
        )
    if found.smallest < 0:
        raise ValueError(
            f"{place} holds negative numbers (smallest {found.smallest:g}), as scaled data do; "
            f"{place.raw_counts()}."
        )
    if found.largest > LARGEST_COUNT:
        raise ValueError(f"{place} holds {found.largest:g}, more than the largest count allowed, 2^31 - 1.")


def refuse_unless_whole(found: Findings, place: Place) -> None:
    """Refuse numbers that are not whole, and say what they may be."""
    if found.are_whole:
        return
    rounding = f"{place.code} = np.rint({place.code}), or check_counts=False where it can be given"
    if found.are_recovered:
        raise ValueError(
            f"{place} holds numbers that are whole only to within {found.furthest:.0e}, as counts recovered "
            f"from logs are; round them: {rounding}."
        )
    raise ValueError(
        f"{place} holds numbers that are not whole, as ambient-corrected, log-transformed or normalised "
        f"numbers are; {place.raw_counts()}; or round them, if they are corrected counts: {rounding}."
    )


def refuse_empty(found: Findings, place: Place, genes: np.ndarray, *, empty_genes: bool) -> None:
    """Refuse cells, and on request genes, without a count."""
    within = "" if place.mask_var is None else " within mask_var"
    kinds = [("cells", place.adata.obs_names, found.of_cells)]
    kinds += [] if empty_genes else [("genes", gene_names(place.adata)[genes], found.of_genes)]
    for what, names, sizes in kinds:
        empty = names[sizes == 0]
        if len(empty):
            some = ", ".join(map(repr, empty[:3])) + (", ..." if len(empty) > 3 else "")
            raise ValueError(
                f"{len(empty)} {what} have no count in {place}{within} ({some}); "
                f"remove them: {place.without_empty(what)}."
            )


def _warn(found: Findings, finding: Finding, place: Place) -> None:
    """Warn of what makes one doubt that numbers are counts of different cells."""
    n_twins = found.n_twins()
    if finding.sign:
        what = "reads" if finding.kind == CountKind.READS else "no counts of molecules"
        warn(f"{place} may hold {what}: {finding.sign}. {advice(finding.kind)}.")
    if n_twins > _TWINS * len(found.of_cells):
        warn(
            f"{n_twins} cells have the same counts as another cell, as if samples had been merged twice; "
            "a test cell whose twin was trained on is not new to the models: drop one of each pair."
        )
