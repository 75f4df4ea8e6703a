"""Genes whose copies have a shape of their own: likelihoods over a grid of shapes about the common one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from .count_models import Copies, CountFits, fit_counts

Floats = NDArray[np.float64]

GRID = 0.6 * np.arange(-3, 4)  # the logarithm of a gene's shape over the common one
COMMON = len(GRID) // 2
LEAST_SPREAD = 0.2  # standard deviation of these logarithms; below it one shape does for all genes
_SPREADS = np.exp(np.linspace(np.log(0.05), np.log(2.0), 40))


def shapes_of(copies: Copies) -> list[Copies]:
    """Give copies every shape of `GRID`; the common one alone where genes hardly differ in it."""
    steps = GRID if copies.shape_sd >= LEAST_SPREAD else [0.0]
    return [replace(copies, shape=copies.shape * np.exp(step)) for step in steps]


def fit_by_shape(counts: Any, means: Floats, copies: Copies, **options: Any) -> list[CountFits]:
    """Fit genes of reads once for each of `shapes_of`; arguments are those of `fit_counts`."""
    return [fit_counts(counts, means, copies=of, **options) for of in shapes_of(copies)]


def spread_of_shapes(log_likelihood: Floats) -> float:
    """Estimate the standard deviation over genes of the logarithm of their shapes, by marginal likelihood.

    Parameters
    ----------
    log_likelihood
        Of the genes at each shape of `GRID`, nats, (7, G).

    Examples
    --------
    >>> about = 0.8 * np.random.default_rng(0).standard_normal(500)
    >>> print(f"{spread_of_shapes(-5 * (GRID[:, None] - about) ** 2):.1f}")
    0.8
    """
    known = log_likelihood[:, np.isfinite(log_likelihood).all(0)]
    priors = -0.5 * (GRID / _SPREADS[:, None]) ** 2
    priors -= logsumexp(priors, axis=1, keepdims=True)
    evidence = [logsumexp(known + prior[:, None], axis=0).sum() for prior in priors]
    return float(_SPREADS[int(np.argmax(evidence))])


def highest(log_likelihood: Floats, spread: float) -> Floats:
    """Highest log posterior of each gene over shapes, (G,): the top of a parabola about the best of `GRID`.

    Where there is one shape, its log likelihood.

    Examples
    --------
    >>> highest(1 - (GRID[:, None] - 0.2) ** 2, np.inf).round(6)
    array([1.])
    """
    if len(log_likelihood) == 1:
        return log_likelihood[0]
    posterior = log_likelihood - 0.5 * (GRID / spread)[:, None] ** 2
    best = np.clip(posterior.argmax(0), 1, len(GRID) - 2)
    genes = np.arange(posterior.shape[1])
    below, top, above = (posterior[best + step, genes] for step in (-1, 0, 1))
    bend = below - 2 * top + above
    where = np.divide(0.5 * (below - above), bend, out=np.zeros(len(top)), where=bend < 0)
    peak = top - 0.25 * (below - above) * np.clip(where, -1.0, 1.0)
    return np.fmax(peak, posterior.max(0))


def chosen(log_likelihood: Floats, spread: float) -> NDArray[np.int64]:
    """Which of the shapes is the most probable of each gene, (G,)."""
    if len(log_likelihood) == 1:
        return np.zeros(log_likelihood.shape[1], dtype=np.int64)
    return (np.nan_to_num(log_likelihood, nan=-np.inf) - 0.5 * (GRID / spread)[:, None] ** 2).argmax(0)
