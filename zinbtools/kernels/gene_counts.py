"""The counts of one gene as its likelihood takes them: zeros and others, each sorted by row of the design."""

from __future__ import annotations

from math import lgamma, log
from typing import NamedTuple

import numpy as np

from .double import compiled, merged
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
        The reads, of which there are none where the counts are molecules; ``counts`` are then what molecules
        to expect.
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
    reads: Reads
    constant: float
    constant_odds: float
    scratch: np.ndarray


@compiled
def gather(
    mean: np.ndarray,
    dispersion: np.ndarray,
    odds: np.ndarray,
    amplification: Amplification,
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
    are_reads = len(amplification.copies) > 0
    some = cells if are_reads else cells[:0]
    of_cells = amplification.copies[some], amplification.shape[some]
    reads, place = trace(counts[: len(some)], of_cells[0], of_cells[1], log_factor, amplification)
    if are_reads:
        counts = np.maximum(counts / (1.0 + (of_cells[0] - 1.0) * np.exp(log_factor)), 1.0)
        value, of_value, place = _of_sums(reads, place, amplification.grid.molecules, positive[1], same)
        multiplicity, constant = np.zeros(len(value)), 0.0
    elif same:
        value, multiplicity = _different(counts)
        of_value = np.full(len(value), dispersion[0])
        place = np.searchsorted(value, counts)
    else:
        value, multiplicity, of_value, place = counts, np.ones(n_pos), positive[1], np.arange(n_pos)
    return Gene(
        zero[0],
        zero[1],
        zero[2],
        zero_start,
        positive[0],
        positive[1],
        positive[2],
        same_odds,
        counts,
        start,
        value,
        of_value,
        multiplicity,
        place,
        reads,
        constant,
        constant_odds,
        np.empty((2, n - n_pos)),
    )


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
def _different(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different counts in increasing order, and how many there are of each."""
    ordered, k = np.sort(counts), -1
    value, multiplicity = np.empty(len(counts)), np.empty(len(counts))
    for i in range(len(counts)):
        if i == 0 or ordered[i] != ordered[i - 1]:
            k += 1
            value[k], multiplicity[k] = ordered[i], 0.0
        multiplicity[k] += 1.0
    return value[: k + 1], multiplicity[: k + 1]
