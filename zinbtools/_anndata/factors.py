"""Tell by the small numbers of cells whether each cell was scaled by a factor of its own and rounded."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, ndtr

from .spectra import N_SMALL

_PRIOR = 0.5  # precision of a cell's tilts
_FEWEST, _FEWEST_CELLS = 3, 10
_FACTORS, _SPREAD = np.exp(np.linspace(np.log(0.45), np.log(3.5), 42)), 0.5
_NOISE = (0.02, 0.07, 0.12)
_AT_ONCE = 4_000  # cells
_MOST, _MISFIT = 5.0, 0.02  # nats: what one cell may say, and what the fit of its shares may be off


def evidence_of_factors(tables: np.ndarray) -> float:
    r"""Measure how much more probable small numbers are if each cell was scaled by a factor of its own.

    How often a cell has 1, 2, 3, ... molecules follows the sum over all cells, more or less steep:
    :math:`p_v \propto q_v e^{a v} v^b`, two parameters for each cell. Numbers that were scaled and rounded
    leave gaps and peaks, and in every cell at other places: where the factor is 1.7, there are 2, 3, 5 and 7,
    and no 1, 4 and 6.

    Parameters
    ----------
    tables
        How often each cell has each of the small numbers, as `Spectra.of_cells`.

    Returns
    -------
    Logarithm of the Bayes factor, summed over cells, nats; each cell's is the mean over factors from 0.45 to
    3.5, that of all is the mean over three sizes of an error in every number, as corrections make. Far below
    0 for counts; 0 where fewer than 10 cells have 3 small numbers.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(rng.gamma(1, 3, (100, 200)))
    >>> scaled = np.rint(counts * rng.uniform(1, 3, (100, 1)))
    >>> tables = [np.stack([(x == v).sum(1) for v in range(1, 13)], axis=1) for x in (counts, scaled)]
    >>> evidence_of_factors(tables[0]) < -20 < 200 < evidence_of_factors(tables[1])
    True
    """
    overall = tables.sum(axis=0) + 0.5
    tables = tables[tables.sum(axis=1) >= _FEWEST]
    if len(tables) < _FEWEST_CELLS:
        return 0.0
    tilts, patterns = _tilts(overall / overall.sum()), [_pattern(noise) for noise in _NOISE]
    sums = np.zeros(len(patterns))
    for start in range(0, len(tables), _AT_ONCE):
        some = tables[start : start + _AT_ONCE].astype(np.float64)
        shares = _tilted(some, overall, tilts)
        sums += [_evidence(some, shares, pattern) for pattern in patterns]
    return float(logsumexp(sums) - np.log(len(sums)))


def _pattern(noise: float) -> np.ndarray:
    r"""Return how many times more often each small number is there after scaling, (n_factors, N_SMALL).

    1, 2, 3, ... times a factor and :math:`e^{\epsilon}`, with :math:`\epsilon` normal of deviation
    ``noise``, rounded.
    """
    numbers, before = np.arange(1, N_SMALL + 1), np.arange(1, 4 * N_SMALL)
    logs = np.log(_FACTORS[:, None] * before)[:, :, None]
    hits = ndtr((np.log(numbers + 0.5) - logs) / noise) - ndtr((np.log(numbers - 0.5) - logs) / noise)
    return np.asarray(_FACTORS[:, None] * hits.sum(axis=1) + 0.02)


def _evidence(tables: np.ndarray, shares: np.ndarray, pattern: np.ndarray) -> float:
    """Sum the log Bayes factors of cells, each of which is the mean over its factors."""
    prior = np.exp(-((np.log(_FACTORS) / _SPREAD) ** 2) / 2)
    logs = tables @ np.log(pattern).T - tables.sum(axis=1, keepdims=True) * np.log(shares @ pattern.T)
    of_cells = logsumexp(logs, axis=1, b=prior / prior.sum())
    return float((np.minimum(of_cells, _MOST) - _MISFIT).sum())


def _tilts(weights: np.ndarray) -> np.ndarray:
    """Make v and log v orthonormal under weights, (2, N_SMALL)."""
    numbers = np.arange(1.0, len(weights) + 1)
    tilts: list[np.ndarray] = []
    for tilt in (numbers, np.log(numbers)):
        tilt = tilt - (tilt * weights).sum()
        for other in tilts:
            tilt = tilt - (tilt * other * weights).sum() * other
        tilts.append(tilt / np.sqrt((tilt**2 * weights).sum()))
    return np.stack(tilts)


def _tilted(tables: np.ndarray, overall: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    """Fit the tilts of each row by damped Newton steps, with a weak prior; return its shares."""
    sizes, slopes = tables.sum(axis=1, keepdims=True), np.zeros((len(tables), len(tilts)))
    damping, value = np.full((len(tables), 1), 0.1), np.full(len(tables), -np.inf)
    tried, identity = slopes, np.eye(len(tilts))
    for _ in range(20):
        reached = (tables * np.log(_shares(overall, tried @ tilts))).sum(axis=1)
        reached -= _PRIOR / 2 * (tried**2).sum(axis=1)
        better = reached >= value
        slopes = np.where(better[:, None], tried, slopes)
        value = np.maximum(value, reached)
        damping = np.where(better[:, None], damping / 4, damping * 8)
        shares = _shares(overall, slopes @ tilts)
        gradient = (tables - sizes * shares) @ tilts.T - _PRIOR * slopes
        curvature = sizes[:, :, None] * _covariance(shares, tilts)
        curvature += (_PRIOR + sizes * damping)[:, :, None] * identity
        tried = slopes + np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
    return _shares(overall, slopes @ tilts)


def _covariance(shares: np.ndarray, tilts: np.ndarray) -> np.ndarray:
    means = shares @ tilts.T
    return np.einsum("cv,iv,jv->cij", shares, tilts, tilts) - means[:, :, None] * means[:, None, :]


def _shares(overall: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    logs = np.log(overall) + tilt
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(np.maximum(shares / shares.sum(axis=1, keepdims=True), 1e-12))
