"""Columns of ``obs`` that a fit does not know, as levels: what else the zeros of a gene may follow."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd
from scipy import stats

N_BINS = 8  # of a column of numbers
MOST_LEVELS = 60
CELLS_PER_LEVEL = 10
LIKE_THE_TOTAL = 0.8  # rank correlation with the library size, above which a column is that by another name


def unknown_columns(
    obs: pd.DataFrame, known: Collection[str], totals: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and level of each cell, (N,) from 0, of columns with a few levels, or with numbers in bins.

    Parameters
    ----------
    known
        Columns that are left out.
    totals
        Counts of each cell, (N,). Numbers that follow them say nothing new: they are made of the zeros.
    """
    for name in obs.columns:
        if str(name) in known or obs.columns.tolist().count(name) > 1:
            continue
        values = obs[name]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            levels = _binned(values.to_numpy(dtype=np.float64, na_value=np.nan), totals)
        else:
            levels = pd.factorize(values, use_na_sentinel=True)[0] + 1  # 0: missing
            levels = np.unique(levels, return_inverse=True)[1].ravel()
        n_levels = int(levels.max()) + 1 if len(levels) else 0
        if 2 <= n_levels <= min(MOST_LEVELS, len(obs) // CELLS_PER_LEVEL):
            yield str(name), levels


def _binned(values: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Quantiles of numbers, or the numbers themselves where there are few; what is not finite is a level."""
    finite = np.isfinite(values)
    levels = np.zeros(len(values), dtype=np.int64)
    some = values[finite]
    different = np.unique(some)
    if len(different) < 2:
        return levels
    if len(different) > N_BINS:
        if abs(stats.spearmanr(some, totals[finite]).statistic) >= LIKE_THE_TOTAL:
            return levels
        different = np.unique(np.quantile(some, np.arange(1, N_BINS) / N_BINS))
        levels[finite] = 1 + np.searchsorted(different, some, side="right")
    else:
        levels[finite] = 1 + np.searchsorted(different, some)
    return np.unique(levels, return_inverse=True)[1].ravel()
