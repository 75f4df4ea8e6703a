"""Tell what whole numbers are: molecules, or something that the models take for zero-inflated molecules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from .._words.count_kinds import CountKind
from .spectra import DIVISORS, Spectra, gap, likeness, roughness, spread

# docs/files.md tells how far counts of molecules are from these.
EVEN, MULTIPLES = 0.55, 0.95
ROUGH, ROUGH_ERRORS, ROUGH_BEYOND_CHANCE = 0.01, 2.5, 4.0
NARROW, FEWEST_GENES = 0.65, 5
EVEN_TOTALS, FEWEST_CELLS = 0.3, 50
RARE, FEWEST_SEEN, FEWEST_RARE, MORE_THAN_SPIKE_INS = 0.3, 3, 30, 100
RARE_SHARE = 0.1
COPIES, MANY_COPIES, FEW_COPIES, HEAVY_TAIL, MARKERS = 2.0, 40.0, 1.1, 1.5, 0.04

Some: TypeAlias = Callable[[], sparse.csr_array]


class Finding(NamedTuple):
    """What numbers are, and the sign by which it was told: a sentence without a full stop."""

    kind: CountKind
    sign: str = ""


MOLECULES = Finding(CountKind.MOLECULES)


def kind_of(found: Spectra, n_counts: np.ndarray, totals: np.ndarray, some: Some) -> Finding:
    """Tell what numbers are by the first sign that is seen.

    Parameters
    ----------
    n_counts
        How many positive numbers each gene has.
    totals
        Sum of each cell's numbers over all genes.
    some
        Gives rows of the matrix, to look at once more if they may be reads.
    """
    for sign in (_multiples, _even, _gaps, _rough, _narrow):
        finding = sign(found, n_counts)
        if finding is not None:
            return finding
    return _one_depth(totals) or _reads(found, n_counts, len(totals), some) or MOLECULES


def _multiples(found: Spectra, n_counts: np.ndarray) -> Finding | None:
    """See numbers that are nearly all multiples of one."""
    n = int(n_counts.sum())
    for k, divided in zip(DIVISORS, found.n_divisible.tolist(), strict=True):
        if n >= 100 and divided > MULTIPLES * n:
            factor = max(k, found.divisor)
            what = "even" if factor == 2 else f"multiples of {factor}"
            return Finding(CountKind.MULTIPLES, f"{divided / n:.0%} of the numbers are {what}")
    return None


def _even(found: Spectra, n_counts: np.ndarray) -> Finding | None:
    """See more even numbers than there are among counts, at most half."""
    n = int(n_counts.sum())
    if not found.n_divisible[0] > EVEN * n + 2.5 * np.sqrt(n):
        return None
    if _logs_or_scaled(found, n_counts) == CountKind.LOGS:  # of which 2 may be the most frequent
        return None
    return Finding(CountKind.MULTIPLES, f"{found.n_divisible[0] / n:.0%} of the numbers are even")


def _gaps(found: Spectra, n_counts: np.ndarray) -> Finding | None:
    """See gaps between the small numbers, as rounding leaves where they were scaled or logs."""
    n = int(n_counts.sum())
    kind = _logs_or_scaled(found, n_counts)
    if found.n_ties > 0.01 * n + 2.5 * np.sqrt(n):
        sign = "the smallest numbers of cells are above 1, and the next larger ones are rare"
        return Finding(kind, sign)
    if number := gap(found.overall):
        return Finding(kind, f"{number} is a frequent number, and {number - 1} or {number + 1} are rare")
    return None


def _rough(found: Spectra, n_counts: np.ndarray) -> Finding | None:
    """See gaps between the small numbers that are elsewhere in each cell, as each has a factor of its own."""
    rough, errors, beyond_chance = roughness(found.of_cells)
    if not (rough > ROUGH and errors > ROUGH_ERRORS and beyond_chance > ROUGH_BEYOND_CHANCE):
        return None
    sign = "within a cell some small numbers are frequent and the next ones rare, in each cell other numbers"
    return Finding(_logs_or_scaled(found, n_counts), sign)


def _logs_or_scaled(found: Spectra, n_counts: np.ndarray) -> CountKind:
    """Tell logs, which are small or alike, from other numbers that leave gaps."""
    first, second = found.powers[:2].sum(axis=1)
    alike = n_counts.sum() * second < 1.36 * first**2  # standard deviation of 0.6 means
    small = found.largest <= 25 and _is_narrow(found, n_counts)
    return CountKind.LOGS if small or (alike and found.largest < 200) else CountKind.SCALED


def _is_narrow(found: Spectra, n_counts: np.ndarray) -> bool:
    if n_counts.max(initial=0) < FEWEST_CELLS:  # a variance of few numbers is small by chance
        return False
    ratios = spread(found.powers, n_counts)
    return len(ratios) >= FEWEST_GENES and float(np.quantile(ratios, 0.25)) < NARROW


def _narrow(found: Spectra, n_counts: np.ndarray) -> Finding | None:
    """See genes whose numbers vary less than counts can."""
    if not _is_narrow(found, n_counts):
        return None
    share = float(np.mean(spread(found.powers, n_counts) < NARROW))
    sign = f"{share:.0%} of the genes with high numbers vary less from cell to cell than counts can"
    return Finding(_logs_or_scaled(found, n_counts), sign)


def _one_depth(totals: np.ndarray) -> Finding | None:
    """See totals that differ by less than those of as many molecules caught by chance."""
    if len(totals) >= 10 and np.ptp(totals) == 0 and totals[0] >= 10:
        return Finding(CountKind.DOWNSAMPLED, "all cells have the same total")
    if len(totals) >= FEWEST_CELLS and totals.mean() > 100 and totals.var() < EVEN_TOTALS * totals.mean():
        return Finding(CountKind.SCALED, "all cells have nearly the same total, as normalised numbers do")
    return None


def _reads(found: Spectra, n_counts: np.ndarray, n_cells: int, some: Some) -> Finding | None:
    """See genes that few cells have, and those many times: one molecule there, and its copies."""
    rare = (n_counts >= FEWEST_SEEN) & (n_counts <= RARE * n_cells)
    if len(rare) < MORE_THAN_SPIKE_INS or np.count_nonzero(rare) < max(FEWEST_RARE, RARE_SHARE * len(rare)):
        return None
    sums, sizes = found.powers[0][rare], n_counts[rare]
    lower, middle = np.quantile(sums / sizes, [0.25, 0.5])
    ones, mean = found.of_genes[rare, 0].sum() / sizes.sum(), sums.sum() / sizes.sum()
    if not (middle >= COPIES and lower >= FEW_COPIES and ones * mean >= HEAVY_TAIL):
        return None
    if middle < MANY_COPIES and likeness(some(), np.flatnonzero(rare)) > MARKERS:
        return None
    sign = (
        f"where a gene is seen in few cells, it has {middle:.2g} counts in each (median of "
        f"{len(sizes):,} genes), and molecules would have little more than one"
    )
    return Finding(CountKind.READS, sign)
