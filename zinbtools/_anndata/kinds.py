"""Tell what whole numbers are: molecules, or something that the models take for zero-inflated molecules."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import scipy
from scipy import sparse

from .._words.count_kinds import CountKind
from .depths import evenness, share_at_one_depth
from .factors import evidence_of_factors
from .spectra import DIVISORS, Spectra, gap, in_most_cells, lack_of_variance, likeness, spread

# docs/files.md tells how far counts of molecules are from these.
EVEN, MULTIPLES = 0.55, 0.95
NARROW, FEWEST_GENES, FEWEST_CELLS = 0.65, 5, 50
BELOW_POISSON, BELOW_POISSON_ERRORS, FEWEST_FLAT = 0.4, 4.0, 20
FACTORS, EVEN_TOTALS = 7.0, 3.5
RARE, FEWEST_SEEN, FEWEST_RARE, MORE_THAN_SPIKE_INS = 0.3, 3, 30, 100
RARE_SHARE, NOT_IN_ALL = 0.1, 0.7
COPIES, MANY_COPIES, FEW_COPIES, COPIES_OF_CELLS, CELLS_WITH_COPIES = 2.0, 40.0, 1.1, 2.25, 30
MORE_COPIES, MORE_COPIES_OF_CELLS, FEWEST_WITH_MORE = 20.0, 10.0, 8
HEAVY_TAIL, HEAVY_TAIL_BY_GENE, HIGHER_IN_MORE, MARKERS, MARKERS_WITH_MANY = 1.5, 1.0, 0.5, 0.04, 0.3

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
    for sign in (_multiples, _even, _gaps):
        finding = sign(found, n_counts)
        if finding is not None:
            return finding
    evidence = evidence_of_factors(found.of_cells)
    return (
        _factors(found, n_counts, evidence)
        or _narrow(found, n_counts)
        or _below_poisson(found, n_counts, totals)
        or _one_depth(found, n_counts, totals, evidence)
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


def _factors(found: Spectra, n_counts: np.ndarray, evidence: float) -> Finding | None:
    """See gaps between the small numbers that are elsewhere in each cell, as each has a factor of its own."""
    if evidence < FACTORS:
        return None
    sign = "within a cell some small numbers are frequent and the next ones rare, in each cell other numbers"
    are_copies = _high_or_none(found, n_counts, len(found.of_cells))
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


def _one_depth(found: Spectra, n_counts: np.ndarray, totals: np.ndarray, evidence: float) -> Finding | None:
    """See totals that differ by less than those of as many molecules caught by chance, filtered or not."""
    if found.largest < 2:
        return None
    if share := share_at_one_depth(totals):
        cells = "all" if share == 1 else f"{share:.0%} of the"
        others = "" if share == 1 else f", {totals.max():.0f}, and none has more"
        return Finding(CountKind.DOWNSAMPLED, f"{cells} cells have the same total{others}")
    if evenness(totals, int(np.count_nonzero(n_counts == len(totals)))) < EVEN_TOTALS:
        return None
    if evidence < -FACTORS:
        return Finding(
            CountKind.DOWNSAMPLED, "all cells have nearly the same total, and small numbers without gaps"
        )
    return Finding(CountKind.SCALED, "all cells have nearly the same total, as normalised numbers do")


def _reads(found: Spectra, n_counts: np.ndarray, n_cells: int, some: Some) -> Finding | None:
    """See genes that few cells have, and those many times: one molecule there, and its copies."""
    rare = (n_counts >= FEWEST_SEEN) & (n_counts <= RARE * n_cells)
    n_rare = np.count_nonzero(rare)
    if len(rare) < MORE_THAN_SPIKE_INS or n_cells < CELLS_WITH_COPIES or n_rare < FEWEST_WITH_MORE:
        return None
    sizes, ones = n_counts[rare], found.of_genes[rare, 0]
    means = found.powers[0][rare] / sizes
    lower, middle = np.quantile(means, [0.25, 0.5])
    few = n_rare < max(FEWEST_RARE, RARE_SHARE * len(rare))
    if few and middle < MORE_COPIES:
        return None
    heavy = ones.sum() / sizes.sum() * np.average(means, weights=sizes) >= HEAVY_TAIL
    heavy &= np.average(ones / sizes * means, weights=sizes) >= HEAVY_TAIL_BY_GENE
    if middle < COPIES or lower < FEW_COPIES or not heavy:
        return None
    if scipy.stats.spearmanr(sizes, means).statistic > HIGHER_IN_MORE:  # a high gene, copies or not
        return None
    rows, genes = some(), np.flatnonzero(rare)
    if likeness(rows, genes) > (MARKERS if middle < MANY_COPIES else MARKERS_WITH_MANY):
        return None
    if in_most_cells(rows, genes) < (MORE_COPIES_OF_CELLS if few else COPIES_OF_CELLS):
        return None
    sign = (
        f"where a gene is seen in few cells, it has {middle:.2g} counts in each (median of "
        f"{len(sizes):,} genes), and molecules would have little more than one"
    )
    return Finding(CountKind.READS, sign)
