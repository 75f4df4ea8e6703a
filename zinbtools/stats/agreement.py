"""How far two accounts of the same cells agree, and whether two kinds differ more than their seeds do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial import KDTree

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_SPLITS = 1000


def nearest(points: ArrayLike, k: int) -> Integers:
    """Find the k nearest others of each point, (n, k) from (n, n_dimensions).

    Examples
    --------
    >>> nearest([[0.0], [1.0], [3.0]], 1).ravel()
    array([1, 0, 1])
    """
    points = np.asarray(points, dtype=np.float64)
    found = KDTree(points).query(points, k + 1)[1]
    itself = found == np.arange(len(points))[:, None]
    itself[~itself.any(axis=1), -1] = True  # where more than k others lie at the same place
    return found[~itself].reshape(-1, k).astype(np.int64)


def overlap(first: ArrayLike, second: ArrayLike) -> float:
    """Compute the share of members that sets have in common, averaged over rows: (n, k) each.

    Examples
    --------
    >>> overlap([[1, 2], [3, 4]], [[2, 1], [4, 5]])
    0.75
    """
    first, second = np.sort(first), np.sort(second)
    joined = np.sort(np.concatenate([first, second], axis=1))
    return float((joined[:, 1:] == joined[:, :-1]).sum(axis=1).mean() / first.shape[1])


def adjusted_rand(first: ArrayLike, second: ArrayLike) -> float:
    """Compute the adjusted Rand index of two partitions (Hubert & Arabie 1985): 1 if equal, 0 by chance.

    Examples
    --------
    >>> adjusted_rand([0, 0, 1, 1], ["b", "b", "a", "a"]), round(adjusted_rand([0, 0, 1, 1], [0, 1, 0, 1]), 3)
    (1.0, -0.5)
    """
    (_, a), (_, b) = (np.unique(labels, return_inverse=True) for labels in (first, second))
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    pairs, of_a, of_b, of_all = (
        float((n * (n - 1) / 2).sum()) for n in (table, table.sum(1), table.sum(0), table.sum())
    )
    expected, most = of_a * of_b / of_all, (of_a + of_b) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)


def ward_clusters(points: ArrayLike, n_clusters: int) -> Integers:
    """Cut Ward's tree of points into clusters, (n,)."""
    return fcluster(linkage(np.asarray(points, dtype=np.float64), "ward"), n_clusters, "maxclust").astype(
        np.int64
    )


class Compared(NamedTuple):
    """Agreement within two kinds and between them; arrays of (n_measures,) unless said.

    Attributes
    ----------
    within
        Mean over pairs of each kind, (n_measures, 2).
    between
        Mean over pairs of one and the other.
    pval
        How often kinds that are dealt out at random agree as much more within than between, in the measure
        that stands out most: a p value for all measures together, per measure.
    least_pval
        The smallest that so few can give.
    """

    within: Floats
    between: Floats
    pval: Floats
    least_pval: float


def compare(agreement: ArrayLike, n_first: int, rng: np.random.Generator) -> Compared:
    """Ask whether two kinds agree less between than within, by dealing the kinds out anew.

    Parameters
    ----------
    agreement
        Of every two members, (n_measures, n, n), symmetric; the first ``n_first`` are of the first kind. NaN
        for pairs that are alike for another reason than their kinds, as by the same seed.
    rng
        Draws 1,000 ways to deal where there are more.

    Notes
    -----
    The statistic is the mean agreement within, averaged over the kinds, minus that between, in units of its
    standard deviation over the ways. The largest over the measures is compared (Westfall & Young 1993).

    Examples
    --------
    >>> alike = np.full((1, 8, 8), 0.5)
    >>> alike[:, :4, :4] = alike[:, 4:, 4:] = 0.9
    >>> found = compare(alike, 4, np.random.default_rng(0))
    >>> found.between, found.pval.round(3), round(found.least_pval, 3)
    (array([0.5]), array([0.029]), 0.029)
    """
    agreement = np.asarray(agreement, dtype=np.float64)
    of_first = np.zeros(agreement.shape[-1], dtype=bool)
    of_first[:n_first] = True
    ways = np.array(list(_ways(of_first, rng)))
    gaps = np.array([_gap(agreement, way) for way in ways])
    ways, gaps = ways[np.isfinite(gaps).all(axis=1)], gaps[np.isfinite(gaps).all(axis=1)]
    spread = gaps.std(axis=0)
    scaled = np.where(spread > 0, gaps / np.where(spread > 0, spread, 1), 0.0)
    largest = scaled.max(axis=1)
    pval = (largest[:, None] >= scaled[0] - 1e-9).mean(axis=0)
    same = (ways == of_first).all(axis=1) | (ways == ~of_first).all(axis=1)
    within = np.stack([_within(agreement, of_first), _within(agreement, ~of_first)], axis=1)
    return Compared(within, _between(agreement, of_first), pval, float(same.mean()))


def _ways(of_first: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    """Yield how the kinds can be dealt out; the way they are is the first."""
    n, n_first = len(of_first), int(of_first.sum())
    yield of_first
    if n <= 12:
        for members in combinations(range(n), n_first):
            way = np.isin(np.arange(n), members)
            if not (way == of_first).all():
                yield way
    else:
        for _ in range(MOST_SPLITS - 1):
            yield rng.permutation(of_first)


def _within(agreement: Floats, members: NDArray[np.bool_]) -> Floats:
    rows, columns = np.triu_indices(int(members.sum()), 1)
    return _mean(agreement[:, members][:, :, members][:, rows, columns])


def _between(agreement: Floats, members: NDArray[np.bool_]) -> Floats:
    return _mean(agreement[:, members][:, :, ~members].reshape(len(agreement), -1))


def _mean(of_pairs: Floats) -> Floats:
    """Mean over pairs, (n_measures,); NaN without one."""
    there = np.isfinite(of_pairs)
    n = there.sum(axis=1)
    return np.where(n > 0, np.where(there, of_pairs, 0).sum(axis=1) / np.maximum(n, 1), np.nan)


def _gap(agreement: Floats, members: NDArray[np.bool_]) -> Floats:
    within = (_within(agreement, members) + _within(agreement, ~members)) / 2
    return within - _between(agreement, members)
