"""Compiled probabilities of bursts: a Poisson number whose rate is a multiple of a beta variable.

``x ~ Poisson(lambda t)``, ``t ~ Beta(a, b)``. In the mean m, the excess relative variance alpha and the shape
r: ``a = r / alpha``, ``b = r (a + 1) / (1 - r)``, ``lambda = m (a + b) / a``. At ``r = 1`` it is the NB with
dispersion alpha, at ``r = 0`` a Poisson number with a dropout of ``alpha / (1 + alpha)``.

    P(x) = lambda^x / x!  (a)_x / (a + b)_x  sum_k Poisson(k; lambda) (b)_k / (a + b + x)_k

where ``(a)_x = a (a + 1) ... (a + x - 1)`` and no term is negative (Kummer's transformation).
"""

from __future__ import annotations

from math import lgamma, log

import numpy as np

from .double import compiled
from .gene_likelihood import FROM_SERIES, rising_beyond
from .stirling import DOUBLE

NEARLY_NB = 1e-6  # of 1 - r: from here to the NB along a straight line
_SMALL = 0.1
_LEFT_OUT = 1e-17  # share of the largest term, after which a sum ends


@compiled
def rates(alpha: float, shape: float) -> tuple[float, float]:
    """Return a and b, for ``0 < shape < 1``."""
    a = shape / alpha
    return a, shape * (a + 1.0) / (1.0 - shape)


@compiled
def _log_rising(k: float, of: float) -> tuple[float, float]:
    """``log[(of)_k / of^k]``, and its derivative in log of, for a whole number k."""
    alpha, value, slope = 1.0 / of, 0.0, 0.0
    for j in range(int(min(k, FROM_SERIES))):
        t = alpha * j
        value += np.log1p(t)
        slope -= t / (1.0 + t)
    if k > FROM_SERIES:
        further, of_alpha, _ = rising_beyond(k, alpha)
        value, slope = value + further, slope - of_alpha
    return value, slope


@compiled
def _remainder(t: float) -> float:
    """What Stirling's formula leaves out of log Gamma, for any ``t > 0``."""
    w, value = 1.0 / (t + 1.0), 0.0
    for k in range(len(DOUBLE) - 1, -1, -1):
        value = value * w + DOUBLE[k]
    return value * w + (t + 0.5) * np.log1p(1.0 / t) - 1.0


@compiled
def _log_gamma_ratio(t: float, more: float) -> float:
    """``log[Gamma(t + more) / Gamma(t)]``."""
    value = more * log(t + more) + (t - 0.5) * np.log1p(more / t) - more
    return value + _remainder(t + more) - _remainder(t)


@compiled
def _log_poisson(k: float, rate: float) -> float:
    """Log probability of a whole number above 0, without large terms that cancel (Loader 2000)."""
    off = (k - rate) / rate
    if abs(off) < _SMALL:  # of (1 + off) log(1 + off) - off, the powers of off
        deviance, power = 0.0, off
        for n in range(2, 20):
            power *= off if n == 2 else -off
            deviance += power / (n * (n - 1.0))
        deviance *= rate
    else:
        deviance = k * log(k / rate) + rate - k
    return -deviance - 0.5 * log(2.0 * np.pi * k) - _remainder(k)


@compiled
def log_sum(x: float, rate: float, a: float, b: float) -> tuple[float, float, float, float]:
    """Logarithm of the sum over k, and the means over its terms of k and of two sums of reciprocals.

    These are ``1 / (b + j)`` and ``1 / (a + b + x + j)`` over ``j < k``. From the largest term outwards.
    """
    c = a + b + x
    half = 0.5 * (rate - c - 1.0)
    under = half * half + rate * b - c
    root = half + np.sqrt(under) if under > 0.0 else 0.0
    top = max(np.floor(root), 0.0)
    height, of_b, of_c = -rate, 0.0, 0.0
    if top > 0.0:
        rise_b, slope_b = _log_rising(top, b)
        rise_c, slope_c = _log_rising(top, c)
        height = _log_poisson(top, rate)
        if c - b < top:
            height += _log_gamma_ratio(b, c - b) - _log_gamma_ratio(b + top, c - b)
        else:
            height += top * log(b / c) + rise_b - rise_c
        of_b, of_c = (top + slope_b) / b, (top + slope_c) / c
    total, k_mean, b_mean, c_mean = 1.0, 0.0, 0.0, 0.0  # of k, less that of the top
    term, k, more_b, more_c = 1.0, top, 0.0, 0.0
    while True:
        more_b += 1.0 / (b + k)
        more_c += 1.0 / (c + k)
        term *= rate * (b + k) / ((k + 1.0) * (c + k))
        k += 1.0
        total += term
        k_mean += term * (k - top)
        b_mean += term * more_b
        c_mean += term * more_c
        if term < _LEFT_OUT * total:
            break
    term, k, more_b, more_c = 1.0, top, 0.0, 0.0
    while k > 0.0 and term >= _LEFT_OUT * total:
        k -= 1.0
        term *= (k + 1.0) * (c + k) / (rate * (b + k))
        more_b -= 1.0 / (b + k)
        more_c -= 1.0 / (c + k)
        total += term
        k_mean += term * (k - top)
        b_mean += term * more_b
        c_mean += term * more_c
    return height + log(total), top + k_mean / total, of_b + b_mean / total, of_c + c_mean / total


@compiled
def _bursts(x: float, mean: float, alpha: float, shape: float) -> tuple[float, float, float, float]:
    """Log probability for a shape between 0 and 1, and its derivatives in log mean, alpha and shape."""
    a, b = rates(alpha, shape)
    c = a + b
    rate = mean * c / a
    value, k, of_b, of_c = log_sum(x, rate, a, b)
    rise_a, slope_a = _log_rising(x, a)
    rise_c, slope_c = _log_rising(x, c)
    value += x * log(mean) - lgamma(x + 1.0) + rise_a - rise_c
    by_c = -slope_c / c - of_c  # at given a, b and rate
    by_rate = k - rate  # of its logarithm
    by_a = slope_a / a + by_c + by_rate * (1.0 / c - 1.0 / a)
    by_b = by_c + of_b + by_rate / c
    by_a += by_b * shape / (1.0 - shape)
    by_shape = by_a / alpha + by_b * (a + 1.0) / (1.0 - shape) ** 2
    return value, x + by_rate, -by_a * a / alpha, by_shape


@compiled
def _nb(x: float, mean: float, alpha: float) -> tuple[float, float, float]:
    """Log probability of the NB, and its derivatives in log mean and alpha."""
    u = alpha * mean
    rise, slope = _log_rising(x, 1.0 / alpha)
    log_v = np.log1p(u)
    value = rise + x * (log(mean) - log_v) - log_v / alpha - lgamma(x + 1.0)
    by_mean = (x - mean) / (1.0 + u)
    return value, by_mean, (log_v / alpha - slope - (1.0 + alpha * x) * mean / (1.0 + u)) / alpha


@compiled
def _zip(x: float, mean: float, alpha: float) -> tuple[float, float, float]:
    """Log probability of a Poisson number that may drop out, and its derivatives in log mean and alpha."""
    rate = mean * (1.0 + alpha)
    if x > 0.0:
        value = x * log(rate) - rate - lgamma(x + 1.0) - np.log1p(alpha)
        return value, x - rate, ((x - 1.0) - rate) / (1.0 + alpha)
    kept = np.exp(-rate)
    total = alpha + kept
    value = np.log(total) - np.log1p(alpha)
    return value, -rate * kept / total, (1.0 - mean * kept) / total - 1.0 / (1.0 + alpha)


@compiled
def log_probability(x: float, mean: float, alpha: float, shape: float) -> tuple[float, float, float, float]:
    """Log probability of a count, and its derivatives in log mean, alpha and shape.

    Close to the NB it is taken along a straight line in the shape; at a shape of 0 the derivative in it is
    given as 0.
    """
    if shape <= 0.0:
        value, by_mean, by_alpha = _zip(x, mean, alpha)
        return value, by_mean, by_alpha, 0.0
    if shape < 1.0 - NEARLY_NB:
        return _bursts(x, mean, alpha, shape)
    nb, by_mean, by_alpha = _nb(x, mean, alpha)
    near, near_mean, near_alpha, _ = _bursts(x, mean, alpha, 1.0 - NEARLY_NB)
    w = (1.0 - shape) / NEARLY_NB
    by_mean += w * (near_mean - by_mean)
    by_alpha += w * (near_alpha - by_alpha)
    return nb + w * (near - nb), by_mean, by_alpha, (nb - near) / NEARLY_NB


@compiled
def log_probabilities(
    x: np.ndarray, mean: np.ndarray, alpha: np.ndarray, shape: np.ndarray, found: np.ndarray
) -> None:
    """Write `log_probability` of n counts into ``found``, (4, n)."""
    for i in range(len(x)):
        value, by_mean, by_alpha, by_shape = log_probability(x[i], mean[i], alpha[i], shape[i])
        found[0, i], found[1, i] = value, by_mean
        found[2, i], found[3, i] = by_alpha, by_shape
