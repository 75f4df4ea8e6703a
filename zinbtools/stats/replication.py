"""Whether two sets of calls of the same genes have more in common than chance would give them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from .zero_inflation import of_like_mean

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Overlap(NamedTuple):
    """Numbers of genes that two sets of calls have in common.

    Attributes
    ----------
    n_genes, n_first, n_second, n_both
        Genes, and how many of them were called in each and in both.
    n_both_expected
        Number called in both by chance.
    jaccard, jaccard_expected
        Number called in both per number called in either, and its mean by chance; NaN without a call.
    pval
        Probability by chance of as many in both, or more.
    """

    n_genes: int
    n_first: int
    n_second: int
    n_both: int
    n_both_expected: float
    jaccard: float
    jaccard_expected: float
    pval: float


def overlap(first: Bools, second: Bools, mean: Floats) -> Overlap:
    """Compare two sets of calls, (G,) each.

    By chance, each set has its calls anywhere among the genes of like mean
    (`zinbtools.stats.zero_inflation.of_like_mean`): hypergeometric numbers in both, summed over the groups.
    That both sets have calls where the power is, is no agreement.

    Examples
    --------
    >>> calls = np.array([True, True, False, False])
    >>> found = overlap(calls, calls, np.ones(4))
    >>> found.n_both, found.n_both_expected, found.jaccard, round(found.pval, 3)
    (2, 1.0, 1.0, 0.167)
    """
    n_first, n_second, n_both = (int(calls.sum()) for calls in (first, second, first & second))
    chance = np.ones(1)  # of 0, 1, ... genes in both
    for group in of_like_mean(mean):
        a, b = int(first[group].sum()), int(second[group].sum())
        chance = np.convolve(chance, scipy.stats.hypergeom(len(group), a, b).pmf(np.arange(min(a, b) + 1)))
    in_both = np.arange(len(chance))
    in_either = n_first + n_second - in_both
    called = n_first + n_second > 0
    return Overlap(
        n_genes=len(first),
        n_first=n_first,
        n_second=n_second,
        n_both=n_both,
        n_both_expected=float(chance @ in_both),
        jaccard=n_both / float(in_either[n_both]) if called else np.nan,
        jaccard_expected=float(chance @ (in_both / in_either)) if called else np.nan,
        pval=min(float(chance[n_both:].sum()), 1.0),
    )


def rank_correlation(first: Floats, second: Floats) -> float:
    """Compute Spearman's; NaN for fewer than three pairs, or where one of the two does not vary.

    Examples
    --------
    >>> rank_correlation(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.5, 0.4]))
    0.5
    """
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(scipy.stats.spearmanr(first, second).statistic)
