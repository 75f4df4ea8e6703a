"""The mean of a table whose rows and columns are both samples, with the error that each of them leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class CrossedMean(NamedTuple):
    """A mean over rows (restarts) and columns (cells), both drawn at random.

    Attributes
    ----------
    mean, se
        The mean and its standard error; NaN for fewer than two columns.
    df
        Satterthwaite's degrees of freedom of the error.
    sd_columns, sd_rows
        Standard deviations of the column effects and of the row effects; 0 where the estimate of the variance
        is negative. With one row all is put down to the columns, and the error lacks what another row would
        change.
    n_rows, n_columns
        The table's shape.
    """

    mean: float
    se: float
    df: float
    sd_columns: float
    sd_rows: float
    n_rows: int
    n_columns: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Take it from a row of the table ``differences`` of `zinbtools.tl.model_selection`."""
        mean, se, df = float(row["difference"]), float(row["se"]), float(row["df"])
        sd_cells, sd_restarts = float(row["sd_cells"]), float(row["sd_restarts"])
        return cls(mean, se, df, sd_cells, sd_restarts, int(row["n_restarts"]), int(row["n_cells"]))

    def at(self, n_rows: int, n_columns: int) -> CrossedMean:
        """Return what is to be expected of as many rows and columns, with the same mean and effects.

        Of one row nothing is known of row effects, and more rows than one then seem to have none.

        Examples
        --------
        >>> found = CrossedMean(0.5, 0.1118, 20.0, 1.0, 0.1, 5, 100)
        >>> round(found.at(5, 100).se, 4), round(found.at(10, 400).se, 4)
        (0.1118, 0.0597)
        """
        R, N, by_columns, by_rows = self.n_rows, self.n_columns, self.sd_columns**2, self.sd_rows**2
        rest = max(self.se**2 - by_columns / N - by_rows / R, 0.0) * R * N
        parts = [(n_rows * by_columns + rest, n_columns - 1), (n_columns * by_rows + rest, n_rows - 1)]
        parts.append((rest, (n_rows - 1) * (n_columns - 1)))
        squares = n_rows * by_columns + n_columns * by_rows + rest
        error = sum(ms**2 / df for ms, df in parts if df > 0)
        df = squares**2 / error if error > 0 else n_columns - 1.0
        se = float(np.sqrt(squares / (n_rows * n_columns)))
        return CrossedMean(self.mean, se, df, self.sd_columns, self.sd_rows, n_rows, n_columns)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the mean of all rows and columns, by Student's t."""
        half = self.se * stats.t.isf((1 - level) / 2, self.df)
        return self.mean - half, self.mean + half


def crossed_mean(table: ArrayLike) -> CrossedMean:
    r"""Compute the mean of ``y_rn = m + a_r + b_n + e_rn`` with random effects of rows and columns.

    The variance of the mean is ``s_a^2 / R + s_b^2 / N + s_e^2 / (R N)``, which the mean squares of the
    two-way analysis of variance estimate without bias as ``(MS_a + MS_b - MS_e) / (R N)``; where it comes
    out smaller than what rows or columns alone make, the larger of those is taken. Degrees of freedom are
    Satterthwaite's (Searle, Casella and McCulloch 1992, Variance Components, chapter 4).

    Parameters
    ----------
    table
        Shape (n_rows, n_columns), finite.

    Examples
    --------
    >>> found = crossed_mean([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    >>> found.mean, round(found.se, 3), found.n_rows
    (2.5, 0.764, 2)
    """
    y = np.asarray(table, dtype=np.float64)
    R, N = y.shape
    mean = float(y.mean())
    if N < 2:
        return CrossedMean(mean, np.nan, np.nan, np.nan, np.nan, R, N)
    columns = y.mean(0) - mean
    ms_columns = R * float(columns @ columns) / (N - 1)
    if R == 1:
        sd = float(np.sqrt(ms_columns))
        return CrossedMean(mean, sd / np.sqrt(N), N - 1, sd, 0.0, R, N)
    rows = y.mean(1) - mean
    ms_rows = N * float(rows @ rows) / (R - 1)
    rest = y - mean - columns - rows[:, None]
    df_rest = (R - 1) * (N - 1)
    ms_rest = float((rest**2).sum()) / df_rest
    both = ms_columns + ms_rows - ms_rest
    squares = max(both, ms_columns, ms_rows)
    parts = np.array([(ms_columns, N - 1), (ms_rows, R - 1), (ms_rest, df_rest)])
    if squares > both:  # one kind of effect seems to be absent
        parts = parts[[0 if ms_columns >= ms_rows else 1]]
    df = squares**2 / float((parts[:, 0] ** 2 / parts[:, 1]).sum()) if squares > 0 else N - 1.0
    sd_columns, sd_rows = (
        float(np.sqrt(max(ms - ms_rest, 0) / n)) for ms, n in ((ms_columns, R), (ms_rows, N))
    )
    se = float(np.sqrt(squares / (R * N)))
    return CrossedMean(mean, se, df, sd_columns, sd_rows, R, N)
