"""Compiled interval of a gene's dropout probability, from the profile of its likelihood."""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np

from .double import compiled, merged
from .gene_climb import maximise
from .gene_counts import Gene
from .gene_likelihood import NB, ZINB

_LEAST_LOGIT, _LARGEST_LOGIT = -11.0, 14.0  # a dropout of less than 2e-5 is as good as none
_STEP = 1.0  # of the logit, in search of both sides of an end
_WIDE = 2.0  # error of a logit that says little of where its likelihood falls
_CLOSE = 0.01  # to the root of the fall, nats, where the search ends
_TOLERANCE = 1e-4  # nats that a climb may leave
_MOST_TRIALS = 24


class About(NamedTuple):
    """What is known of the estimate: the logit's standard error, and the information on pi at 0."""

    error: float
    information: float


@merged
def dropout_interval(
    gene: Gene, values: np.ndarray, value: np.ndarray, estimate: np.ndarray, about: About, fall: float
) -> tuple[float, float]:
    """Where the profile of the dropout probability lies ``fall`` nats below its maximum, on either side.

    ``value`` and ``estimate`` are those of the families. The lower end is 0 where the NB is not that much
    lower.
    """
    at = estimate[ZINB].copy()
    at[-2] = max(at[-2], log(1e-4))
    at[-1] = min(max(at[-1], _LEAST_LOGIT), _LARGEST_LOGIT)
    low = 0.0
    if value[ZINB] - value[NB] > fall:
        low = _end(gene, values, at.copy(), value[ZINB], about, fall, -_STEP)
    return low, _end(gene, values, at.copy(), value[ZINB], about, fall, _STEP)


@compiled
def _end(
    gene: Gene, values: np.ndarray, at: np.ndarray, top: float, about: About, fall: float, step: float
) -> float:
    """Find one end: guess, go on in steps of the logit until it is passed, and then by regula falsi."""
    last, wanted = len(at) - 1, np.sqrt(fall)
    hessian = np.empty((last + 1, last + 1))
    inside, outside = _probability(at[last]), np.nan
    above, below = -wanted, np.nan  # roots of the fall on either side of the end, less the wanted one
    logit = _guess(at[last], about, fall, step)
    for trial in range(_MOST_TRIALS):
        if np.isnan(below):
            if logit < _LEAST_LOGIT:
                return 0.0
            if logit > _LARGEST_LOGIT:
                return 1.0
            pi = _probability(logit)
        else:
            pi = inside + (outside - inside) * above / (above - below)
        at[last] = log(pi / (1.0 - pi))
        height, _ = maximise(gene, values, np.int64(ZINB), at, hessian, -np.inf, last, _TOLERANCE)
        distance = np.sqrt(max(top - height, 0.0)) - wanted
        if abs(distance) < _CLOSE:
            return pi
        if distance < 0.0:
            inside, above = pi, distance
            below *= 0.5  # Illinois: so that neither side stays for long
        else:
            outside, below = pi, distance
            above *= 0.5 if trial > 0 else 1.0
        logit += step
    return pi


@compiled
def _guess(logit: float, about: About, fall: float, step: float) -> float:
    """Where the end would be if the likelihood were a parabola, in the logit or else in the probability."""
    if about.error < _WIDE:  # which NaN is not
        return logit + step * np.sqrt(2.0 * fall) * about.error
    if step < 0.0 or not about.information > 0.0:
        return logit + step
    pi = min(_probability(logit) + np.sqrt(2.0 * fall / about.information), 0.9)
    return log(pi / (1.0 - pi))


@compiled
def _probability(logit: float) -> float:
    return 1.0 / (1.0 + np.exp(-logit))
