"""Tell totals of cells that were made the same from those that happen to be alike or were filtered."""

from __future__ import annotations

import numpy as np
import scipy
from scipy.special import gammaln, logsumexp


def evenness(totals: np.ndarray, always: int = 0) -> float:
    r"""Measure by how many standard errors totals are more even than any filter of cells can leave them.

    Totals of molecules are Poisson about whatever cells hold. A filter keeps those in a window from a to b,
    and there :math:`\log p_t + \log t!` is convex in t, whatever the cells hold and wherever the window is.
    Totals that were made the same have a peak that is narrower than this allows:

    .. math:: p_t \propto \frac{e^{a t - b t^2 / 2}}{t!}, \quad b > 0

    Parameters
    ----------
    totals
        Sum of each cell's numbers.
    always
        How many genes all cells have; of these, what is beyond 1 is Poisson about something.

    Returns
    -------
    The signed root of the likelihood ratio of b against 0 in the window of the smallest and the largest
    total, which is made half as wide as the standard deviation of a Poisson variable where it is narrower:
    such a filter would keep cells by luck. 0 where totals vary by more than a Poisson variable.

    Examples
    --------
    >>> draws = np.random.default_rng(0).poisson(1000, 100_000)
    >>> evenness(draws[draws > 1090]) < 3.5 < evenness(np.rint(1000 + (draws[:500] - 1000) / 5))
    True
    """
    totals = totals.astype(np.float64) - always
    mean, variance = float(totals.mean()), float(totals.var())
    if mean <= 0 or variance >= mean:
        return 0.0
    low, high = float(totals.min()), float(totals.max())
    margin = max(0.0, (np.sqrt(mean) / 2 - (high - low)) / 2)
    window = np.arange(max(0.0, np.ceil(low - margin)), np.floor(high + margin) + 1)
    if len(window) < 3:
        return 0.0
    deviation = max(np.sqrt(variance), 0.3)
    powers = np.stack([(window - mean) / deviation, -(((window - mean) / deviation) ** 2) / 2])
    means = np.array([0, -variance / deviation**2 / 2])
    weights = -gammaln(window + 1)
    start = np.array([np.log(mean + 0.5) * deviation, 0])
    plain, _ = _most_likely(powers[:1], means[:1], weights, start[:1])
    peaked, slopes = _most_likely(powers, means, weights, start)
    return float(np.sign(slopes[1]) * np.sqrt(max(2 * len(totals) * (peaked - plain), 0)))


def _most_likely(
    powers: np.ndarray, means: np.ndarray, weights: np.ndarray, start: np.ndarray
) -> tuple[float, np.ndarray]:
    """Fit an exponential family; return the mean log likelihood, but for a constant, and the slopes."""

    def loss(slopes: np.ndarray) -> tuple[float, np.ndarray]:
        logs = weights + slopes @ powers
        norm = logsumexp(logs)
        return float(norm - slopes @ means), powers @ np.exp(logs - norm) - means

    found = scipy.optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    return -float(found.fun), np.asarray(found.x)


def share_at_one_depth(totals: np.ndarray) -> float:
    """Return the share of cells that have exactly the largest total, 0 if as many have a little less.

    Cells that are drawn to one depth all have it, but for those that had less; of other cells, more have a
    total within its square root below the largest than the largest itself.
    """
    top = float(totals.max())
    at = int(np.count_nonzero(totals == top))
    below = np.count_nonzero(totals > top - np.sqrt(top)) - at
    return at / len(totals) if at >= 10 and at >= 4 * below and at * top >= 100 else 0.0
