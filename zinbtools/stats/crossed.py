"""The mean of tables whose rows and columns are both samples, with the error that each of them leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class CrossedMean(NamedTuple):
    """A mean over rows (restarts) and columns (cells), both drawn at random, and over folds of the columns.

    Attributes
    ----------
    mean, se
        The mean and its standard error; NaN where no fold has two columns.
    df
        Satterthwaite's degrees of freedom of the error.
    sd_columns, sd_rows
        Standard deviations of the column effects and of the row effects; 0 where the estimate of the variance
        is negative. With one row in one fold all is put down to the columns, and the error lacks what another
        row would change.
    n_rows, n_columns
        Rows of each fold (of the first, where they differ), and columns of all.
    n_folds
        How many there are, each with rows of its own.
    """

    mean: float
    se: float
    df: float
    sd_columns: float
    sd_rows: float
    n_rows: int
    n_columns: int
    n_folds: int = 1

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Take it from a row of the table ``differences`` of `zinbtools.tl.model_selection`."""
        mean, se, df = float(row["difference"]), float(row["se"]), float(row["df"])
        sizes = (int(row[name]) for name in ("n_restarts", "n_cells", "n_folds"))
        return cls(mean, se, df, float(row["sd_cells"]), float(row["sd_restarts"]), *sizes)

    def at(self, n_rows: int, n_columns: int) -> CrossedMean:
        """Return what is to be expected of as many rows and columns, with the same mean, effects and folds.

        Of one row in one fold nothing is known of row effects, and more rows than one then seem to have none.

        Examples
        --------
        >>> found = CrossedMean(0.5, 0.1118, 20.0, 1.0, 0.1, 5, 100)
        >>> round(found.at(5, 100).se, 4), round(found.at(10, 400).se, 4)
        (0.1118, 0.0597)
        """
        R, N, K = self.n_rows, self.n_columns, self.n_folds
        by_columns, by_rows = self.sd_columns**2, self.sd_rows**2 / K
        rest = max(self.se**2 - by_columns / N - by_rows / R, 0.0) * R * N
        parts = [(n_rows * by_columns + rest, n_columns - 1), (n_columns * by_rows + rest, K * n_rows - 1)]
        parts.append((rest, (n_rows - 1) * (n_columns - K)))
        squares = n_rows * by_columns + n_columns * by_rows + rest
        error = sum(ms**2 / df for ms, df in parts if df > 0)
        df = squares**2 / error if error > 0 else n_columns - 1.0
        se = float(np.sqrt(squares / (n_rows * n_columns)))
        return self._replace(se=se, df=df, n_rows=n_rows, n_columns=n_columns)

    def may_leave(self, edge: float, n_rows: int, level: float = 0.95) -> bool:
        """Tell whether the interval may not reach over ``edge`` any more with as many rows.

        Not if it would even with a mean two standard errors of the further rows nearer to where it does not.

        Examples
        --------
        >>> found = CrossedMean(0.5, 0.1118, 20.0, 1.0, 0.1, 5, 100)
        >>> found.may_leave(0.5, n_rows=20), found.may_leave(0.75, n_rows=20)
        (False, True)
        """
        then = self.at(n_rows, self.n_columns)
        low, high = then.interval(level)
        shift = 2 * np.sqrt(max(self.se**2 - then.se**2, 0.0))
        return bool(low + shift > edge or high - shift < edge)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of the mean of all rows and columns, by Student's t."""
        half = self.se * scipy.stats.t.isf((1 - level) / 2, self.df)
        return self.mean - half, self.mean + half


class _Squares(NamedTuple):
    """A sum of squares, and its degrees of freedom."""

    sum: float
    df: int

    @property
    def mean(self) -> float:
        return self.sum / self.df if self.df else 0.0


def crossed_mean(*folds: ArrayLike) -> CrossedMean:
    r"""Compute the mean of ``y_krn = m + a_kr + b_n + e_krn`` with random effects of rows and columns.

    Each fold k has rows and columns of its own. With K folds of R rows, and N columns in all, the variance of
    the mean is ``s_a^2 / (K R) + s_b^2 / N + s_e^2 / (N R)``.

    In one fold the mean squares of the two-way analysis of variance estimate it without bias as
    ``(MS_a + MS_b - MS_e) / (R N)``; where it comes out smaller than what rows or columns alone make, the
    larger of those is taken. The means of several folds differ by all three, and by what the rows of a fold
    have in common: their mean square over ``R N`` is taken, or that of the columns within folds if it is
    larger. Degrees of freedom are Satterthwaite's (Searle, Casella and McCulloch 1992, Variance Components,
    chapter 4).

    Parameters
    ----------
    *folds
        Each of shape (n_rows, n_columns), finite.

    Examples
    --------
    >>> found = crossed_mean([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    >>> found.mean, round(found.se, 3), found.n_rows
    (2.5, 0.764, 2)
    >>> found = crossed_mean([[1.0, 2.0]], [[3.0, 4.0]])
    >>> found.mean, found.se, found.df
    (2.5, 1.0, 1.0)
    """
    return _crossed([_fold(np.asarray(fold, dtype=np.float64)) for fold in folds])


def crossed_mean_of_sums(rows: Floats, columns: Floats, squares: float) -> CrossedMean:
    """Compute `crossed_mean` of one table that is not at hand as a whole.

    Parameters
    ----------
    rows, columns
        Sums of its rows, (n_rows,), and of its columns, (n_columns,).
    squares
        Sum of the squares of its entries.

    Examples
    --------
    >>> found = crossed_mean_of_sums(np.array([6.0, 9.0]), np.array([3.0, 5.0, 7.0]), 43.0)
    >>> found.mean, round(found.se, 3), found.n_rows
    (2.5, 0.764, 2)
    """
    R, N = len(rows), len(columns)
    mean = float(rows.sum()) / (R * N)
    of_columns, of_rows = columns / R - mean, rows / N - mean
    sums = R * float(of_columns @ of_columns), N * float(of_rows @ of_rows)
    rest = max(squares - R * N * mean**2 - sum(sums), 0.0)
    parts = _Squares(sums[0], N - 1), _Squares(sums[1], R - 1), _Squares(rest, (R - 1) * (N - 1))
    return _crossed([_Fold(mean, R, N, parts)])


class _Fold(NamedTuple):
    """Mean of a table, its size, and its squares: of columns, of rows and of the rest."""

    mean: float
    n_rows: int
    n_columns: int
    squares: tuple[_Squares, _Squares, _Squares]


def _fold(table: Floats) -> _Fold:
    n_rows, n_columns = table.shape
    return _Fold(float(table.mean()), n_rows, n_columns, _within(table))


def _crossed(folds: Sequence[_Fold]) -> CrossedMean:
    n_rows, n_columns = (np.array(sizes) for sizes in zip(*(fold[1:3] for fold in folds), strict=True))
    K, R, N = len(folds), int(n_rows[0]), int(n_columns.sum())
    means = np.array([fold.mean for fold in folds])
    mean = float(n_columns @ means) / N
    if N == K:
        return CrossedMean(mean, np.nan, np.nan, np.nan, np.nan, R, N, K)
    columns, rows, rest = (_pooled(parts) for parts in zip(*(fold.squares for fold in folds), strict=True))
    between = _Squares(float(n_rows * n_columns @ (means - mean) ** 2), K - 1)
    if K > 1:
        squares, parts, alone = between.mean, [between], [columns]
    else:
        squares, parts = columns.mean + rows.mean - rest.mean, [columns, rows, rest]
        alone = [columns, rows]
    largest = max(alone, key=lambda part: part.mean)
    if largest.mean > squares:  # one kind of effect seems to be absent
        squares, parts = largest.mean, [largest]
    df = squares**2 / sum(p.mean**2 / p.df for p in parts if p.df) if squares > 0 else float(columns.df)
    of_rows = rows.mean - rest.mean if rows.df else between.mean - columns.mean if K > 1 else 0.0
    sd_columns, sd_rows = np.sqrt(np.maximum([(columns.mean - rest.mean) / R, of_rows / (N / K)], 0)).tolist()
    se = float(np.sqrt(squares / (n_rows @ n_columns)))
    return CrossedMean(mean, se, df, sd_columns, sd_rows, R, N, K)


def _within(table: np.ndarray) -> tuple[_Squares, _Squares, _Squares]:
    """Squares of columns, of rows and of the rest."""
    R, N = table.shape
    columns, rows = table.mean(0) - table.mean(), table.mean(1) - table.mean()
    rest = table - table.mean() - columns - rows[:, None]
    return (
        _Squares(R * float(columns @ columns), N - 1),
        _Squares(N * float(rows @ rows), R - 1),
        _Squares(float((rest**2).sum()), (R - 1) * (N - 1)),
    )


def _pooled(parts: tuple[_Squares, ...]) -> _Squares:
    return _Squares(sum(part.sum for part in parts), sum(part.df for part in parts))
