"""Compiled climb to the maximum of a gene's likelihood by damped Newton steps, and its linear algebra."""

from __future__ import annotations

from math import log

import numpy as np

from .double import compiled, merged
from .gene_counts import Gene
from .gene_likelihood import NB, ZINB, evaluate, n_coefficients

_MOST_STEPS, _LONGEST_STEP = 150, 3.0
_PATIENCE = 6  # steps after which a climb must be above what is known
_HOPE = 3.0  # times what a step promises: where that is not enough, a climb is given up earlier
TOLERANCE = 1e-9  # nats that another step of Newton's promises
_LITTLE = 1e-6  # nats: where a parameter runs to its bound and gains no more than this, it is put there
_ROUNDING = 1e-13  # share of a log likelihood that rounding may take from it
_RUNNING = 0.2  # how far from -1 a step is at most that runs to a bound

# Added to minus the Hessian's diagonal, as a share of it. More where it is not positive definite or a step
# went down, less after a step that went up.
_FIRST_DAMPING, _MOST_DAMPING = 1e-3, 1e12
_IF_INDEFINITE, _AFTER_DOWN, _AFTER_UP = 4.0, 8.0, 0.1
_NO_DAMPING = 1e-6  # below it there is none
_FLAT = 1e-8  # curvature that is added to all, so that there is something to take a share of

_LOGIT_LIMIT = 25.0
_LOG_ALPHA_LIMIT = 30.0
_LEAST_EXCESS = 1e-9  # alpha times mean: no double tells such an NB from a Poisson distribution


@compiled
def factorise(matrix: np.ndarray) -> bool:
    """Write Cholesky's lower factor in place; return False where the matrix is not positive definite.

    LAPACK's, as numba calls it, raises an error there, and takes longer for a handful of parameters.
    """
    for j in range(len(matrix)):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= matrix[j, k] ** 2
        if not pivot > 1e-300:
            return False
        matrix[j, j] = np.sqrt(pivot)
        for i in range(j + 1, len(matrix)):
            rest = matrix[i, j]
            for k in range(j):
                rest -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = rest / matrix[j, j]
    return True


@compiled
def solve(factor: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Solve with Cholesky's factor."""
    x = vector.copy()
    for i in range(len(x)):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(len(x) - 1, -1, -1):
        for k in range(i + 1, len(x)):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]
    return x


@compiled
def shortening(step: np.ndarray, most: float) -> float:
    """Return what a step is to be multiplied by, so that no parameter moves by more than ``most``."""
    longest = 0.0
    for i in range(len(step)):
        longest = np.maximum(longest, abs(step[i]))  # which NaN is
    return most / longest if longest > most else 1.0


@compiled
def put(values: np.ndarray, out: np.ndarray) -> None:
    """Write values to where others stood; an assignment to a slice takes numba seconds to compile."""
    for i in range(len(values)):
        out[i] = values[i]


@compiled
def maximise(
    gene: Gene,
    table: np.ndarray,
    family: int,
    at: np.ndarray,
    hessian: np.ndarray,
    known: float,
    n_free: int,
    tolerance: float,
) -> tuple[float, bool]:
    """Climb from ``at``, which ends at the maximum, by damped Newton steps; the height, and whether it ended.

    ``hessian`` becomes that of the end. A climb that will hardly end above the ``known`` height is given up.
    Only the first ``n_free`` parameters move. The climb ends with a step that promised no more nats than the
    ``tolerance``. Every argument has one type in all calls, as another is compiled for seconds.
    """
    d, p = len(at), n_coefficients(gene, table)
    lower, upper = _bounds(gene, family, d - p)
    gradient, trial = np.empty(d), np.empty(d)
    new_gradient, new_hessian, factor = np.empty(d), np.empty((d, d)), np.empty((d, d))
    value = _evaluate(gene, table, family, at, gradient, hessian, n_free)
    damping = 0.0
    for n_steps in range(_MOST_STEPS):
        damping = factorise_damped(hessian, damping, factor)
        if damping > _MOST_DAMPING:
            return value, False
        step = solve(factor, gradient)
        gain = np.dot(gradient, step)
        hopeless = damping <= _FIRST_DAMPING and value + _HOPE * gain < known and n_steps > 2
        if value < known and (hopeless or n_steps >= _PATIENCE):
            return value, True
        if gain < _LITTLE and damping <= _FIRST_DAMPING:
            # near a bound the gradient of a logarithm falls as its number does, and steps have length 1
            for i in range(p, d):
                if gradient[i] < 0.0 and abs(step[i] + 1.0) < _RUNNING:
                    step[i] = lower[i - p] - at[i]
        shorter = 1.0 if gain < _LITTLE else shortening(step, _LONGEST_STEP)
        for i in range(d):
            trial[i] = at[i] + shorter * step[i]
            if i >= p:
                trial[i] = np.minimum(np.maximum(trial[i], lower[i - p]), upper[i - p])
        new_value = _evaluate(gene, table, family, trial, new_gradient, new_hessian, n_free)
        if new_value >= value - _ROUNDING * abs(value):
            value = new_value
            put(trial, at)
            put(new_gradient, gradient)
            for i in range(d):
                put(new_hessian[i], hessian[i])
            if gain < tolerance and damping <= 1.0:
                return value, True
            damping = 0.0 if damping < _NO_DAMPING else _AFTER_UP * damping
        else:
            if gain < _LITTLE:
                return value, True
            damping = max(_AFTER_DOWN * damping, _FIRST_DAMPING)
    return value, False


@compiled
def largest_excess(gene: Gene) -> float:
    """Return the largest product of a given mean and its dispersion: how far variances exceed means, of 1."""
    largest = 0.0
    for m, d in ((gene.mean, gene.dispersion), (gene.zero_mean, gene.zero_dispersion)):
        for i in range(len(m)):
            largest = max(largest, m[i] * d[i])
    return largest


@merged
def _bounds(gene: Gene, family: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and largest values of the family's ``n`` parameters behind the coefficients."""
    largest = max(largest_excess(gene), 1.0)
    lower, upper = np.full(n, -_LOGIT_LIMIT), np.full(n, _LOGIT_LIMIT)
    if family in (NB, ZINB):
        lower[0], upper[0] = log(_LEAST_EXCESS / largest), _LOG_ALPHA_LIMIT
    return lower, upper


@compiled
def factorise_damped(hessian: np.ndarray, damping: float, factor: np.ndarray) -> float:
    """Write Cholesky's factor of the damped ``-hessian``; return the damping, or one beyond its limit."""
    while True:
        for i in range(len(hessian)):
            for j in range(len(hessian)):
                factor[i, j] = -hessian[i, j]
            factor[i, i] += damping * (abs(hessian[i, i]) + _FLAT)
        if factorise(factor):
            return damping
        damping = max(_IF_INDEFINITE * damping, _FIRST_DAMPING)
        if damping > _MOST_DAMPING:
            return damping


@merged
def _evaluate(
    gene: Gene,
    table: np.ndarray,
    family: int,
    at: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    n_free: int,
) -> float:
    """As `evaluate`, as if nothing depended on the parameters behind the first ``n_free``."""
    value = evaluate(gene, table, family, at, gradient, hessian)
    for i in range(n_free, len(at)):
        gradient[i] = 0.0
        for j in range(len(at)):
            hessian[i, j] = 0.0
            hessian[j, i] = 0.0
        hessian[i, i] = -1.0
    return value
