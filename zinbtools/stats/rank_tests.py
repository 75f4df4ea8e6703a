"""Compare two samples of runs: medians and one-sided rank-sum tests in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from .zero_inflation import adjusted_pval

MOST_ORDERS = 15_000  # 8 runs against 8


class RankTest(NamedTuple):
    """Two samples of a number that is better when lower.

    Attributes
    ----------
    first, second
        Medians.
    n_first, n_second
        Sizes of the samples.
    pval_first, pval_second
        P value of the first being lower, and of the second being lower.
    """

    first: float
    second: float
    n_first: int
    n_second: int
    pval_first: float
    pval_second: float


def rank_test(first: ArrayLike, second: ArrayLike) -> RankTest:
    """Return medians, and Mann and Whitney's test in both directions.

    NaN are left out. It asks whether another run would fall lower under one model than under the other, which
    with enough runs any difference, however small, makes certain. With few runs, up to 8 each, the p value is
    exact, ties included; with more it is that of the normal approximation with continuity correction, as in
    the study.

    Examples
    --------
    >>> found = rank_test([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    >>> found.first, round(found.pval_first, 3), round(found.pval_second, 3)
    (2.0, 0.05, 1.0)
    """
    a, b = (np.asarray(sample, dtype=np.float64) for sample in (first, second))
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not (len(a) and len(b)):
        return RankTest(_median(a), _median(b), len(a), len(b), np.nan, np.nan)
    few = comb(len(a) + len(b), len(a)) <= MOST_ORDERS
    pvals = _exact_pvals(a, b) if few else _normal_pvals(a, b)
    return RankTest(_median(a), _median(b), len(a), len(b), *pvals)


def _exact_pvals(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Compute both p values from all ways to share the ranks out."""
    ranks = scipy.stats.rankdata(np.concatenate([a, b]))
    sums = np.array([sum(chosen) for chosen in combinations(ranks, len(a))])
    own = ranks[: len(a)].sum()
    return float(np.mean(sums <= own)), float(np.mean(sums >= own))  # halves add up without rounding


def _normal_pvals(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    less, greater = (
        float(scipy.stats.mannwhitneyu(a, b, alternative=side, method="asymptotic").pvalue)
        for side in ("less", "greater")
    )
    return less, greater


def adjusted(tests: Mapping[str, RankTest]) -> dict[str, tuple[float, float]]:
    """Adjust the p values of all tests, in both directions, together by Benjamini and Hochberg."""
    pvals = np.array([(test.pval_first, test.pval_second) for test in tests.values()]).reshape(-1)
    both = adjusted_pval(pvals).reshape(-1, 2)
    return {name: (float(a), float(b)) for name, (a, b) in zip(tests, both, strict=True)}


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else np.nan
