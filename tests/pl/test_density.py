"""The fast density against the slow one that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from zinbtools.pl._density import Density, levels_of_mass, smoothed_density
from zinbtools.pl._zero_study import MASSES


def band(n: int, seed: int = 0) -> NDArray[np.float64]:
    """A diagonal cloud, correlated by -0.8."""
    covariance = [[0.09, -0.12], [-0.12, 0.25]]
    return np.random.default_rng(seed).multivariate_normal([-2.0, 1.0], covariance, n)


def on_grid(kde: stats.gaussian_kde, density: Density) -> NDArray[np.float64]:
    x, y = np.meshgrid(density.x, density.y)
    return kde(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)


def test_it_is_scipys_kernel_density() -> None:
    points = band(4000)
    density = smoothed_density(points).per_area
    expected = on_grid(stats.gaussian_kde(points.T), density)
    assert np.abs(density.height - expected).max() < 0.04 * expected.max()


def test_weights_are_as_good_as_copies_in_the_right_places() -> None:
    points = band(4000)
    weights = stats.norm.pdf(points[:, 0], -2.2, 0.3)
    density = smoothed_density(points, weights).per_area
    expected = on_grid(stats.gaussian_kde(points.T, weights=weights), density)
    assert np.abs(density.height - expected).max() < 0.06 * expected.max()


def test_float32_does() -> None:
    points = band(5000)
    one, other = smoothed_density(points), smoothed_density(points.astype(np.float32))
    assert np.abs(one.height - other.height).max() < 0.01 * one.height.max()


@pytest.mark.parametrize("n", [200_000, 40_000])  # with and without a sample for its width
def test_levels_hold_their_share_of_the_mass(n: int) -> None:
    points = band(n)
    density = smoothed_density(points)
    assert density.height.sum() == pytest.approx(n, rel=5e-3)
    column = np.searchsorted(density.x, points[:, 0]).clip(max=len(density.x) - 1)
    row = np.searchsorted(density.y, points[:, 1]).clip(max=len(density.y) - 1)
    levels = levels_of_mass(density.height, MASSES)
    within = [(density.height[row, column] >= level).mean() for level in levels]
    np.testing.assert_allclose(within, MASSES, atol=0.03)


def test_levels_of_densities_weigh_with_their_mass() -> None:
    height, mass = np.array([5.0, 3.0, 1.0]), np.array([1.0, 1.0, 8.0])
    assert levels_of_mass(height, (0.95, 0.15, 0.05), mass) == [1.0, 3.0, 5.0]


def test_a_density_does_not_depend_on_the_units() -> None:
    points = band(5000)
    one, other = smoothed_density(points), smoothed_density(points * [10.0, 100.0] + [5.0, -7.0])
    np.testing.assert_allclose(other.x, one.x * 10 + 5)
    np.testing.assert_allclose(other.height, one.height, atol=1e-6)


def test_a_crop_keeps_what_reaches_the_level() -> None:
    density = smoothed_density(band(5000))
    level = levels_of_mass(density.height, (0.95,))[0]
    crop = density.cropped(level)
    assert crop.height.size < density.height.size
    assert crop.height[crop.height >= level].sum() == density.height[density.height >= level].sum()
    assert (crop.height[[0, -1]] < level).all()
    assert (crop.height[:, [0, -1]] < level).all()
    assert crop.height.shape == (len(crop.y), len(crop.x))
    assert density.cropped(np.inf) is density


def test_a_pile_at_the_edge_leaves_no_trace_elsewhere() -> None:
    rng = np.random.default_rng(0)
    pile = np.c_[np.zeros(100_000), rng.normal(0, 1, 100_000)]
    tail = np.c_[-rng.gamma(1, 0.2, 20_000), np.zeros(20_000)]
    density = smoothed_density(np.concatenate([pile, tail]) + [0, 5])
    far = (density.x < -0.2)[None, :] & (np.abs(density.y - 5) > 1.5)[:, None]
    assert far.any()
    assert density.height[far].max() < 1e-5 * density.height.max()
