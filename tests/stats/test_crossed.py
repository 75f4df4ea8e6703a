"""The error of a mean over restarts and cells, by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zinbtools.stats.crossed import crossed_mean, crossed_mean_of_sums


def test_parts_by_hand() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(4, 1)) + 2 * rng.normal(size=30) + 0.5 * rng.normal(size=(4, 30))
    found = crossed_mean(y)
    ms_rows = 30 * y.mean(1).var(ddof=1)
    ms_columns = 4 * y.mean(0).var(ddof=1)
    rest = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    ms_rest = (rest**2).sum() / (3 * 29)
    both = ms_rows + ms_columns - ms_rest
    assert found.mean == pytest.approx(y.mean())
    assert found.se == pytest.approx(np.sqrt(both / 120))
    assert found.sd_columns == pytest.approx(np.sqrt((ms_columns - ms_rest) / 4))
    assert found.sd_rows == pytest.approx(np.sqrt((ms_rows - ms_rest) / 30))
    assert found.df == pytest.approx(both**2 / (ms_columns**2 / 29 + ms_rows**2 / 3 + ms_rest**2 / 87))
    low, high = found.interval(0.9)
    assert (low + high) / 2 == pytest.approx(found.mean)
    assert high - low == pytest.approx(2 * found.se * stats.t.isf(0.05, found.df))


def test_one_row_is_the_t_interval() -> None:
    y = np.random.default_rng(1).normal(size=50)
    found = crossed_mean(y[None])
    assert found.interval() == pytest.approx(stats.ttest_1samp(y, 0).confidence_interval(0.95))


def test_two_cells_are_enough() -> None:
    assert crossed_mean([[1.0, 3.0]]) == pytest.approx((2, 1, 1, np.sqrt(2), 0, 1, 2, 1))


def test_effects_that_seem_to_be_absent_leave_the_degrees_of_freedom_of_the_others() -> None:
    """Mean squares 6 of columns, 1.5 of rows and 2 of the rest: rows seem to add nothing."""
    y = np.array([[0.0, 2.0, 4.0], [3.0, 1.0, 5.0]])
    root = np.sqrt(2)
    assert crossed_mean(y) == pytest.approx((2.5, 1, 2, root, 0, 2, 3, 1))
    assert crossed_mean(y.T) == pytest.approx((2.5, 1, 2, 0, root, 3, 2, 1))


def test_the_unit_does_not_matter() -> None:
    y = np.random.default_rng(0).normal(size=(4, 30))
    found, small = crossed_mean(y), crossed_mean(1e-6 * y)
    assert small.df == pytest.approx(found.df)
    assert small.se == pytest.approx(1e-6 * found.se)


def test_a_single_cell_has_no_error() -> None:
    assert np.isnan(crossed_mean([[1.0], [2.0]]).se)


def test_no_spread_at_all() -> None:
    found = crossed_mean(np.ones((3, 5)))
    assert (found.se, found.df) == (0, 4)
    assert found.interval() == (1, 1)


@pytest.mark.parametrize(
    ("rows", "columns", "sd"),
    [(3, 400, (0.3, 2, 1)), (5, 100, (1, 0.5, 0.3)), (5, 400, (0, 2, 1)), (20, 100, (0.2, 0, 1))],
)
def test_intervals_hold_the_truth(rows: int, columns: int, sd: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(1000):
        y = sd[0] * rng.normal(size=(rows, 1)) + sd[1] * rng.normal(size=columns)
        low, high = crossed_mean(y + sd[2] * rng.normal(size=(rows, columns))).interval()
        hits += low <= 0 <= high
    assert 0.90 < hits / 1000 < 0.985  # Satterthwaite's approximation is a little short for three rows


def test_folds_by_hand() -> None:
    """The scatter of the fold means, or that of the cells within folds where it is larger."""
    rng = np.random.default_rng(3)
    cells, pairs = rng.normal(size=(5, 1, 20)), 2 * rng.normal(size=(5, 1, 1))
    found = crossed_mean(*(cells + pairs))
    means = (cells + pairs).mean((1, 2))
    assert found.mean == pytest.approx(means.mean())
    assert found.se == pytest.approx(means.std(ddof=1) / np.sqrt(5))
    assert (found.df, found.n_rows, found.n_columns, found.n_folds) == (4, 1, 100, 5)
    within = (cells - cells.mean(2, keepdims=True)).ravel()
    assert found.sd_columns == pytest.approx(np.sqrt(within @ within / 95))
    assert found.sd_rows == pytest.approx(np.sqrt(means.var(ddof=1) - found.sd_columns**2 / 20))
    alike = crossed_mean(*(cells - cells.mean(2, keepdims=True)))
    assert (alike.se, alike.df) == (pytest.approx(found.sd_columns / 10), 95)
    assert alike.sd_rows == 0


def test_the_restarts_of_a_fold_tell_seeds_from_cells() -> None:
    rng = np.random.default_rng(4)
    folds = rng.normal(size=(40, 1, 30)) + 0.5 * rng.normal(size=(40, 4, 1))
    found = crossed_mean(*(folds + 0.3 * rng.normal(size=(40, 4, 30))))
    assert (found.sd_columns, found.sd_rows) == pytest.approx((1, 0.5), rel=0.1)
    assert found.n_rows == 4
    assert found.at(4, 1200).se == pytest.approx(found.se, rel=0.1)
    more = found.at(16, 4800)
    assert (more.n_rows, more.n_columns, more.n_folds) == (16, 4800, 40)
    expected = 0.5**2 / (40 * 16) + 1 / 4800 + 0.3**2 / (16 * 4800)
    assert more.se == pytest.approx(np.sqrt(expected), rel=0.1)


def test_folds_of_unlike_size_count_by_their_cells() -> None:
    found = crossed_mean([[1.0, 1.0, 1.0]], [[5.0], [7.0]], [[2.0, 3.0]])
    assert found.mean == pytest.approx((3 + 6 + 5) / 6)
    assert found.n_columns == 6
    assert np.isnan(crossed_mean([[1.0]], [[2.0]]).se)


@pytest.mark.parametrize(("restarts", "cells"), [(1, 2), (1, 30), (3, 30)])
@pytest.mark.parametrize("sd", [(0, 1), (0.3, 1), (1, 0.3)])
def test_intervals_of_folds_hold_the_truth(restarts: int, cells: int, sd: tuple[float, float]) -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(1000):
        y = sd[0] * rng.normal(size=(10, restarts, 1)) + sd[1] * rng.normal(size=(10, 1, cells))
        low, high = crossed_mean(*(y + 0.2 * rng.normal(size=(10, restarts, cells)))).interval()
        hits += low <= 0 <= high
    assert 0.93 <= hits / 1000 < 0.99


def test_sums_say_as_much_as_the_table() -> None:
    random = np.random.default_rng(7)
    table = random.normal(size=(9, 1)) + random.normal(size=(1, 14)) + random.normal(size=(9, 14)) + 3
    found = crossed_mean_of_sums(table.sum(1), table.sum(0), float((table**2).sum()))
    np.testing.assert_allclose(found, crossed_mean(table), rtol=1e-9)
