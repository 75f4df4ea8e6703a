"""Importance sampling: the log of a mean of weights, and whether it can be trusted."""

from __future__ import annotations

from math import log10
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Trust = Literal["good", "look", "bad"]

GOOD_K = 0.7  # above it, the error of a mean of weights is not under control (Vehtari et al. 2024)
NO_BOUND_K = 1.0  # above it, that error has no bound
# Shares of cells: above the first something is to be known, above the others a mean rests on too few draws.
FEW, MANY, MANY_WITHOUT_BOUND = 0.1, 0.25, 0.05


class LogMean(NamedTuple):
    """Logs of means of K weights, and how well K draws tell them; all of the weights' trailing shape.

    Attributes
    ----------
    value
        ``log mean_k w_k``, which is biased low: by about half its squared standard error.
    standard_error
        By the delta method, ``sqrt(sum w^2 / (sum w)^2 - 1 / K)``; too small where few draws carry the
        weight.
    effective_sample_size
        ``(sum w)^2 / sum w^2``, between 1 and K.
    pareto_k
        See `pareto_k`.
    debiased
        The same without its jackknife estimate of bias.
    """

    value: Floats
    standard_error: Floats
    effective_sample_size: Floats
    pareto_k: Floats
    debiased: Floats


def log_mean(log_weights: Floats) -> LogMean:
    """Compute the log of the mean weight, with diagnostics.

    Parameters
    ----------
    log_weights
        Logs of the weights of K independent draws, (K, ...).

    Examples
    --------
    >>> weights = np.random.default_rng(0).normal(size=(1000, 2))
    >>> estimate = log_mean(weights)
    >>> estimate.value.round(1)  # log E[e^x] = 0.5
    array([0.5, 0.5])
    >>> bool((estimate.pareto_k < GOOD_K).all())
    True
    """
    n = len(log_weights)
    shares, log_total = _normalised(log_weights)
    concentration = (shares**2).sum(0)
    with np.errstate(divide="ignore"):
        # leaving draw k out changes the log of the mean by log(1 - share_k) + log(K / (K - 1))
        changes = np.log1p(-shares).mean(0) + np.log(n / (n - 1)) if n > 1 else np.nan * log_total
    value = log_total - np.log(n)
    return LogMean(
        value=value,
        standard_error=np.sqrt(np.maximum(concentration - 1 / n, 0)) if n > 1 else np.nan * log_total,
        effective_sample_size=1 / concentration,
        pareto_k=pareto_k(log_weights),
        debiased=value - (n - 1) * changes,
    )


def unseen(log_mass: Floats, times_found: Floats) -> Floats:
    """Estimate what is missing from the log of a mean of weights by modes that no search found.

    By the jackknife over searches: a mode that a single one found would be missing without it.

    Parameters
    ----------
    log_mass
        Logs of the masses of the modes, but for a constant, (S, ...).
    times_found
        How many of S searches, of one mode each, found each; 0 for what is no mode of its own, (S, ...).

    Examples
    --------
    >>> unseen(np.log([3.0, 1.0, 1.0]), np.array([2, 1, 0])).round(2)  # -log(1 - 2/3 of 1/4)
    np.float64(0.18)
    """
    shares, _ = _normalised(np.where(times_found > 0, log_mass, -np.inf))
    n = len(log_mass)
    return -np.log1p(-(n - 1) / n * (shares * (times_found == 1)).sum(0))


def with_missing(estimate: LogMean, missing: Floats | float) -> LogMean:
    """Let the standard errors admit a bias: ``missing``, nats, and the jackknife's where that is large.

    `error_of_mean` takes half of the squared error for the bias, so this is added as twice its size. Where
    few draws carry the weight, the jackknife's is larger than that; one nat of it is believed.
    """
    variance = estimate.standard_error**2
    jackknife = np.minimum(estimate.debiased - estimate.value, 1)
    return estimate._replace(standard_error=np.sqrt(np.maximum(variance, 2 * jackknife) + 2 * missing))


def log_mean_alone(log_weights: Floats) -> Floats:
    """Compute the log of the mean weight, (K, ...) to (...), without diagnostics."""
    return _normalised(log_weights)[1] - np.log(len(log_weights))


def error_of_mean(standard_error: Floats) -> Floats:
    """Compute the error of a mean over cells from the standard errors of their logs of means, (..., n_cells).

    The errors of the cells are independent, but all of the logs are biased low, by half their squared errors:
    with many cells that becomes the larger part.
    """
    variance = standard_error**2
    return np.sqrt(variance.sum(-1) + (0.5 * variance.sum(-1)) ** 2) / standard_error.shape[-1]


def pareto_k(log_weights: Floats) -> Floats:
    """Estimate the tail shape (generalised Pareto) of the largest weights; see Vehtari et al. (2024).

    Up to 0.7 importance sampling works with the usual numbers of draws; from 1 on the mean of the weights has
    no bound on its error. The largest ``3 sqrt(K)`` weights, for ``K <= 225`` the largest fifth, are fitted
    by the method of Zhang and Stephens (2009), drawn towards 0.5 as by ten observations.

    Parameters
    ----------
    log_weights
        (K, ...).

    Returns
    -------
    Of the trailing shape; NaN where there are fewer than 25 draws or the largest weights are all the same.
    """
    n = len(log_weights)
    n_tail = int(3 * np.sqrt(n)) if n > 225 else n // 5
    if n_tail < 5:
        return np.full(log_weights.shape[1:], np.nan)
    largest = np.sort(np.partition(log_weights, n - n_tail - 1, axis=0)[n - n_tail - 1 :], axis=0)
    weights = np.exp(largest - largest[-1])
    return _generalised_pareto_shape(weights[1:] - weights[0])


def limit_of_k(n_draws: int) -> float:
    """Return the largest k with which this many draws suffice: ``1 - 1 / log10(S)``, and 0.7 at most.

    Examples
    --------
    >>> [round(limit_of_k(n), 2) for n in (100, 1000, 10_000)]
    [0.5, 0.67, 0.7]
    """
    return min(1 - 1 / log10(max(n_draws, 2)), GOOD_K)


class SharesOfK(NamedTuple):
    """How many of the cells have a high Pareto k.

    Attributes
    ----------
    limit
        Up to which k the number of draws suffices (`limit_of_k`).
    needs_draws, unreliable, without_bound
        Shares of the cells above this limit, above 0.7, and above 1.
    """

    limit: float
    needs_draws: float
    unreliable: float
    without_bound: float

    @classmethod
    def of(cls, k: Floats, n_draws: int | None) -> SharesOfK:
        """Count cells; one without a k, whose largest weights are all the same, has none that is high.

        Where the number of draws is not known, the limit is 0.7.
        """
        limit = GOOD_K if n_draws is None else limit_of_k(n_draws)
        return cls(limit, *(float((k > high).mean()) for high in (limit, GOOD_K, NO_BOUND_K)))

    @property
    def trust(self) -> Trust:
        """How far a mean over the cells can be trusted.

        ``"bad"``: more than a quarter are above 0.7, or more than a twentieth above 1. ``"look"``: more than
        a tenth are above the limit for the number of draws.

        Examples
        --------
        >>> SharesOfK(0.5, 0.2, 0.05, 0.0).trust, SharesOfK(0.5, 0.3, 0.2, 0.06).trust
        ('look', 'bad')
        """
        if self.unreliable > MANY or self.without_bound > MANY_WITHOUT_BOUND:
            return "bad"
        return "look" if self.needs_draws > FEW else "good"


def _generalised_pareto_shape(x: Floats) -> Floats:
    """Estimate the shape from sorted exceedances, (M, ...)."""
    n = len(x)
    n_grid = 30 + int(np.sqrt(n))
    grid = 1 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        b = np.multiply.outer(grid, 1 / (3 * x[int(n / 4 + 0.5) - 1])) + 1 / x[-1]
        shape = np.stack([np.log1p(-each * x).mean(0) for each in b])
        shares, _ = _normalised(n * (np.log(-b / shape) - shape))
        shares[shares < 10 * np.finfo(float).eps] = 0
        mean_b = (b * shares).sum(0) / shares.sum(0)
        k = (n * np.log1p(-mean_b * x).mean(0) + 5) / (n + 10)
    # where most of the exceedances vanish beside the largest, no power is too high
    return np.where(np.isnan(k) & (x[-1] > 0), np.inf, k)


def _normalised(log_weights: Floats) -> tuple[Floats, Floats]:
    """Return weights as shares of their sum over the first axis, and the log of the sum."""
    largest = log_weights.max(0)
    weights = np.exp(log_weights - largest)
    total = weights.sum(0)
    return weights / total, largest + np.log(total)
