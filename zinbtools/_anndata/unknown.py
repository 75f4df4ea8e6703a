"""Columns of ``obs`` that a fit does not know, as levels: what else the zeros of a gene may follow."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

N_BINS = 8  # of a column of numbers
MOST_LEVELS = 60
FEWEST_CELLS = 20  # of a level; smaller ones are one together
LIKE_THE_TOTAL = 0.8  # rank correlation with the library size, above which a column is that by another name


class Column(NamedTuple):
    """A column as levels.

    Attributes
    ----------
    name
        Of the column.
    levels
        Level of each cell, (N,), from 0.
    names
        Of the levels.
    """

    name: str
    levels: np.ndarray
    names: list[str]


def unknown_columns(obs: pd.DataFrame, known: Collection[str], totals: np.ndarray) -> Iterator[Column]:
    """Yield the columns with a few levels of 20 cells or more, or with numbers, in bins of as many cells.

    Parameters
    ----------
    known
        Names of columns that are left out.
    totals
        Counts of each cell, (N,). Numbers that follow them say nothing new: they are made of the zeros.
    """
    names = obs.columns.tolist()
    for name in names:
        if str(name) in known or names.count(name) > 1:
            continue
        words = _words(obs[name], totals)
        sizes = words.value_counts()
        if len(sizes) > min(MOST_LEVELS, len(obs) // FEWEST_CELLS):
            continue
        words = words.where(words.map(sizes) >= FEWEST_CELLS, "others")
        levels, there = pd.factorize(words, sort=True)
        if len(there) > 1 and np.bincount(levels).min() >= FEWEST_CELLS:
            yield Column(str(name), levels, there.tolist())


def _words(values: pd.Series, totals: np.ndarray) -> pd.Series:
    """The level of each cell in words; one and the same where there is nothing to be told by."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return values.astype(object).where(values.notna(), "missing").astype(str)
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    finite = np.isfinite(numbers)
    some = numbers[finite]
    words = np.full(len(numbers), "missing", dtype=object)
    different = np.unique(some)
    if len(different) <= N_BINS:
        words[finite] = [f"{value:g}" for value in some]
    elif _rank_correlation(some, totals[finite]) >= LIKE_THE_TOTAL:
        words[:] = "like the total"
    else:
        ends = np.unique(np.quantile(some, np.linspace(0, 1, N_BINS + 1)))
        bins = np.searchsorted(ends[1:-1], some, side="right")
        words[finite] = [f"{ends[b]:.3g} to {ends[b + 1]:.3g}" for b in bins]
    return pd.Series(words, index=values.index)


def _rank_correlation(values: np.ndarray, totals: np.ndarray) -> float:
    """Size of Spearman's; 0 where the totals are all the same."""
    return abs(float(scipy.stats.spearmanr(values, totals).statistic)) if np.ptp(totals) > 0 else 0.0
