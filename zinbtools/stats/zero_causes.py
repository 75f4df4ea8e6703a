"""Why a gene has its zeros: the simplest of several accounts that its counts do not refuse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._words.answers import Call, Cause, Explanation
from .bursts import cells_needed, pval_of_neither
from .zero_inflation import adjusted_pval, threshold

Floats = NDArray[np.float64]
Strings = NDArray[np.object_]


class Causes(NamedTuple):
    """Of each gene, (G,).

    Attributes
    ----------
    cause
        A `Cause`.
    pval, pval_adj
        Of bursts and a dropout being equally far from the counts, and adjusted by Benjamini and Hochberg; NaN
        for the genes that are explained without either.
    cells_needed
        How many cells like these tell the two apart with a power of 0.8, at the level of the adjusted p
        values, if their mean difference is as it was found; NaN likewise.
    """

    cause: Strings
    pval: Floats
    pval_adj: Floats
    cells_needed: Floats


def zero_causes(
    call: Strings, explained_by: Strings, statistic: Floats, n_cells: int, alpha: float
) -> Causes:
    """Name the cause of each gene's zeros.

    Parameters
    ----------
    call, explained_by
        A `Call` and what explains the zeros of each gene: an `Explanation`, or a column of ``obs``.
    statistic
        Vuong's, positive for bursts (`zinbtools.stats.bursts.BurstFits.statistic`); NaN where a called gene
        was not asked for bursts, which then cannot be told.
    n_cells
        From which it comes.
    alpha
        Rate of false names among the genes that are called and not explained otherwise.

    Examples
    --------
    >>> called, explained = (
    ...     np.array(["zero-inflated"] * 4 + ["negligible"], object),
    ...     np.array([""] * 5, object),
    ... )
    >>> explained[0] = "obs['sex']"
    >>> zero_causes(called, explained, np.array([0.0, 5.0, -4.0, 1.0, np.nan]), 1000, 0.05).cause.tolist()
    ['covariate', 'bursting', 'dropout', 'cannot tell', 'none']
    """
    cause = np.full(len(call), Cause.NONE.value, dtype=object)
    cause[explained_by == Explanation.DISPERSION] = Cause.DISPERSION.value
    cause[explained_by == Explanation.AMPLIFICATION] = Cause.AMPLIFICATION.value
    called = call == Call.ZERO_INFLATED
    told = called & (explained_by != Explanation.NONE)
    cause[told & (explained_by != Explanation.DISPERSION)] = Cause.COVARIATE.value
    open_ = called & ~told
    pval = np.where(open_, pval_of_neither(statistic), np.nan)
    adjusted = adjusted_pval(pval)
    decided = adjusted <= alpha
    cause[open_] = Cause.CANNOT_TELL.value
    cause[decided & (statistic > 0)] = Cause.BURSTING.value
    cause[decided & (statistic < 0)] = Cause.DROPOUT.value
    needed = cells_needed(statistic, n_cells, threshold(adjusted, alpha))
    return Causes(cause, pval, adjusted, np.where(open_, np.ceil(needed), np.nan))
