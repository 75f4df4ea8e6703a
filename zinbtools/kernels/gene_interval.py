"""Compiled interval of a gene's dropout probability, from the profile of its likelihood."""

from __future__ import annotations

from math import log

import numpy as np

from .double import compiled
from .gene_climb import maximise
from .gene_likelihood import NB, ZINB, Gene

_LEAST_LOGIT, _LARGEST_LOGIT = -11.0, 14.0  # a dropout of less than 2e-5 is as good as none
_STEP = 1.0  # of the logit, in search of both sides of an end
_CLOSE = 0.01  # to the root of the fall, nats, where the search ends
_MOST_TRIALS = 12


@compiled
def dropout_interval(
    gene: Gene, values: np.ndarray, value: np.ndarray, estimate: np.ndarray, fall: float
) -> tuple[float, float]:
    """Where the profile of the dropout probability lies ``fall`` nats below its maximum, on either side.

    ``value`` and ``estimate`` are those of the families. The lower end is 0 where the NB is not that much
    lower.
    """
    p = values.shape[1]
    at = estimate[ZINB].copy()
    at[p] = max(at[p], log(1e-4))
    at[p + 1] = min(max(at[p + 1], _LEAST_LOGIT), _LARGEST_LOGIT)
    low = 0.0
    if value[ZINB] - value[NB] > fall:
        low = _end(gene, values, at.copy(), value[ZINB], fall, -_STEP)
    return low, _end(gene, values, at.copy(), value[ZINB], fall, _STEP)


@compiled
def _end(gene: Gene, values: np.ndarray, at: np.ndarray, top: float, fall: float, step: float) -> float:
    """Find one end, in steps of the logit until it is passed, and between the last two by regula falsi."""
    last, wanted = len(at) - 1, np.sqrt(fall)
    hessian = np.empty((last + 1, last + 1))
    inside, outside = _probability(at[last]), np.nan
    above, below = -wanted, np.nan  # roots of the fall on either side of the end, less the wanted one
    for trial in range(2 * _MOST_TRIALS):
        if np.isnan(below):
            logit = at[last] + step
            if logit < _LEAST_LOGIT:
                return 0.0
            if logit > _LARGEST_LOGIT:
                return 1.0
            pi = _probability(logit)
        else:
            pi = inside + (outside - inside) * above / (above - below)
        at[last] = log(pi / (1.0 - pi))
        height, _ = maximise(gene, values, ZINB, at, hessian, -np.inf, True)
        distance = np.sqrt(max(top - height, 0.0)) - wanted
        if abs(distance) < _CLOSE:
            return pi
        if distance < 0.0:
            inside, above = pi, distance
            below *= 0.5  # Illinois: so that neither side stays for long
        else:
            outside, below = pi, distance
            above *= 0.5 if trial > 0 else 1.0
    return pi


@compiled
def _probability(logit: float) -> float:
    return 1.0 / (1.0 + np.exp(-logit))
