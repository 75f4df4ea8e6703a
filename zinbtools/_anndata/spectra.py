"""Gather from a matrix, block by block, what tells counts of molecules from other whole numbers."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.special import xlogy

N_SMALL = 12  # numbers from 1 to here are counted one by one, for each cell and each gene
N_OVERALL = 64  # and to here, in all cells and genes together
_NEIGHBOURS = slice(1, -1), slice(None, -2), slice(2, None)
DIVISORS = (2, 3, 5, 7, 11, 13)


class Spectra:
    """Sums over the positive whole numbers so far.

    Attributes
    ----------
    of_genes
        How often each gene has each of the numbers 1 to `N_SMALL`, (n_genes, N_SMALL).
    overall
        How often there are 1 to `N_OVERALL` in all.
    powers
        Sums of the first three powers of each gene's numbers, (3, n_genes).
    n_divisible
        How many numbers each of `DIVISORS` divides.
    divisor, largest
        Of all numbers: the greatest common divisor, and the largest.
    n_ties
        Numbers that are the smallest of their cell, where that is above 1, less the first of each cell and
        less the numbers that are larger by one.
    """

    def __init__(self, n_genes: int) -> None:
        self.of_genes = np.zeros((n_genes, N_SMALL), dtype=np.int64)
        self.overall = np.zeros(N_OVERALL, dtype=np.int64)
        self.powers = np.zeros((3, n_genes))
        self.n_divisible = np.zeros(len(DIVISORS), dtype=np.int64)
        self.divisor = self.largest = self.n_ties = 0
        self._of_cells: list[np.ndarray] = []

    @property
    def of_cells(self) -> np.ndarray:
        """How often each cell has each of the small numbers, (n_cells, N_SMALL)."""
        return np.concatenate([np.zeros((0, N_SMALL), dtype=np.int32), *self._of_cells])

    def add(self, rows: sparse.csr_array) -> None:
        """Take in rows of positive whole numbers."""
        numbers, (n_cells, n_genes) = rows.data.astype(np.int64), rows.shape
        small = numbers <= N_SMALL
        cells = np.repeat(np.arange(n_cells), np.diff(rows.indptr))[small]
        self._of_cells.append(_table(cells, numbers[small], n_cells).astype(np.int32))
        if not numbers.size:
            return
        self.of_genes += _table(rows.indices[small], numbers[small], n_genes)
        self.overall += np.bincount(np.minimum(numbers, N_OVERALL + 1), minlength=N_OVERALL + 2)[1:-1]
        power = np.ones(len(numbers))
        for sums in self.powers:
            power *= numbers
            sums += np.bincount(rows.indices, power, minlength=n_genes)
        self.n_divisible += [int(np.count_nonzero(numbers % k == 0)) for k in DIVISORS]
        self.divisor = int(np.gcd(self.divisor, np.gcd.reduce(numbers)))
        self.largest = max(self.largest, int(numbers.max()))
        self.n_ties += _ties(rows)


def _table(places: np.ndarray, numbers: np.ndarray, n_places: int) -> np.ndarray:
    flat = places.astype(np.int64) * N_SMALL + numbers - 1
    return np.bincount(flat, minlength=n_places * N_SMALL).reshape(n_places, N_SMALL)


def _ties(rows: sparse.csr_array) -> int:
    """Count the smallest numbers of rows, where above 1, less the first of each row and those one larger.

    Small counts are common, and those next to them too: 1, 1, 1, 2, 2, 3. Multiplied by 3 they leave gaps.
    """
    sizes = np.diff(rows.indptr)
    starts, sizes = rows.indptr[:-1][sizes > 0], sizes[sizes > 0]
    smallest = np.minimum.reduceat(rows.data, starts)
    high = smallest > 1
    if not high.any():
        return 0
    above = rows.data - np.repeat(np.where(high, smallest, np.inf), sizes)
    return int(np.count_nonzero(above == 0) - np.count_nonzero(above == 1) - np.count_nonzero(high))


def gap(overall: np.ndarray) -> int:
    r"""Find a number that is more frequent beside its neighbours than it can be among counts.

    Counts of molecules are Poisson about whatever cells hold. Of any mixture of Poisson distributions
    :math:`(v + 1) p_{v+1} / p_v` rises with v, so that :math:`p_v^2 \le p_{v-1} p_{v+1} (v + 1) / v`.

    Parameters
    ----------
    overall
        As `Spectra.overall`.

    Returns
    -------
    The number from 2 on whose square is more than twice that bound, by six standard errors (the root of a
    likelihood ratio), and furthest beyond it; 0 if there is none.
    """
    here, below, above = (np.asarray(overall[k], dtype=np.float64) for k in _NEIGHBOURS)
    number = np.arange(2, len(here) + 2)
    together = np.maximum(here + below + above, 1)
    # At the bound the shares of the three are as 1 / y, root and y.
    root, slope = np.sqrt(2 * (number + 1) / number), np.clip((above - below) / together, -0.999, 0.999)
    y = (slope * root + np.sqrt((slope * root) ** 2 + 4 * (1 - slope**2))) / (2 * (1 - slope))
    shares = np.stack([1 / y, root, y]) / (1 / y + root + y)
    counted = np.stack([below, here, above])
    ratio = 2 * xlogy(counted, np.maximum(counted, 1) / (together * shares)).sum(axis=0)
    errors = np.where(here > together * shares[1], np.sqrt(np.maximum(ratio, 0)), 0)
    return int(number[errors.argmax()]) if errors.max() > 6 else 0


def spread(powers: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    r"""Measure for each gene how its numbers vary, as a share of what a Poisson distribution would make.

    Counts of molecules are Poisson about whatever a cell holds, so that they vary by at least as much. Zeros
    do not enter: with each number x taken x times, x - 1 is Poisson about something too, and its variance
    over its mean is at least 1.

    Parameters
    ----------
    powers
        As `Spectra.powers`.
    n_cells
        How many numbers each gene has.

    Returns
    -------
    The ratio for each gene with 20 numbers or more and a mean of x - 1 of at least 1, in no order.
    """
    first, second, third = powers
    pairs, triples = second - first, third - 3 * second + 2 * first  # sums of x (x - 1) and so on
    enough = (n_cells >= 20) & (pairs >= first)
    mean = pairs[enough] / first[enough]
    return np.asarray((triples[enough] / first[enough] + mean - mean**2) / mean)


def lack_of_variance(powers: np.ndarray, n_counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    r"""Measure how far genes vary from a Poisson variable, zeros included, in its standard errors.

    .. math:: z = \frac{s^2 - (m - m^2 / \bar t)}{m \sqrt{2 / N}}

    Counts of molecules vary by at least their mean, or :math:`m^2 / \bar t` less where all totals are the
    same. Logs of 1 to 4 molecules are all rounded to 1 or 2, so that genes vary less.

    Parameters
    ----------
    powers
        As `Spectra.powers`.
    n_counts
        How many positive numbers each gene has.
    totals
        Sum of each cell's numbers, :math:`t`.

    Returns
    -------
    For each gene that a tenth of the cells lacks, and that is high enough for zeros and ones alone to be
    one standard error from a Poisson variable; in no order.
    """
    n_cells = len(totals)
    mean, error = powers[0] / n_cells, np.sqrt(2 / n_cells)
    some = (n_counts <= 0.9 * n_cells) & (mean >= error)
    mean, square = mean[some], powers[1, some] / n_cells
    variance = (square - mean**2) * n_cells / (n_cells - 1)
    return np.asarray((variance - mean + mean**2 / totals.mean()) / (mean * error))


def likeness(rows: sparse.csr_array, rare: np.ndarray, n_cells: int = 1000, n_genes: int = 1500) -> float:
    """Measure how much more alike those cells are that have many of a rare gene, than those with one.

    A marker of cells of one kind is high in these, and seen once in others. Copies of a molecule are not of
    a kind: a cell that happens to have many is not more like the next such cell than like one with a single.

    Parameters
    ----------
    rows
        Counts of all genes; the first ``n_cells`` rows and the ``n_genes`` that most of them have are used.
    rare
        The rare genes, by index.

    Returns
    -------
    Mean cosine of profiles between two cells with 2 or more, less that between one of these and one with
    1, over the rare genes (each left out of the profiles); 0 if there are none to compare.
    """
    rows = rows[np.flatnonzero(rows.sum(axis=1))[:n_cells]]
    common = np.argsort(-np.bincount(rows.indices, minlength=rows.shape[1]), kind="stable")[:n_genes]
    profiles = _profiles(rows, common)
    counts = rows[:, rare].toarray().T
    many, one = (counts >= 2).astype(np.float64), (counts == 1).astype(np.float64)
    n_many, n_one = many.sum(axis=1), one.sum(axis=1)
    enough = (n_many >= 2) & (n_one >= 2)
    if not enough.any():
        return 0.0
    many, one, n_many, n_one = many[enough], one[enough], n_many[enough], n_one[enough]
    with_many, with_one = many @ profiles, one @ profiles
    own = rare[enough][:, None] == common  # a gene's own column says nothing of the others
    with_many[own] = with_one[own] = 0
    squares = (many @ profiles**2 * ~own).sum(axis=1)
    alike = ((with_many**2).sum(axis=1) - squares) / (n_many * (n_many - 1))
    unlike = (with_many * with_one).sum(axis=1) / (n_many * n_one)
    return float(np.average(alike - unlike, weights=np.minimum(n_many - 1, n_one)))


def in_most_cells(rows: sparse.csr_array, genes: np.ndarray) -> float:
    """Return what the mean positive number of some genes reaches in three cells of four; 0 without any.

    A gene that few cells have may be high in one of them, as that is a doublet or of another type. Copies of
    molecules are in all cells.
    """
    counts = rows[:, genes]
    sizes = np.diff(counts.indptr)
    means = np.ravel(counts.sum(axis=1))[sizes > 0] / sizes[sizes > 0]
    return float(np.quantile(means, 0.25)) if len(means) else 0.0


def _profiles(rows: sparse.csr_array, genes: np.ndarray) -> np.ndarray:
    """Log counts at one depth, without the mean over cells, of length 1; (n_cells, n_genes)."""
    totals = np.ravel(rows.sum(axis=1))[:, None]
    logs = np.log1p(rows[:, genes].toarray() / totals * np.median(totals))
    logs -= logs.mean(axis=0)
    logs /= np.maximum(np.linalg.norm(logs, axis=1, keepdims=True), 1e-9)
    return np.asarray(logs - logs.mean(axis=0), dtype=np.float64)
