from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zinbtools.stats.calibration import ResidualSums, rank_position


def test_positions_among_exchangeable_values_are_uniform() -> None:
    values = np.random.default_rng(0).normal(size=(4000, 10))
    below = (values[:, 1:] < values[:, :1]).sum(1)
    found, seen = np.unique(rank_position(below, 0, 9), return_counts=True)
    np.testing.assert_allclose(found, np.arange(10) / 10 + 0.05)
    assert stats.chisquare(seen).pvalue > 1e-3


def test_ties_move_a_position_to_their_middle() -> None:
    assert rank_position(3, 4, 9) == pytest.approx((3 + 2.5) / 10)
    assert rank_position(0, 9, 9) == 0.5


def test_one_residual_at_the_end_by_hand() -> None:
    """There each Legendre polynomial is 1 before it is made orthonormal: 3 + 5 + 7 + 9."""
    found = ResidualSums.from_residuals(np.ones((1, 1))).test()
    assert found.statistic[0] == pytest.approx(24)
    assert found.p_value[0] == pytest.approx(13 * np.exp(-12))  # chi-square with 4 degrees of freedom
    assert (found.location[0], found.spread[0]) == pytest.approx((np.sqrt(3), np.sqrt(5)))


def test_blocks_of_residuals_add_up() -> None:
    residuals = np.random.default_rng(1).random((90, 7))
    both = ResidualSums.from_residuals(residuals[:31]) + ResidualSums.from_residuals(residuals[31:])
    whole = ResidualSums.from_residuals(residuals)
    assert both.n_cells == whole.n_cells == 90
    np.testing.assert_allclose(both.moments, whole.moments)
    np.testing.assert_array_equal(both.histogram, whole.histogram)
    for gene in range(7):
        expected = np.histogram(residuals[:, gene], bins=20, range=(0, 1))[0]
        np.testing.assert_array_equal(whole.histogram[gene], expected)


def test_the_ends_of_the_interval_are_in_the_histogram() -> None:
    assert ResidualSums.from_residuals(np.array([[0.0], [1.0]])).histogram[0, [0, -1]].tolist() == [1, 1]


@pytest.mark.parametrize("n_cells", [30, 400])
def test_uniform_residuals_give_uniform_p_values(n_cells: int) -> None:
    found = ResidualSums.from_residuals(np.random.default_rng(2).random((n_cells, 4000))).test()
    assert stats.kstest(found.p_value, "uniform").pvalue > 1e-3
    assert stats.kstest(found.location, "norm").pvalue > 1e-3
    assert stats.kstest(found.spread, "norm").pvalue > 1e-3
    assert abs((found.p_value < 0.01).mean() - 0.01) < 0.006


@pytest.mark.parametrize(
    ("a", "b", "location", "spread"), [(2, 1, 1, 0), (1, 2, -1, 0), (0.5, 0.5, 0, 1), (2, 2, 0, -1)]
)
def test_the_kind_of_misfit_is_told(a: float, b: float, location: int, spread: int) -> None:
    residuals = np.random.default_rng(3).beta(a, b, (300, 50))
    found = ResidualSums.from_residuals(residuals).test()
    assert (found.p_value < 0.01).all()
    for scores, sign in ((found.location, location), (found.spread, spread)):
        assert (np.sign(scores) == sign).all() if sign else abs(scores.mean()) < 1


def test_without_cells_nothing_is_known() -> None:
    found = ResidualSums.from_residuals(np.empty((0, 3))).test()
    assert np.isnan(found.p_value).all()
