"""Compiled sums over the molecules that the reads of a gene may come from.

Of k molecules there are ``x = k + NB(k (a - 1), k s)`` reads, with a copies of a molecule on average and s
their shape. The likelihood of a count of reads is ``sum_k P(x | k) NB(k)`` over nodes that all genes share:
whole numbers up to some, and beyond it Gauss's rule for sums in blocks as long as four standard deviations of
the narrowest distribution of k given x. A change of the copies by a factor of the gene multiplies each term
by a number to the power of k, so that what is tabulated once stays of use.

A count's log probability is within 1e-6 nats for counts to 100,000, copies from 1.03 to 200 and shapes from
0.03 to 30, as long as the gene's log factor is within `REACH` of the one that sums were laid out for
(tests/kernels/test_gene_reads.py).
"""

from __future__ import annotations

from math import lgamma
from typing import NamedTuple

import numpy as np

from .double import compiled, exp, from_sortable, inlined, log1p, merged, sortable, summed, wide_vectors
from .gram import gram_rule

_OF_BLOCK = 8  # nodes
_DEVIATIONS = 4.0  # of the molecules given the reads, in a block
_ONE_BY_ONE = 64  # at least so many whole numbers come first
_EDGE = 150.0  # squared deviations of the molecules within which there may be as many as reads
_NATS = 36.0  # below the most likely number, where others are left out
_FACTOR = 0.6  # by which copies may fall below what is given, as it is allowed for
REACH = 0.35  # in the log factor, within which a layout is of use


class Grid(NamedTuple):
    """Numbers of molecules at which sums are taken.

    Attributes
    ----------
    molecules, log_weight
        Nodes in increasing order, and the logarithms of their weights over ``k!``, of which NB has one.
    first, last
        The first and the last node of the block of each.
    """

    molecules: np.ndarray
    log_weight: np.ndarray
    first: np.ndarray
    last: np.ndarray


class Amplification(NamedTuple):
    """How molecules were copied; None in its place says that the counts are molecules.

    Attributes
    ----------
    copies, shape
        Mean number of reads of a molecule in each cell, and the shape of its distribution, (n_cells,).
    precision
        Of the normal prior of a gene's log factor of ``copies - 1``.
    grid
        For the sums.
    """

    copies: np.ndarray
    shape: np.ndarray
    precision: float
    grid: Grid


class Reads(NamedTuple):
    """The reads of a gene where it has some, and the molecules behind them; or None, as `Amplification`.

    Attributes
    ----------
    counts, copies, shape
        Reads, mean reads of a molecule and their shape, of each of these cells.
    start
        Where in ``log_weight`` the terms of each are, (n + 1,).
    log_weight
        ``log P(x | k)`` and the weight of k over ``k!``, at consecutive nodes.
    rate, log_p
        The `log_rates` in it.
    log_factor
        Of the gene's ``copies - 1`` for which it is so.
    scratch
        Room for the most terms of a count.
    """

    counts: np.ndarray
    copies: np.ndarray
    shape: np.ndarray
    start: np.ndarray
    log_weight: np.ndarray
    rate: np.ndarray
    log_p: np.ndarray
    log_factor: float
    scratch: np.ndarray


def amplification(copies: np.ndarray, shape: np.ndarray, precision: float, largest: int) -> Amplification:
    """Lay out the sums for counts up to ``largest``."""
    beyond = _FACTOR * (copies - 1.0)
    least = 1.0 + beyond
    spread = float(np.min((beyond + beyond**2 / shape) / least**2))  # variance of k given x, over k
    edge = float(np.max(_EDGE * (1.0 / (least * beyond) + 1.0 / (least * shape))))
    n_first = min(max(_ONE_BY_ONE, int(edge)), max(largest, 1))
    molecules, weights = [np.arange(1.0, n_first + 1)], [np.ones(n_first)]
    sizes = [1] * n_first
    start = n_first + 1
    while start <= largest:
        length = max(_OF_BLOCK, int(_DEVIATIONS * np.sqrt(start * spread / (1.0 + spread))))
        length = _round(length)
        places, weight = gram_rule(length, _OF_BLOCK)
        molecules.append(start + places)
        weights.append(weight)
        sizes.append(len(places))
        start += length
    ends = np.cumsum(sizes)
    last = np.repeat(ends - 1, sizes)
    first = last - np.repeat(sizes, sizes) + 1
    k = np.concatenate(molecules)
    log_weight = np.log(np.concatenate(weights)) - np.array([lgamma(number + 1.0) for number in k])
    return Amplification(copies, shape, precision, Grid(k, log_weight, first, last))


def _round(length: int) -> int:
    """Lower a length to one of few, so that few rules are computed."""
    return length if length < 2 * _OF_BLOCK else int(2 ** (np.floor(8 * np.log2(length)) / 8))


@merged
def trace(
    counts: np.ndarray, copies: np.ndarray, shape: np.ndarray, log_factor: float, given: Amplification
) -> tuple[Reads, np.ndarray]:
    """Tabulate the molecules that each count of reads may come from; and the first node of each.

    Fewer molecules are taken until they are not likely for more copies, more for fewer.
    """
    n, grid = len(counts), given.grid
    start, place = np.zeros(n + 1, np.int64), np.empty(n, np.int64)
    rates, log_ps = np.empty(n), np.empty(n)
    kept, terms, most = np.empty(64 * n + 1024), np.empty(len(grid.molecules)), 1
    for i in range(n):
        x, beyond, s = counts[i], (copies[i] - 1.0) * np.exp(log_factor), shape[i]
        rate, log_p = log_rates(beyond, s)
        rates[i], log_ps[i] = rate, log_p
        likely = min(max(x / (1.0 + beyond), 1.0), x)
        middle = min(np.searchsorted(grid.molecules, likely), len(grid.molecules) - 1)
        while grid.molecules[middle] > x:
            middle -= 1
        low = high = middle
        terms[middle] = _log_copies(x, grid.molecules[middle], s, rate, log_p)
        for direction in (-1, 1):
            tilt = log_rates(beyond * np.exp(-direction * REACH), s)[0] - rate
            k, before = middle, terms[middle] + tilt * grid.molecules[middle]
            best = before
            while True:
                k += direction
                if k < 0 or k >= len(grid.molecules):
                    break
                block_ends = k == (grid.last[k] if direction < 0 else grid.first[k])
                if block_ends and before < best - _NATS:
                    break
                is_any = grid.molecules[k] <= x
                if not is_any and block_ends:
                    break
                terms[k] = _log_copies(x, grid.molecules[k], s, rate, log_p) if is_any else -np.inf
                before = terms[k] + tilt * grid.molecules[k]
                best = max(best, before)
                if direction < 0:
                    low = k
                else:
                    high = k
        m = high - low + 1
        most = max(most, m)
        while start[i] + m > len(kept):
            larger = np.empty(2 * len(kept))
            for k in range(start[i]):
                larger[k] = kept[k]
            kept = larger
        for k in range(m):
            kept[start[i] + k] = terms[low + k] + grid.log_weight[low + k]
        start[i + 1], place[i] = start[i] + m, low
    kept = kept[: start[n]].copy()
    room = np.empty(most)
    return Reads(counts, copies, shape, start, kept, rates, log_ps, log_factor, room), place


@compiled
def _log_copies(x: float, k: float, s: float, rate: float, log_p: float) -> float:
    """Log probability of x reads of k molecules."""
    size, further = k * s, x - k
    return lgamma(further + size) - lgamma(size) - lgamma(further + 1.0) + k * rate + x * log_p


@inlined
def log_rates(beyond: float, shape: float) -> tuple[float, float]:
    """``log(q^s / p)`` and ``log p``, which multiply molecules and reads, where copies are 1 + beyond."""
    log_p, log_q = -log1p(shape / beyond), -log1p(beyond / shape)
    return shape * log_q - log_p, log_p


@summed
def moments(
    molecules: np.ndarray,
    log_weight: np.ndarray,
    height_of: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    rate: float,
    scratch: np.ndarray,
) -> tuple[float, float, float, float, float, float, float]:
    """Log of the sum of ``exp(log_weight + height_of + rate k)``, and moments under its terms.

    They are the means of k, ``first`` and ``second``, the variances of k and of ``first``, and the two's
    covariance.
    """
    wide_vectors()
    n = len(log_weight)
    top = sortable(np.float64(-1e300))
    for j in range(n):
        t = log_weight[j] + height_of[j] + rate * molecules[j]
        scratch[j] = t
        top = max(top, sortable(t))
    height = from_sortable(top)
    about, other = molecules[n // 2], first[n // 2]
    total, k1, k2, r1, r2, kr, s1 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(n):
        w = exp(scratch[j] - height)
        k, r = molecules[j] - about, first[j] - other
        total += w
        k1 += w * k
        k2 += w * k * k
        r1 += w * r
        r2 += w * r * r
        kr += w * k * r
        s1 += w * second[j]
    one = 1.0 / total
    k1 *= one
    r1 *= one
    variance, of_r, both = k2 * one - k1 * k1, r2 * one - r1 * r1, kr * one - k1 * r1
    return np.log(total) + height, about + k1, other + r1, s1 * one, max(variance, 0.0), max(of_r, 0.0), both
