"""Tell what whole numbers are: molecules, or something that the models take for zero-inflated molecules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse, stats

from .._words.count_kinds import CountKind
from .spectra import DIVISORS, Spectra, gap, in_most_cells, lack_of_variance, likeness, roughness, spread

# docs/files.md tells how far counts of molecules are from these.
EVEN, MULTIPLES = 0.55, 0.95
ROUGH, ROUGH_ERRORS, ROUGH_BEYOND_CHANCE = 0.01, 2.5, 4.0
NARROW, FEWEST_GENES = 0.65, 5
BELOW_POISSON, BELOW_POISSON_ERRORS, FEWEST_FLAT = 0.4, 4.0, 20
EVEN_TOTALS, EVEN_TOTALS_CHANCE, FEWEST_CELLS = 0.6, 1e-4, 50
SMALLEST_TOTAL, LARGE_TOTAL, SKEWED, WITHOUT_ZEROS = 5, 1000, 0.6, 0.9
RARE, FEWEST_SEEN, FEWEST_RARE, MORE_THAN_SPIKE_INS = 0.3, 3, 30, 100
RARE_SHARE, NOT_IN_ALL = 0.1, 0.7
COPIES, MANY_COPIES, FEW_COPIES, COPIES_OF_CELLS, CELLS_WITH_COPIES = 2.0, 40.0, 1.1, 2.5, 30
HEAVY_TAIL, HEAVY_TAIL_BY_GENE, HIGHER_IN_MORE, MARKERS = 1.5, 1.0, 0.5, 0.04

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
    return (
        _below_poisson(found, n_counts, totals)
        or _one_depth(found, n_counts, totals)
        or _reads(found, n_counts, len(totals), some)
        or MOLECULES
    )


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
    of_cells = found.of_cells
    rough, errors, beyond_chance = roughness(of_cells)
    if not (rough > ROUGH and errors > ROUGH_ERRORS and beyond_chance > ROUGH_BEYOND_CHANCE):
        return None
    sign = "within a cell some small numbers are frequent and the next ones rare, in each cell other numbers"
    are_copies = _high_or_none(found, n_counts, len(of_cells))
    return Finding(CountKind.READS if are_copies else _logs_or_scaled(found, n_counts), sign)


def _high_or_none(found: Spectra, n_counts: np.ndarray, n_cells: int) -> bool:
    """Whether genes that not all cells have are many times in the others, as the copies of few molecules."""
    some = (n_counts >= FEWEST_SEEN) & (n_counts <= NOT_IN_ALL * n_cells)
    means = found.powers[0][some] / n_counts[some]
    return len(means) >= FEWEST_RARE and float(np.median(means)) >= MANY_COPIES


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


def _below_poisson(found: Spectra, n_counts: np.ndarray, totals: np.ndarray) -> Finding | None:
    """See genes whose numbers, with the zeros, vary less than counts can, where there are twos."""
    if len(totals) < FEWEST_FLAT or found.largest < 2:
        return None
    errors = np.minimum(lack_of_variance(found.powers, n_counts, totals), 1)
    if errors.sum() >= -max(BELOW_POISSON * len(errors), BELOW_POISSON_ERRORS * np.sqrt(len(errors))):
        return None
    kind = CountKind.LOGS if found.largest <= 25 else CountKind.SCALED
    return Finding(kind, "the numbers of genes, with the zeros, vary less from cell to cell than counts can")


def _one_depth(found: Spectra, n_counts: np.ndarray, totals: np.ndarray) -> Finding | None:
    """See totals that differ by less than those of as many molecules caught by chance."""
    n, mean, variance = len(totals), float(totals.mean()), float(totals.var())
    if found.largest < 2 or mean < SMALLEST_TOTAL:
        return None
    if variance == 0 and n >= 10 and n * mean >= 100:
        return Finding(CountKind.DOWNSAMPLED, "all cells have the same total")
    n_entries = int(n_counts.sum())
    least = mean - n_entries / n if n_entries > WITHOUT_ZEROS * n * len(n_counts) else mean
    if n < FEWEST_CELLS or least <= 0:
        return None
    skewness = float(np.mean((totals - mean) ** 3)) / max(variance, 1e-9) ** 1.5
    chance = stats.chi2.cdf(n * variance / least, n - 1)
    of_a_filter = skewness >= SKEWED and (variance > least / 10 or mean < LARGE_TOTAL)
    if variance < EVEN_TOTALS * least and chance < EVEN_TOTALS_CHANCE and not of_a_filter:
        return Finding(CountKind.SCALED, "all cells have nearly the same total, as normalised numbers do")
    return None


def _reads(found: Spectra, n_counts: np.ndarray, n_cells: int, some: Some) -> Finding | None:
    """See genes that few cells have, and those many times: one molecule there, and its copies."""
    rare = (n_counts >= FEWEST_SEEN) & (n_counts <= RARE * n_cells)
    enough = len(rare) >= MORE_THAN_SPIKE_INS and n_cells >= CELLS_WITH_COPIES
    if not enough or np.count_nonzero(rare) < max(FEWEST_RARE, RARE_SHARE * len(rare)):
        return None
    sizes, ones = n_counts[rare], found.of_genes[rare, 0]
    means = found.powers[0][rare] / sizes
    lower, middle = np.quantile(means, [0.25, 0.5])
    heavy = ones.sum() / sizes.sum() * np.average(means, weights=sizes) >= HEAVY_TAIL
    heavy &= np.average(ones / sizes * means, weights=sizes) >= HEAVY_TAIL_BY_GENE
    if middle < COPIES or lower < FEW_COPIES or not heavy:
        return None
    if stats.spearmanr(sizes, means).statistic > HIGHER_IN_MORE:  # a high gene, copies or not
        return None
    rows, genes = some(), np.flatnonzero(rare)
    markers = middle < MANY_COPIES and likeness(rows, genes) > MARKERS
    if markers or in_most_cells(rows, genes) < COPIES_OF_CELLS:
        return None
    sign = (
        f"where a gene is seen in few cells, it has {middle:.2g} counts in each (median of "
        f"{len(sizes):,} genes), and molecules would have little more than one"
    )
    return Finding(CountKind.READS, sign)
