"""Densities of millions of points in the plane: a histogram, smoothed in one pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]

N_BINS = 200
N_SAMPLED = 50_000  # points from which width and direction of a cloud are taken
NARROWEST = 1.25  # bins
STEEPEST = 0.95  # correlation beyond which a bandwidth would be a line


class Density(NamedTuple):
    """A smoothed histogram; ``height[i, j]``, the mass of a bin, belongs to ``x[j]``, ``y[i]``."""

    x: Floats
    y: Floats
    height: Floats

    @property
    def per_area(self) -> Density:
        """The same as a probability density, which can be compared with that of another grid."""
        area = (self.x[1] - self.x[0]) * (self.y[1] - self.y[0])
        return self._replace(height=self.height / (self.height.sum() * area))

    def cropped(self, level: float) -> Density:
        """Cut out the part that reaches a level, and one bin around it."""
        rows, columns = (np.flatnonzero(self.height.max(axis=axis) >= level) for axis in (1, 0))
        if not len(rows):
            return self
        down, right = (slice(max(at[0] - 1, 0), at[-1] + 2) for at in (rows, columns))
        return Density(self.x[right], self.y[down], self.height[down, right])


def smoothed_density(points: NDArray[np.floating], weights: NDArray[np.floating] | None = None) -> Density:
    """Smooth a histogram by a Gaussian of Scott's bandwidth: a kernel density at the cost of one pass.

    The bandwidth has the shape of the cloud, so that a narrow diagonal band stays narrow, and is taken from
    its middle, which a long tail does not widen: half the distance of the 16 % and the 84 % quantile on each
    axis, and the correlation that belongs to the rank correlation under a normal distribution.

    Parameters
    ----------
    points
        Shape (n, 2), finite.
    weights
        Shape (n,), not negative; one each by default.
    """
    sample = _sample(points, weights)
    middle = np.quantile(sample, [0.16, 0.84], axis=0)
    n = len(points) if weights is None else weights.sum(dtype=float) ** 2 / (weights.astype(float) ** 2).sum()
    bandwidth = np.maximum((middle[1] - middle[0]) / 2, 1e-2) * n ** (-1 / 6)
    low, high = np.quantile(sample, [0.001, 0.999], axis=0)
    low, high = low - 4 * bandwidth, high + 4 * bandwidth
    width = (high - low) / N_BINS
    height = _smooth(_histogram(points, weights, low, width), bandwidth / width, _correlation(sample))
    x, y = (low[:, None] + width[:, None] * (np.arange(N_BINS) + 0.5))[:]
    return Density(x, y, height.T)


def _sample(points: NDArray[np.floating], weights: NDArray[np.floating] | None) -> Floats:
    """Draw points in proportion to their weights, or return all where they are few and count alike."""
    if weights is None and len(points) <= N_SAMPLED:
        return points.astype(np.float64)
    rng = np.random.default_rng(0)
    if weights is None:
        return points[rng.integers(len(points), size=N_SAMPLED)].astype(np.float64)
    below = np.cumsum(weights, dtype=float)
    drawn = np.searchsorted(below, rng.random(N_SAMPLED) * below[-1], side="right")
    return points[np.minimum(drawn, len(points) - 1)].astype(np.float64)


def _correlation(sample: Floats) -> float:
    ranks = pd.DataFrame(sample).corr(method="spearman").to_numpy()[0, 1]
    if not np.isfinite(ranks):  # of a cloud without extent
        return 0.0
    return float(np.clip(2 * np.sin(np.pi * ranks / 6), -STEEPEST, STEEPEST))


def _histogram(
    points: NDArray[np.floating], weights: NDArray[np.floating] | None, low: Floats, width: Floats
) -> Floats:
    """Sum the mass per bin, (N_BINS, N_BINS); what lies outside of the grid is left out."""
    place = np.floor((points - low) / width).astype(np.int64)
    inside = ((place >= 0) & (place < N_BINS)).all(axis=1)
    flat = place[inside, 0] * N_BINS + place[inside, 1]
    mass = np.bincount(flat, None if weights is None else weights[inside], minlength=N_BINS**2)
    return mass.astype(np.float64).reshape(N_BINS, N_BINS)


def _smooth(counts: Floats, bins: Floats, correlation: float) -> Floats:
    """Convolve with a Gaussian of these standard deviations, in bins, by its Fourier transform."""
    covariance = np.outer(bins, bins) * np.array([[1.0, correlation], [correlation, 1.0]])
    variances, axes = np.linalg.eigh(covariance)
    # A Gaussian narrower than a bin or so rings. Twice the room: nothing comes round the edge.
    a, b, c = ((axes * np.maximum(variances, NARROWEST**2)) @ axes.T)[[0, 0, 1], [0, 1, 1]]
    shape = (2 * N_BINS, 2 * N_BINS)
    u, v = 2 * np.pi * fft.fftfreq(shape[0])[:, None], 2 * np.pi * fft.rfftfreq(shape[1])[None, :]
    transform = np.exp(-(a * u**2 + 2 * b * u * v + c * v**2) / 2)
    smooth = fft.irfft2(fft.rfft2(counts, s=shape) * transform, s=shape)[:N_BINS, :N_BINS]
    return np.maximum(smooth, 0.0)


def levels_of_mass(height: Floats, masses: tuple[float, ...], weight: Floats | None = None) -> list[float]:
    """Find the heights above which the given shares of the mass lie (highest-density regions), ascending.

    Parameters
    ----------
    height
        Of each bin.
    masses
        Shares, falling.
    weight
        Mass of each bin where its height is not it.

    Examples
    --------
    >>> levels_of_mass(np.array([[4.0, 3.0], [2.0, 1.0]]), (0.9, 0.4))
    [2.0, 4.0]
    """
    falling = np.argsort(height, axis=None)[::-1]
    share = np.cumsum((height if weight is None else weight).ravel()[falling])
    places = np.searchsorted(share / share[-1], masses)
    return sorted({float(height.ravel()[falling[place]]) for place in places})
