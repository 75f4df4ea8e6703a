"""Compiled climb to the maximum of a gene's likelihood by damped Newton steps, and its linear algebra."""

from __future__ import annotations

from math import log

import numpy as np

from .double import compiled
from .gene_likelihood import NB, ZINB, ZIP, Gene, evaluate

_MOST_STEPS, _LONGEST_STEP = 150, 3.0
_PATIENCE = 6  # steps after which a climb must be above what is known
_TOLERANCE = 1e-9  # nats that another step of Newton's promises
_LITTLE = 1e-6  # nats: where a parameter runs to its bound and gains no more than this, it is put there
_LOGIT_LIMIT = 25.0


@compiled
def factorise(matrix: np.ndarray) -> bool:
    """Cholesky's lower factor in place; False where the matrix is not positive definite."""
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
def maximise(
    gene: Gene,
    table: np.ndarray,
    family: int,
    at: np.ndarray,
    hessian: np.ndarray,
    known: float,
    held: bool = False,
) -> tuple[float, bool]:
    """Climb from ``at``, which ends at the maximum, by damped Newton steps; the height, and whether it ended.

    ``hessian`` becomes that of the end. A climb that will hardly end above the ``known`` height is given up.
    The last parameter may be ``held`` where it is.
    """
    d, p = len(at), table.shape[1]
    dispersed, inflated = family in (NB, ZINB), family >= ZIP
    largest = 1.0
    for m in (gene.mean, gene.zero_mean):
        for i in range(len(m)):
            largest = max(largest, m[i])
    lowest = log(1e-9 / largest)  # an NB that no double tells from a Poisson distribution
    gradient, trial = np.empty(d), np.empty(d)
    new_gradient, new_hessian, damped = np.empty(d), np.empty((d, d)), np.empty((d, d))
    value = evaluate(gene, table, family, at, gradient, hessian)
    if held:
        _hold(gradient, hessian)
    damping = 0.0
    for n_steps in range(_MOST_STEPS):
        while True:
            for i in range(d):
                for j in range(d):
                    damped[i, j] = -hessian[i, j]
                damped[i, i] += damping * (abs(hessian[i, i]) + 1e-8)
            if factorise(damped):
                break
            damping = max(4.0 * damping, 1e-3)
            if damping > 1e12:
                return value, False
        step = solve(damped, gradient)
        gain = np.dot(gradient, step)
        hopeless = damping <= 1e-3 and value + 3.0 * gain < known and n_steps > 2
        if value < known and (hopeless or n_steps >= _PATIENCE):
            return value, True
        if gain < _LITTLE and damping <= 1e-3:
            # near a bound the gradient of a logarithm falls as its number does, and steps have length 1
            if dispersed and gradient[p] < 0.0 and abs(step[p] + 1.0) < 0.2:
                step[p] = lowest - at[p]
            if inflated and gradient[d - 1] < 0.0 and abs(step[d - 1] + 1.0) < 0.2:
                step[d - 1] = -_LOGIT_LIMIT - at[d - 1]
        longest = np.max(np.abs(step))
        if longest > _LONGEST_STEP and gain >= _LITTLE:
            step *= _LONGEST_STEP / longest
        trial[:] = at + step
        if dispersed:
            trial[p] = np.minimum(np.maximum(trial[p], lowest), 30.0)
        if inflated:
            trial[d - 1] = np.minimum(np.maximum(trial[d - 1], -_LOGIT_LIMIT), _LOGIT_LIMIT)
        new_value = evaluate(gene, table, family, trial, new_gradient, new_hessian)
        if held:
            _hold(new_gradient, new_hessian)
        if new_value >= value - 1e-13 * abs(value):
            at[:], value = trial, new_value
            gradient[:], hessian[:] = new_gradient, new_hessian
            if gain < _TOLERANCE and damping <= 1.0:
                return value, True
            damping = 0.0 if damping < 1e-6 else 0.1 * damping
        else:
            if gain < _LITTLE:
                return value, True
            damping = max(8.0 * damping, 1e-3)
    return value, False


@compiled
def _hold(gradient: np.ndarray, hessian: np.ndarray) -> None:
    """Make the last parameter one that nothing depends on."""
    gradient[-1] = 0.0
    hessian[-1, :] = 0.0
    hessian[:, -1] = 0.0
    hessian[-1, -1] = -1.0
