"""Compiled likelihood of the counts of one gene with its derivatives: Poisson, NB, ZIP and ZINB.

The counts of a gene come in two pieces, its zeros and its positive counts, each sorted by row of the design
(cells with the same covariates make one row; its cells are ``start[r]:start[r + 1]``). With ``m`` the given
mean of a cell and ``d`` its given dispersion, ``mu = m exp(x_r b)``, ``alpha = d exp(a)`` its dispersion
``1 / theta`` and ``u = alpha mu``,

    log NB(x) = sum_{j<x} log(1 + alpha j) + x log mu - (x + 1 / alpha) log(1 + u) - log x!

which has its Poisson limit at alpha = 0 without cancellation. Parameters are b, a and psi = logit pi, in
this order; of a cell with given odds ``w``, ``logit pi = psi + log w``. Where all cells have the same
dispersion, d is 1 and a its logarithm; where they have the same dropout, w is 1.

Counts may be reads, of molecules to which all this applies: their likelihood is a mean of the molecules' over
what the reads may come from (`gene_reads`). A gene then has one more parameter, the logarithm f of its factor
of the copies, with a normal prior; it stands behind b.
"""

from __future__ import annotations

import numpy as np

from .double import compiled, exp, log1p, merged, summed, wide_vectors
from .gene_counts import Gene, by_kind
from .gene_molecules import from_molecules

POISSON, NB, ZIP, ZINB = range(4)
FROM_SERIES = 64  # sums over j < x are added up until here and taken from Stirling's series beyond


@compiled
def rising(value: np.ndarray, dispersion: np.ndarray, scale: float) -> np.ndarray:
    """``sum over j < x of log(1 + alpha j)``, and its first two derivatives in log alpha, (3, n_values).

    With ``alpha = scale * dispersion``; among neighbours that share it the counts increase.
    """
    sums = np.zeros((3, len(value)))
    s0, s1, s2 = 0.0, 0.0, 0.0
    at = 0
    for k in range(len(value)):
        alpha = scale * dispersion[k]
        if k > 0 and (dispersion[k] != dispersion[k - 1] or value[k] < value[k - 1]):
            s0, s1, s2, at = 0.0, 0.0, 0.0, 0
        while at < value[k] and at < FROM_SERIES:
            t = alpha * at
            s0 += np.log1p(t)
            s1 += t / (1.0 + t)
            s2 += t / (1.0 + t) ** 2
            at += 1
        sums[0, k], sums[1, k], sums[2, k] = s0, s1, s2
        if value[k] > FROM_SERIES and alpha > 0.0:  # for the Poisson all logarithms are 0
            e0, e1, e2 = rising_beyond(value[k], alpha)
            sums[0, k] += e0
            sums[1, k] += e1
            sums[2, k] += e2
    return sums


@compiled
def rising_beyond(x: float, alpha: float) -> tuple[float, float, float]:
    """Compute the same sums over ``FROM_SERIES <= j < x`` for one count, by Euler and Maclaurin's formula.

    The integral of ``log(1 + alpha t)`` from k to x, less half of what the ends differ by, plus a twelfth of
    what the derivatives differ by, minus a 720th of what the third ones do. In ``v = 1 + alpha t``.
    """
    k = float(FROM_SERIES)
    va, vb, n = 1.0 + alpha * k, 1.0 + alpha * x, x - k
    la, lb = np.log1p(alpha * k), np.log1p(alpha * x)
    difference = np.log1p(alpha * n / va)  # lb - la
    # (1 / alpha) (v log v) from a to b - n, in a form that is exact for small alpha too
    ratio = difference / alpha
    value = x * lb - k * la + ratio - n
    value -= 0.5 * difference
    da, db = alpha / va, alpha / vb
    value += (db - da) / 12.0 - 2.0 * (db**3 - da**3) / 720.0
    # d/da of it is sum alpha j / (1 + alpha j) = n - sum 1 / (1 + alpha j): the formula for 1 / v and 1 / v^2
    ia, ib = 1.0 / va, 1.0 / vb
    inverse = ratio - 0.5 * (ib - ia) - (db * ib - da * ia) / 12.0 + (db**3 * ib - da**3 * ia) / 120.0
    square = n * ia * ib - 0.5 * (ib**2 - ia**2) - (db * ib**2 - da * ia**2) / 6.0
    square += (db**3 * ib**2 - da**3 * ia**2) / 30.0
    return value, n - inverse, inverse - square


@summed
def _zeros(
    mean: np.ndarray, dispersion: np.ndarray, factor: float, alpha: float
) -> tuple[float, float, float, float, float, float]:
    """Log likelihood of zeros, and derivatives in log mu (e) and log alpha (a): e, ee, a, aa, ea."""
    wide_vectors()
    ll, e, ee, a, aa, ea = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    over = 1.0 / alpha if alpha > 0.0 else 0.0
    for i in range(len(mean)):
        mu = factor * mean[i]
        u = alpha * dispersion[i] * mu
        inverse = 1.0 / (1.0 + u)
        log_p = log1p(u) * (over / dispersion[i]) if alpha > 0.0 else mu
        slope = mu * inverse
        ll -= log_p
        e -= slope
        ee -= slope * inverse
        a += log_p - slope
        aa += slope - log_p + u * slope * inverse
        ea += u * slope * inverse
    return ll, e, ee, a, aa, ea


@summed
def _inflated_zeros(
    mean: np.ndarray,
    dispersion: np.ndarray,
    given: np.ndarray,
    factor: float,
    alpha: float,
    logit: float,
    scratch: np.ndarray,
) -> tuple[float, float, float, float, float, float, float, float, float, float]:
    """As `_zeros` for a mixture, and then the derivatives in the logit of the dropout (s): s, ss, es, as.

    Without ``log(1 - pi)``, which all cells have: `_none_dropped`.
    """
    wide_vectors()
    e, ee, a, aa, ea, s, ss, es, as_ = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    over = 1.0 / alpha if alpha > 0.0 else 0.0
    log_ps, odds_ = scratch[0], scratch[1]
    for i in range(len(mean)):
        mu = factor * mean[i]
        log_ps[i] = log1p(alpha * dispersion[i] * mu) * (over / dispersion[i]) if alpha > 0.0 else mu
    for i in range(len(mean)):
        odds_[i] = exp(-log_ps[i] - logit) / given[i]  # of an NB zero against a dropout
    ll = len(mean) * logit
    for i in range(len(mean)):
        ll += log1p(odds_[i])
    for i in range(len(mean)):
        mu, log_p, odds = factor * mean[i], log_ps[i], odds_[i]
        u = alpha * dispersion[i] * mu
        inverse = 1.0 / (1.0 + u)
        slope = mu * inverse  # minus the derivative of log NB(0) in log mu
        by_alpha = log_p - slope
        dropped = 1.0 / (1.0 + odds)
        kept = odds * dropped
        both = dropped * kept
        e -= kept * slope
        ee += both * slope * slope - kept * slope * inverse
        a += kept * by_alpha
        aa += both * by_alpha * by_alpha + kept * (u * slope * inverse - by_alpha)
        ea += kept * u * slope * inverse - both * slope * by_alpha
        s += dropped
        ss += both
        es += both * slope
        as_ -= both * by_alpha
    return ll, e, ee, a, aa, ea, s, ss, es, as_


@summed
def _positives(
    mean: np.ndarray, dispersion: np.ndarray, count: np.ndarray, factor: float, alpha: float
) -> tuple[float, float, float, float, float, float]:
    """As `_zeros` for positive counts, without the sums of `rising` and without the constant."""
    wide_vectors()
    ll, e, ee, a, aa, ea = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    over = 1.0 / alpha if alpha > 0.0 else 0.0
    log_factor = np.log(factor)
    for i in range(len(mean)):
        mu, x = factor * mean[i], count[i]
        u = alpha * dispersion[i] * mu
        inverse = 1.0 / (1.0 + u)
        log_v = log1p(u)
        log_p = log_v * (over / dispersion[i]) if alpha > 0.0 else mu
        slope = mu * inverse
        weight = 1.0 + alpha * dispersion[i] * x
        ll += x * (log_factor - log_v) - log_p
        e += (x - mu) * inverse
        ee -= slope * inverse * weight
        a += log_p - weight * slope
        aa += 2.0 * slope - log_p - weight * slope * inverse
        ea -= (x - mu) * u * inverse * inverse
    return ll, e, ee, a, aa, ea


@compiled
def n_coefficients(gene: Gene, table: np.ndarray) -> int:
    """How many parameters stand before the dispersion: those of the design, and of reads the log factor."""
    return table.shape[1] + (0 if gene.reads is None else 1)


@summed
def _none_dropped(given: np.ndarray, logit: float, same: bool) -> tuple[float, float, float]:
    """Sum of ``log(1 - pi)``, and derivatives in the logit."""
    wide_vectors()
    if same:
        n, pi = len(given), 1.0 / (1.0 + exp(-logit))
        return -n * log1p(exp(logit)), -n * pi, -n * pi * (1.0 - pi)
    ll, s, ss, scale = 0.0, 0.0, 0.0, exp(logit)
    for i in range(len(given)):
        odds = scale * given[i]
        none = 1.0 / (1.0 + odds)
        ll -= log1p(odds)
        s -= odds * none
        ss -= odds * none * none
    return ll, s, ss


def _molecules_at_counts(
    gene: Gene, ones: slice, factor: float, alpha: float, log_factor: float, sums: np.ndarray
) -> tuple[float, float, float, float, float, float, float, float, float, float]:
    """As `from_molecules` for the molecules themselves."""
    found = _positives(gene.mean[ones], gene.dispersion[ones], gene.counts[ones], factor, alpha)
    return *found, 0.0, 0.0, 0.0, 0.0


_at_counts = by_kind(_molecules_at_counts, from_molecules)


@compiled
def evaluate(
    gene: Gene, table: np.ndarray, family: int, at: np.ndarray, gradient: np.ndarray, hessian: np.ndarray
) -> float:
    """Log likelihood at the parameters ``at``, with its first and second derivatives."""
    p, A = table.shape[1], n_coefficients(gene, table)
    dispersed, inflated = family in (NB, ZINB), family >= ZIP
    F, S = p, A + 1 if dispersed else A  # where the log factor and the logit stand, log alpha at A
    are_reads = A > F
    log_factor = float(at[F]) if are_reads else 0.0
    alpha = np.exp(at[A]) if dispersed else 0.0
    logit = at[S] if inflated else -np.inf
    gradient[:] = 0.0
    hessian[:] = 0.0
    value = gene.constant
    sums = np.zeros((3, len(gene.value)))
    if are_reads:
        value -= 0.5 * gene.precision * log_factor**2
        gradient[F] -= gene.precision * log_factor
        hessian[F, F] -= gene.precision
    if dispersed:
        sums = rising(gene.value, gene.value_dispersion, alpha)
        value += np.dot(gene.multiplicity, sums[0])
        gradient[A] += np.dot(gene.multiplicity, sums[1])
        hessian[A, A] += np.dot(gene.multiplicity, sums[2])
    if inflated:
        for given in (gene.zero_odds, gene.odds):
            ll, s, ss = _none_dropped(given, logit, gene.same_odds)
            value += ll
            gradient[S] += s
            hessian[S, S] += ss
        value += gene.constant_odds
    for r in range(len(table)):
        row = table[r]
        factor = np.exp(np.dot(row, at[:p]))
        ones = slice(gene.start[r], gene.start[r + 1])
        zeros = slice(gene.zero_start[r], gene.zero_start[r + 1])
        es = 0.0
        ll, e, ee, a, aa, ea, f, ff, ef, af = _at_counts(gene, ones, factor, alpha, log_factor, sums)
        if are_reads:
            gradient[F] += f
            hessian[F, F] += ff
            if dispersed:
                hessian[F, A] += af
        if inflated:
            l0, e0, ee0, a0, aa0, ea0, s, ss, es, as_ = _inflated_zeros(
                gene.zero_mean[zeros],
                gene.zero_dispersion[zeros],
                gene.zero_odds[zeros],
                factor,
                alpha,
                logit,
                gene.scratch,
            )
            gradient[S] += s
            hessian[S, S] += ss
            if dispersed:
                hessian[A, S] += as_
        else:
            l0, e0, ee0, a0, aa0, ea0 = _zeros(
                gene.zero_mean[zeros], gene.zero_dispersion[zeros], factor, alpha
            )
        value += ll + l0
        if dispersed:
            gradient[A] += a + a0
            hessian[A, A] += aa + aa0
        for i in range(p):
            gradient[i] += row[i] * (e + e0)
            for j in range(i, p):
                hessian[i, j] += row[i] * row[j] * (ee + ee0)
            if are_reads:
                hessian[i, F] += row[i] * ef
            if dispersed:
                hessian[i, A] += row[i] * (ea + ea0)
            if inflated:
                hessian[i, S] += row[i] * es
    for i in range(len(at)):
        for j in range(i):
            hessian[i, j] = hessian[j, i]
    return value


@merged
def expected_zeros(gene: Gene, values: np.ndarray, estimate: np.ndarray) -> tuple[float, float]:
    """Number of zeros that a family expects, and how many of them it would not without dropout."""
    p = values.shape[1]
    alpha, odds = np.exp(estimate[-2]), np.exp(estimate[-1])
    total, lost = 0.0, 0.0
    for positive in range(2):
        starts = gene.start if positive else gene.zero_start
        means = gene.mean if positive else gene.zero_mean
        dispersions = gene.dispersion if positive else gene.zero_dispersion
        given = gene.odds if positive else gene.zero_odds
        for r in range(len(values)):
            factor = np.exp(np.dot(values[r], estimate[:p]))
            for i in range(starts[r], starts[r + 1]):
                zero = np.exp(-minus_log_zero(factor * means[i], alpha * dispersions[i]))
                total += zero
                lost += (1.0 - zero) * odds * given[i] / (1.0 + odds * given[i])
    return total + lost, lost


@compiled
def minus_log_zero(mu: float, alpha: float) -> float:
    """``-log NB(0)``."""
    return log1p(alpha * mu) / alpha if alpha > 0.0 else mu
