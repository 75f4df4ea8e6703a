"""Compiled likelihood of the counts of one gene whose inverse dispersion depends on the state of each cell.

``x_n ~ NB(e^b mu_n, theta_n)`` with ``log theta_n = a + s_n w``, and its derivatives in b, a and w.
"""

from __future__ import annotations

from math import lgamma, log

import numpy as np

from .double import compiled, summed, wide_vectors
from .gene_likelihood import FROM_SERIES

LEAST_LOG_THETA, LARGEST_LOG_THETA = -7.0, 9.0


@compiled
def height_by_state(
    x: np.ndarray,
    mu: np.ndarray,
    weights: np.ndarray,
    states: np.ndarray,
    at: np.ndarray,
    gradient: np.ndarray,
    curvature: np.ndarray,
) -> float:
    """Weighted log likelihood at ``at = (b, a, w)``, without ``log x!``; its gradient, and a curvature.

    ``curvature`` is that of minus the log likelihood, made positive semidefinite: without the derivatives in
    both mean and dispersion, whose expectation is 0, and with what the cells add only where it is positive.
    """
    d = len(at)
    gradient[:] = 0.0
    curvature[:] = 0.0
    height, factor, bends = 0.0, np.exp(at[0]), np.empty(len(x))
    beside = np.zeros(d - 2)  # curvature between a and w
    for n in range(len(x)):
        state = states[n]
        log_theta = min(max(at[1] + _product(state, at[2:]), LEAST_LOG_THETA), LARGEST_LOG_THETA)
        theta, m, count, w = np.exp(log_theta), mu[n] * factor, x[n], weights[n]
        total = theta + m
        log_share, share = -np.log1p(m / theta), theta / total
        value = theta * log_share
        slope = theta * (log_share + 1.0 - share)
        bend = slope + theta * (1.0 - share) ** 2
        if count > 0.0:
            first, second = _reciprocals(count, theta)
            value += lgamma(count + theta) - lgamma(theta) + count * log(m / total)
            added = theta * (first - count / total)
            slope += added
            bend += added + theta * theta * (count / (total * total) - second)
        height += w * value
        gradient[0] += w * (count - m) * share
        curvature[0, 0] += w * theta * m * (theta + count) / (total * total)
        slope, bend = w * slope, max(-w * bend, 0.0)
        gradient[1] += slope
        curvature[1, 1] += bend
        bends[n] = bend
        _add(gradient[2:], state, slope)
        _add(beside, state, bend)
    for i in range(2, d):
        curvature[i, 1] = beside[i - 2]
    _add_squares(curvature[2:, 2:], states, bends)
    for i in range(d):
        for j in range(i):
            curvature[j, i] = curvature[i, j]
    return height


@compiled
def slopes_in_log_theta(x: np.ndarray, mu: np.ndarray, log_theta: np.ndarray, slopes: np.ndarray) -> None:
    """Derivative of ``log NB(x)`` in the log of theta, of each entry, (N, n)."""
    for n in range(x.shape[0]):
        for g in range(x.shape[1]):
            theta = np.exp(min(max(log_theta[n, g], LEAST_LOG_THETA), LARGEST_LOG_THETA))
            m, count = mu[n, g], x[n, g]
            total = theta + m
            slope = m / total - np.log1p(m / theta)
            if count > 0.0:
                slope += _reciprocals(count, theta)[0] - count / total
            slopes[n, g] = theta * slope


@compiled
def _reciprocals(count: float, theta: float) -> tuple[float, float]:
    """Sums over j < count of ``1 / (theta + j)`` and of its square; beyond the first by Stirling's series."""
    first, second = 0.0, 0.0
    for j in range(int(min(count, FROM_SERIES))):
        inverse = 1.0 / (theta + j)
        first += inverse
        second += inverse * inverse
    if count > FROM_SERIES:
        below, above = 1.0 / (theta + FROM_SERIES), 1.0 / (theta + count)
        first += log(below / above) + _beyond_log(above) - _beyond_log(below)
        second += _beyond_square(below) - _beyond_square(above)
    return first, second


@compiled
def _beyond_log(inverse: float) -> float:
    """``digamma(z) - log(z)``, in ``1 / z``."""
    square = inverse * inverse
    return -inverse / 2.0 - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square / 252.0))


@compiled
def _beyond_square(inverse: float) -> float:
    """``trigamma(z)``, in ``1 / z``."""
    square = inverse * inverse
    return inverse + square / 2.0 + inverse * square * (1.0 / 6.0 - square * (1.0 / 30.0 - square / 42.0))


@summed
def _product(a: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@summed
def _add(to: np.ndarray, what: np.ndarray, times: float) -> None:
    for i in range(len(to)):
        to[i] += what[i] * times


@summed
def _add_squares(to: np.ndarray, states: np.ndarray, times: np.ndarray) -> None:
    """Add each state's products with itself, so many times; up to the diagonal. Four states at a time."""
    wide_vectors()
    n_cells, n_states = states.shape
    whole = n_cells - n_cells % 4
    for n in range(0, whole, 4):
        a, b, c, d = states[n], states[n + 1], states[n + 2], states[n + 3]
        for i in range(n_states):
            of_a, of_b, of_c, of_d = (
                times[n] * a[i],
                times[n + 1] * b[i],
                times[n + 2] * c[i],
                times[n + 3] * d[i],
            )
            row = to[i]
            for j in range(i + 1):
                row[j] += of_a * a[j] + of_b * b[j] + of_c * c[j] + of_d * d[j]
    for n in range(whole, n_cells):
        for i in range(n_states):
            for j in range(i + 1):
                to[i, j] += times[n] * states[n, i] * states[n, j]
