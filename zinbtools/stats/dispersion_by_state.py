"""How a gene's dispersion depends on the state of a cell: a regression whose penalty the counts choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from ..kernels.gene_states import height_by_state

Floats = NDArray[np.float64]

# Precisions of the coefficients that are tried, from hardly any dependence on.
PRECISIONS = (1000.0, 100.0, 30.0, 10.0, 3.0, 1.0)
MOST_CELLS = 20_000  # from which the coefficients are estimated
_MOST_STEPS, _LONGEST_STEP, _TOLERANCE = 50, 2.0, 1e-4  # the last in nats that a step promises
_PRIOR = 0.5, 1e-2  # mean and precision of the log inverse dispersion itself: next to nothing


class _Point(NamedTuple):
    """Log posterior at some parameters, its gradient and a positive definite curvature."""

    height: float
    gradient: Floats
    curvature: Floats


class Directions(NamedTuple):
    """Where states differ most.

    Attributes
    ----------
    mean
        Of the states, (H,).
    axes
        Whose products with centred states are uncorrelated and of variance 1, (H, K).
    """

    mean: Floats
    axes: Floats

    def __call__(self, states: NDArray[np.floating]) -> Floats:
        """Coordinates of states, (N, K)."""
        return (states - self.mean) @ self.axes


def main_directions(states: Iterable[NDArray[np.floating]], n_directions: int) -> Directions:
    """Find the principal directions of states that come in blocks, (n, H) each; at most so many.

    Examples
    --------
    >>> states = np.random.default_rng(0).normal(size=(50, 8))
    >>> main_directions([states[:20], states[20:]], 3)(states).std(0).round(6)
    array([1., 1., 1.])
    """
    n, total, products = 0, np.zeros(()), np.zeros(())
    for block in states:
        of_block = np.asarray(block, dtype=np.float64)
        n, total, products = n + len(block), total + of_block.sum(0), products + of_block.T @ of_block
    mean = total / n
    values, axes = linalg.eigh(products / n - np.outer(mean, mean))
    kept = np.flatnonzero(values > 1e-9 * max(float(values[-1]), 1e-300))[::-1][:n_directions]
    return Directions(mean, axes[:, kept] / np.sqrt(values[kept]))


class ByState(NamedTuple):
    """How the inverse dispersion of a gene differs between cells.

    Attributes
    ----------
    factors
        By which it does, (N,).
    precision
        Of the prior of the coefficients.
    penalty
        Nats that the prior takes from the log likelihood, ``precision |w|^2 / 2``.
    """

    factors: Floats
    precision: float
    penalty: float


def dispersion_by_state(
    counts: Floats,
    means: Floats,
    states: Floats,
    weights: Floats | None = None,
    precisions: Sequence[float] = PRECISIONS,
    cells: NDArray[np.int64] | None = None,
) -> ByState:
    r"""Estimate by which factor a gene's inverse dispersion differs between cells.

    .. math:: x_n \sim \mathrm{NB}(e^b \mu_n, e^{a + s_n w}), \qquad w \sim N(0, 1 / \lambda)

    At the highest posterior in (a, b, w), of the ``lambda`` for which the counts are most probable once the
    parameters are integrated out (Laplace's approximation). Where the dispersion is the same in all cells,
    the largest precision wins, and the factors are all about 1.

    Parameters
    ----------
    counts
        Of one gene, (n,), one of each cell unless ``cells`` are given.
    means
        Positive numbers that its means are proportional to, (N,).
    states
        What its dispersion may depend on, standardised, (N, K).
    weights
        How much each count counts, (n,), 1 by default: where some are dropouts, the probability that it is
        none.
    precisions
        Values of ``lambda`` to choose from, the largest first.
    cells
        Of which cell each count is, by index, (n,): where it is not known, a cell has several, with weights.
    """
    every = -(-len(counts) // MOST_CELLS)
    some = slice(None, None, every) if cells is None else cells[::every]
    x = np.ascontiguousarray(counts[::every], dtype=np.float64)
    mu, design = (np.ascontiguousarray(of[some], dtype=np.float64) for of in (means, states))
    w = np.ones(len(x)) if weights is None else np.ascontiguousarray(weights[::every])
    at = np.zeros(design.shape[1] + 2)
    at[0] = np.log(x.sum() / (w @ mu))
    at[1] = _by_moments(x, mu * np.exp(at[0]), w)
    best, chosen, evidence = at, precisions[0], -np.inf
    for precision in precisions:
        at, found = _climb(_Counts(x, mu, w, design), precision, at)
        if found < evidence:
            break
        best, chosen, evidence = at, precision, found
    factors = np.exp(np.clip(states @ best[2:], -8.0, 8.0))
    return ByState(factors, chosen, 0.5 * chosen * float(best[2:] @ best[2:]))


class _Counts(NamedTuple):
    """Counts of a gene with what is given of the cells."""

    x: Floats
    mu: Floats
    weights: Floats
    states: Floats


def _by_moments(x: Floats, mu: Floats, weights: Floats) -> float:
    square = float(weights @ mu**2)
    excess = max(float(weights @ ((x - mu) ** 2 - mu)), 1e-3 * square)
    return float(np.clip(np.log(square / excess), -4.0, 6.0))


def _climb(counts: _Counts, precision: float, at: Floats) -> tuple[Floats, float]:
    """Newton's method; the parameters (b, a, w), and the log of the evidence for the precision."""
    point = _evaluate(counts, precision, at)
    for _ in range(_MOST_STEPS):
        step = linalg.solve(point.curvature, point.gradient, assume_a="pos")
        step *= min(1.0, _LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        if 0.5 * float(step @ point.gradient) < _TOLERANCE:
            break
        while True:
            trial = _evaluate(counts, precision, at + step)
            if trial.height >= point.height or np.abs(step).max() < 1e-6:
                break
            step = step / 2
        if trial.height < point.height:
            break
        at, point = at + step, trial
    _, log_volume = np.linalg.slogdet(point.curvature)
    n_states = counts.states.shape[1]
    return at, point.height + 0.5 * n_states * np.log(precision) - 0.5 * float(log_volume)


def _evaluate(counts: _Counts, precision: float, at: Floats) -> _Point:
    p = len(at)
    gradient, curvature = np.empty(p), np.empty((p, p))
    height = height_by_state(*counts, at, gradient, curvature)
    curvature[1, 1] += 1e-6
    ridge = np.r_[0.0, _PRIOR[1], np.full(p - 2, precision)]
    curvature[np.diag_indices(p)] += ridge
    off = np.r_[0.0, at[1] - _PRIOR[0], at[2:]]
    return _Point(height - 0.5 * float(ridge @ off**2), gradient - ridge * off, curvature)
