"""Compiled fit of bursts to the counts of one gene around given means, and its comparison with a ZINB.

`beta_poisson` has the distribution. The log probability of a count is a smooth function of the log mean: it
is computed on a grid, with its first two derivatives, and in between it is the polynomial of fifth degree
that has them: with steps of h it errs by ``h^6 / 46,080`` of the sixth derivative, for a Poisson number's by
that of its mean.
At one mean all counts are computed at once. With ``R_x`` the mean of t among the cells with count x,

    P(x + 1) / P(x) = lambda R_x / (x + 1)
    R_x = (a + x) / (a + x + b + lambda S),    S = 1 - R_{x+1}

is a continued fraction without cancellation, taken from the largest count down; only P(0) takes a sum.

Parameters are the logarithms of the scale of the means and of alpha, and the logit of the shape. Derivatives
in the scale are those of the polynomials, the others differences.
"""

from __future__ import annotations

from math import lgamma, log
from typing import NamedTuple

import numpy as np

from .beta_poisson import log_sum, rates
from .double import compiled, merged
from .gene_climb import factorise, factorise_damped, put, shortening, solve
from .gene_fit import Offsets
from .gene_likelihood import minus_log_zero, rising

STEP = 0.2  # of the grid of log means
_LONGEST_GRID = 16.0  # from the largest log mean down; beyond, straight lines
_SETTLED = 1e-17  # what is left of a guess at the tail, once it was followed down
_DIFFERENCE = 2e-3  # of log alpha and logit r, for derivatives

LEAST_LOGIT, LARGEST_LOGIT = -8.0, 6.0  # of the shape: as good as the ZIP, and as the NB
_LEAST_LOG_ALPHA, _LARGEST_LOG_ALPHA = log(1e-4), log(1e3)
_SHAPES = (0.3, 0.8)  # from which climbs start
_MOST_STEPS, _LONGEST_STEP = 40, 2.0
_MOST_DAMPING, _FIRST_DAMPING = 1e8, 1e-3
_TOLERANCE = 1e-5  # nats that another step promises


class Counts(NamedTuple):
    """Counts of genes in all cells, by the different ones of each gene.

    Attributes
    ----------
    starts, values
        Where those of each gene start, (n_genes + 1,), and these in increasing order.
    places
        Which of its gene's a cell has, (n_genes, n_cells).
    """

    starts: np.ndarray
    values: np.ndarray
    places: np.ndarray


class Bursts(NamedTuple):
    """What is found, one entry a gene: see `stats.bursts.BurstFits`."""

    log_likelihood: np.ndarray
    estimate: np.ndarray
    covariance: np.ndarray
    gain: np.ndarray


class _Gene(NamedTuple):
    """Counts of one gene in all cells: log means, places among values and dispersions, and these."""

    log_mean: np.ndarray
    place: np.ndarray
    level: np.ndarray
    value: np.ndarray
    dispersion: np.ndarray
    scratch: np.ndarray


@compiled
def fit_bursts(
    counts: Counts, offsets: Offsets, levels: np.ndarray, zinb: np.ndarray, output: Bursts
) -> None:
    """Fit some genes, and compare each with a ZINB.

    Parameters
    ----------
    offsets
        As for `gene_fit.fit_block`; ``dispersions`` are those of the levels, (n_genes, n_levels).
    levels
        Which of its dispersions each cell has, (n_genes, n_cells).
    zinb
        Of each gene the log scale, log alpha and logit of the dropout, (n_genes, 3).
    """
    for g in range(len(counts.places)):
        value = counts.values[counts.starts[g] : counts.starts[g + 1]]
        if value[-1] == 0.0:
            continue
        mean = offsets.means[g if len(offsets.means) > 1 else 0]
        odds = offsets.odds[g if len(offsets.odds) > 1 else 0]
        scratch = np.empty(int(value[-1]) + 3)
        gene = _Gene(np.log(mean), counts.places[g], levels[g], value, offsets.dispersions[g], scratch)
        output.log_likelihood[g] = _fit_gene(gene, zinb[g], output.estimate[g], output.covariance[g])
        _compare(gene, odds, zinb[g], output.estimate[g], output.gain[g])


@merged
def _fit_gene(gene: _Gene, zinb: np.ndarray, estimate: np.ndarray, covariance: np.ndarray) -> float:
    """Climb from the moments of the ZINB, from other shapes where that ended at a bound."""
    at, gradient, hessian = np.empty(3), np.empty(3), np.empty((3, 3))
    log_kept = -np.log1p(np.exp(zinb[2]))
    best = -np.inf
    for shape in _SHAPES:
        at[0] = zinb[0] + log_kept
        at[1] = log(max(np.expm1(np.log1p(np.exp(zinb[1])) - log_kept), 1e-3))
        at[2] = log(shape / (1.0 - shape))
        height = _climb(gene, at, gradient, hessian)
        if height > best:
            best = height
            put(at, estimate)
            hessian *= -1.0
            covariance[:] = np.nan
            if factorise(hessian):
                for i in range(3):
                    unit = np.zeros(3)
                    unit[i] = 1.0
                    put(solve(hessian, unit), covariance[i])
        if LEAST_LOGIT < at[2] < LARGEST_LOGIT:
            break
    return best


@merged
def _climb(gene: _Gene, at: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> float:
    """Newton's method, damped; the end stands in ``at``, and its derivatives beside it."""
    lower = np.array([-np.inf, _LEAST_LOG_ALPHA, LEAST_LOGIT])
    upper = np.array([np.inf, _LARGEST_LOG_ALPHA, LARGEST_LOGIT])
    factor, damping = np.empty((3, 3)), 0.0
    put(np.minimum(np.maximum(at, lower), upper), at)
    height = _derivatives(gene, at, gradient, hessian)
    for _ in range(_MOST_STEPS):
        for i in range(1, 3):  # what is at its bound and would go beyond stays
            if (at[i] == lower[i] and gradient[i] < 0.0) or (at[i] == upper[i] and gradient[i] > 0.0):
                hessian[i, :], hessian[:, i], gradient[i] = 0.0, 0.0, 0.0
                hessian[i, i] = -1.0
        damping = factorise_damped(hessian, damping, factor)
        if damping > _MOST_DAMPING:
            break
        step = solve(factor, gradient)
        step *= shortening(step, _LONGEST_STEP)
        trial = np.minimum(np.maximum(at + step, lower), upper)
        promised = np.dot(gradient, trial - at)
        if promised < _TOLERANCE:
            break
        reached, _, _ = _evaluate(gene, trial)
        if reached > height:
            put(trial, at)
            height = _derivatives(gene, at, gradient, hessian)
            damping *= 0.1
        else:
            damping = max(8.0 * damping, _FIRST_DAMPING)
    return height


@compiled
def _derivatives(gene: _Gene, at: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> float:
    """Log likelihood, with its first and second derivatives."""
    h = _DIFFERENCE
    value, gradient[0], hessian[0, 0] = _evaluate(gene, at)
    both_ways = -2.0 * value
    for i in range(1, 3):
        near = at.copy()
        near[i] = at[i] + h
        more, slope_more, _ = _evaluate(gene, near)
        near[i] = at[i] - h
        less, slope_less, _ = _evaluate(gene, near)
        gradient[i] = (more - less) / (2.0 * h)
        hessian[i, i] = (more + less - 2.0 * value) / (h * h)
        hessian[0, i] = (slope_more - slope_less) / (2.0 * h)
        hessian[i, 0] = hessian[0, i]
        both_ways += more + less
    near = at.copy()
    near[1], near[2] = at[1] + h, at[2] + h
    more, _, _ = _evaluate(gene, near)
    near[1], near[2] = at[1] - h, at[2] - h
    less, _, _ = _evaluate(gene, near)
    hessian[1, 2] = (more + less - both_ways) / (2.0 * h * h)
    hessian[2, 1] = hessian[1, 2]
    return value


@compiled
def _evaluate(gene: _Gene, at: np.ndarray) -> tuple[float, float, float]:
    """Log likelihood, and its first two derivatives in the log scale."""
    value, slope, bend = 0.0, 0.0, 0.0
    first, table = _tables(gene, at)
    for n in range(len(gene.place)):
        s = gene.log_mean[n] + at[0]
        t, i = _where(s, first, table.shape[1])
        c = table[gene.level[n], i, gene.place[n]]
        if t < 0.0:
            value += c[0] + c[1] * t
            slope += c[1]
            continue
        value += c[0] + t * (c[1] + t * (c[2] + t * (c[3] + t * (c[4] + t * c[5]))))
        slope += c[1] + t * (2.0 * c[2] + t * (3.0 * c[3] + t * (4.0 * c[4] + t * 5.0 * c[5])))
        bend += 2.0 * c[2] + t * (6.0 * c[3] + t * (12.0 * c[4] + t * 20.0 * c[5]))
    return value, slope / STEP, bend / (STEP * STEP)


@compiled
def _where(s: float, first: float, n: int) -> tuple[float, int]:
    """Where on a grid of n steps a log mean is: how far in a step, and in which."""
    t = s / STEP - first
    i = min(max(int(np.floor(t)), 0), n - 1)  # rounding may put the largest beyond the last
    return t - i, i


@compiled
def _tables(gene: _Gene, at: np.ndarray) -> tuple[float, np.ndarray]:
    """Polynomials of the log probabilities, (n_levels, n_steps, n_values, 6), and where the first begins."""
    lowest, highest = gene.log_mean[0], gene.log_mean[0]
    for log_mean in gene.log_mean:
        lowest, highest = min(lowest, log_mean), max(highest, log_mean)
    highest += at[0]
    lowest = max(lowest + at[0], highest - _LONGEST_GRID)
    first = np.floor(lowest / STEP)
    n = int(np.floor(highest / STEP) - first) + 1
    table = np.empty((len(gene.dispersion), n, len(gene.value), 6))
    shape = 1.0 / (1.0 + np.exp(-at[2]))
    ends = np.empty((2, len(gene.value), 3))
    for level in range(len(gene.dispersion)):
        a, b = rates(np.exp(at[1]) * gene.dispersion[level], shape)
        for i in range(n + 1):
            new = ends[i % 2]
            _at_one_mean(gene, np.exp(STEP * (first + i)), a, b, new)
            if i > 0:
                _join(ends[(i - 1) % 2], new, table[level, i - 1])
    return first, table


@merged
def _join(left: np.ndarray, right: np.ndarray, polynomials: np.ndarray) -> None:
    """Write the polynomials that have values, slopes and second derivatives at both ends of a step."""
    for k in range(len(left)):
        f, d, e = left[k, 0], left[k, 1] * STEP, 0.5 * left[k, 2] * STEP * STEP
        rest = right[k, 0] - f - d - e
        slope = right[k, 1] * STEP - d - 2.0 * e
        bend = 0.5 * right[k, 2] * STEP * STEP - e
        c = polynomials[k]
        c[0], c[1], c[2] = f, d, e
        c[3] = 10.0 * rest - 4.0 * slope + bend
        c[4] = -15.0 * rest + 7.0 * slope - 2.0 * bend
        c[5] = 6.0 * rest - 3.0 * slope + bend


@merged
def _at_one_mean(gene: _Gene, mean: float, a: float, b: float, found: np.ndarray) -> None:
    """Log probabilities of all values, and their first two derivatives in the log mean, (n_values, 3)."""
    rate, share = mean * (a + b) / a, gene.scratch  # R_x
    last = len(share) - 1
    x, missing = _beyond(last + 1.0, rate, a, b)
    while x > last + 1.0:
        x -= 1.0
        missing = (b + rate * missing) / (a + x + b + rate * missing)
    for j in range(last, -1, -1):
        total = a + j + b + rate * missing
        share[j] = (a + j) / total
        missing = (b + rate * missing) / total
    log_p, _, _, _ = log_sum(0.0, rate, a, b)
    product, j = 1.0, 0
    for k in range(len(gene.value)):
        value = int(gene.value[k])
        while j < value:
            product *= rate * share[j] / (j + 1.0)
            j += 1
            if not 1e-200 < product < 1e200:
                log_p += log(product)
                product = 1.0
        log_p += log(product)
        product = 1.0
        expected = rate * share[value]
        found[k, 0] = log_p
        found[k, 1] = value - expected
        found[k, 2] = expected * (rate * (share[value + 1] - share[value]) - 1.0)


@merged
def _beyond(x: float, rate: float, a: float, b: float) -> tuple[float, float]:
    """Where to start a continued fraction that is to be exact at ``x``, and a guess at S there."""
    left = 1.0
    while True:
        # as if it were the same at x and at x + 1
        half = 0.5 * (a + x + b - rate)
        root = np.sqrt(half * half + rate * b)
        missing = b / (half + root) if half > 0.0 else (root - half) / rate
        if left < _SETTLED:
            return x, missing
        left *= rate * (a + x) / (a + x + b + rate * missing) ** 2
        x += 1.0


@merged
def _compare(gene: _Gene, odds: np.ndarray, zinb: np.ndarray, bursts: np.ndarray, gain: np.ndarray) -> None:
    """Sum the ZINB's log likelihood, and the gain of bursts on it and its square, over cells."""
    n_cells = len(gene.place)
    of_bursts, of_zinb = np.empty(n_cells), np.empty(n_cells)
    _log_bursts(gene, bursts, of_bursts)
    _log_zinb(gene, odds, zinb, of_zinb)
    gain[0], gain[1], gain[2] = 0.0, 0.0, 0.0
    for n in range(n_cells):
        gain[0] += of_zinb[n]
        gain[1] += of_bursts[n] - of_zinb[n]
        gain[2] += (of_bursts[n] - of_zinb[n]) ** 2


@compiled
def _log_bursts(gene: _Gene, at: np.ndarray, found: np.ndarray) -> None:
    """Log probability of each cell's count under bursts."""
    first, table = _tables(gene, at)
    for n in range(len(found)):
        t, i = _where(gene.log_mean[n] + at[0], first, table.shape[1])
        c = table[gene.level[n], i, gene.place[n]]
        found[n] = c[0] + c[1] * t
        if t >= 0.0:
            found[n] += t * t * (c[2] + t * (c[3] + t * (c[4] + t * c[5])))


@compiled
def _log_zinb(gene: _Gene, odds: np.ndarray, at: np.ndarray, found: np.ndarray) -> None:
    """Log probability of each cell's count under a ZINB: log scale, log alpha and logit of the dropout."""
    alpha, dropped = np.exp(at[1]), np.exp(at[2])
    n_levels, n_values = len(gene.dispersion), len(gene.value)
    value, dispersion = np.empty((n_levels, n_values)), np.empty((n_levels, n_values))
    for level in range(n_levels):
        put(gene.value, value[level])
        dispersion[level] = gene.dispersion[level]
    sums = rising(value.reshape(-1), dispersion.reshape(-1), alpha)[0].reshape(n_levels, n_values)
    for n in range(len(found)):
        x, level, w = gene.value[gene.place[n]], gene.level[n], dropped * odds[n]
        mu, d = np.exp(gene.log_mean[n] + at[0]), alpha * gene.dispersion[level]
        log_p = minus_log_zero(mu, d)
        if x > 0.0:
            found[n] = sums[level, gene.place[n]] + x * (log(mu) - np.log1p(d * mu)) - lgamma(x + 1.0)
            found[n] -= log_p + np.log1p(w)
        else:
            found[n] = np.log((w + np.exp(-log_p)) / (1.0 + w)) if w > 0.0 else -log_p


@compiled
def log_of_cells(
    counts: Counts, means: np.ndarray, zinbs: np.ndarray, bursts: np.ndarray, found: np.ndarray
) -> None:
    """Write what some genes say of the counts of cells at given parameters.

    Parameters
    ----------
    means
        As for `gene_fit.Offsets`.
    zinbs
        Log scale, log alpha and logit of the dropout of several families, (n_genes, n_families, 3).
    bursts
        Log scale, log alpha and logit of the shape, (n_genes, 3).
    found
        Log probabilities under these, the bursts last, (n_families + 1, n_genes, n_cells).
    """
    n_families, _, n_cells = found.shape
    level, ones = np.zeros(n_cells, np.int64), np.ones(n_cells)
    for g in range(len(counts.places)):
        value = counts.values[counts.starts[g] : counts.starts[g + 1]]
        log_mean = np.log(means[g if len(means) > 1 else 0])
        scratch = np.empty(int(value[-1]) + 3)
        gene = _Gene(log_mean, counts.places[g], level, value, np.ones(1), scratch)
        for family in range(n_families - 1):
            _log_zinb(gene, ones, zinbs[g, family], found[family, g])
        _log_bursts(gene, bursts[g], found[n_families - 1, g])
