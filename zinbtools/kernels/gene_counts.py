"""The counts of one gene as its likelihood takes them: zeros and others, each sorted by row of the design.

Molecules and reads are two types, for which all that takes a gene is compiled apart: without what is of reads
alone that takes three quarters of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from math import lgamma, log
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from .double import EXACT, compiled, merged
from .gene_reads import Amplification, Reads, trace


class Gene(NamedTuple):
    """Counts of one gene.

    Attributes
    ----------
    zero_mean, zero_dispersion, zero_odds, zero_start
        Given means, dispersions and odds of a dropout of the cells without a count, and where each row of the
        design starts.
    mean, dispersion, odds, counts, start
        The same of the others, and their counts.
    same_odds
        Whether all cells have odds of 1.
    value, value_dispersion, multiplicity
        The different counts in increasing order, their dispersion, and how many cells have each; where
        dispersions differ, the counts as they come. Of reads, the numbers of molecules over which sums run.
    place
        Where among these the count of each cell is; of reads, the first number of molecules.
    reads
        The reads, where the counts are no molecules; ``counts`` are then what molecules to expect.
    precision
        Of the prior of the log factor of the reads' copies.
    constant, constant_odds
        The share of the log likelihood that no parameter changes, and that of the given odds of its zeros.
    scratch
        Room for two numbers a zero.
    """

    zero_mean: np.ndarray
    zero_dispersion: np.ndarray
    zero_odds: np.ndarray
    zero_start: np.ndarray
    mean: np.ndarray
    dispersion: np.ndarray
    odds: np.ndarray
    same_odds: bool
    counts: np.ndarray
    start: np.ndarray
    value: np.ndarray
    value_dispersion: np.ndarray
    multiplicity: np.ndarray
    place: np.ndarray
    reads: Reads | None
    precision: float
    constant: float
    constant_odds: float
    scratch: np.ndarray


def by_kind(of_molecules: Callable[..., Any], of_reads: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is either function in compiled code, by whether its arguments are of molecules.

    These have the same parameters, and among them an `Amplification` or a `Gene`.
    """

    def chosen(*arguments: Any) -> Any:
        raise NotImplementedError("for compiled code only")

    def of(*arguments: types.Type) -> Callable[..., Any]:
        return of_molecules if any(map(_is_of_molecules, arguments)) else of_reads

    of.__signature__ = signature(of_molecules)  # type: ignore[attr-defined]  # which the compiler compares
    overload(chosen, jit_options=EXACT)(of)
    return chosen


def _is_of_molecules(argument: types.Type) -> bool:
    if isinstance(argument, types.NamedTuple) and argument.instance_class is Gene:
        argument = argument.types[Gene._fields.index("reads")]
    return isinstance(argument, types.NoneType)


class _Layout(NamedTuple):
    """What a `Gene` has of its positive counts; see there."""

    counts: np.ndarray
    value: np.ndarray
    value_dispersion: np.ndarray
    multiplicity: np.ndarray
    place: np.ndarray
    reads: Reads | None
    precision: float


@merged
def _of_sums(
    reads: Reads, place: np.ndarray, molecules: np.ndarray, dispersion: np.ndarray, same: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers of molecules, their dispersions, and where those of each count start.

    All counts share the numbers, unless their dispersions differ.
    """
    n = len(place)
    if same:
        end = 0
        for i in range(n):
            end = max(end, place[i] + reads.start[i + 1] - reads.start[i])
        return molecules[:end], np.full(end, dispersion[0] if n else 1.0), place
    value, of_value = np.empty(reads.start[n]), np.empty(reads.start[n])
    for i in range(n):
        for j in range(reads.start[i], reads.start[i + 1]):
            value[j], of_value[j] = molecules[place[i] + j - reads.start[i]], dispersion[i]
    return value, of_value, reads.start[:n]


@merged
def _different(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the different counts in increasing order, the number of each, and the place of every count."""
    order, k = np.argsort(counts), -1
    value, multiplicity, place = np.empty(len(counts)), np.empty(len(counts)), np.empty(len(counts), np.int64)
    for i in order:
        if k < 0 or counts[i] != value[k]:
            k += 1
            value[k], multiplicity[k] = counts[i], 0.0
        multiplicity[k] += 1.0
        place[i] = k
    return value[: k + 1], multiplicity[: k + 1], place


def _of_molecules(
    counts: np.ndarray,
    dispersion: np.ndarray,
    same: bool,
    cells: np.ndarray,
    amplification: Amplification | None,
    log_factor: float,
) -> _Layout:
    """Lay out positive counts, in ``cells`` with a ``dispersion`` that is the ``same`` in all or not."""
    n = len(counts)
    if not same:
        return _Layout(counts, counts, dispersion, np.ones(n), np.arange(n), None, 0.0)
    value, multiplicity, place = _different(counts)
    of_value = np.full(len(value), dispersion[0] if n else 1.0)
    return _Layout(counts, value, of_value, multiplicity, place, None, 0.0)


def _of_reads(
    counts: np.ndarray,
    dispersion: np.ndarray,
    same: bool,
    cells: np.ndarray,
    amplification: Amplification | None,
    log_factor: float,
) -> _Layout:
    """As `_of_molecules`."""
    assert amplification is not None
    copies, shape = amplification.copies[cells], amplification.shape[cells]
    reads, place = trace(counts, copies, shape, log_factor, amplification)
    expected = np.maximum(counts / (1.0 + (copies - 1.0) * np.exp(log_factor)), 1.0)
    value, of_value, place = _of_sums(reads, place, amplification.grid.molecules, dispersion, same)
    return _Layout(expected, value, of_value, np.zeros(len(value)), place, reads, amplification.precision)


_lay_out = by_kind(_of_molecules, _of_reads)


@compiled
def gather(
    mean: np.ndarray,
    dispersion: np.ndarray,
    odds: np.ndarray,
    amplification: Amplification | None,
    rows: np.ndarray,
    cells: np.ndarray,
    counts: np.ndarray,
    starts: np.ndarray,
    log_factor: float,
) -> Gene:
    """Sort the cells of a gene into zeros and others; ``cells`` increase, ``rows`` are those of all cells.

    Sums over molecules are laid out for the ``log_factor`` of the gene's copies.
    """
    n, n_pos, n_rows = len(mean), len(cells), len(starts) - 1
    zero, zero_start = np.empty((3, n - n_pos)), np.zeros(n_rows + 1, np.int64)
    positive, start = np.empty((3, n_pos)), np.zeros(n_rows + 1, np.int64)
    constant, constant_odds, same, same_odds = 0.0, 0.0, True, True
    k = 0
    for i in range(n):
        same = same and dispersion[i] == dispersion[0]
        same_odds = same_odds and odds[i] == 1.0
        if k < n_pos and cells[k] == i:
            positive[0, k], positive[1, k], positive[2, k] = mean[i], dispersion[i], odds[i]
            constant += counts[k] * log(mean[i]) - lgamma(counts[k] + 1.0)
            k += 1
            start[rows[i] + 1] += 1
        else:
            zero[0, i - k], zero[1, i - k], zero[2, i - k] = mean[i], dispersion[i], odds[i]
            constant_odds += log(odds[i])
            zero_start[rows[i] + 1] += 1
    for r in range(n_rows):
        start[r + 1] += start[r]
        zero_start[r + 1] += zero_start[r]
    layout = _lay_out(counts, positive[1], same, cells, amplification, log_factor)
    return Gene(
        zero[0],
        zero[1],
        zero[2],
        zero_start,
        positive[0],
        positive[1],
        positive[2],
        same_odds,
        layout.counts,
        start,
        layout.value,
        layout.value_dispersion,
        layout.multiplicity,
        layout.place,
        layout.reads,
        layout.precision,
        constant if amplification is None else 0.0,
        constant_odds,
        np.empty((2, n - n_pos)),
    )
