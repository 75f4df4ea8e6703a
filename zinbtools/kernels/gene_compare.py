"""Compiled comparison of a gene's NB with its ZINB: what dropout adds, and what the cells tell of it."""

from __future__ import annotations

from math import log

import numpy as np

from .double import compiled
from .gene_climb import factorise, largest_excess, solve
from .gene_counts import Gene, by_kind
from .gene_likelihood import minus_log_zero, rising
from .gene_molecules import posterior


def _compare_molecules(
    gene: Gene, values: np.ndarray, nb: np.ndarray, zinb: np.ndarray, gain_of: np.ndarray
) -> float:
    """Sum the ZINB's gain on the NB and its square over cells; return the information on the dropout.

    The information on pi that is left at pi = 0 when b and alpha are estimated: from the scores of each cell
    under the NB, ``w (1 / NB(0) - 1)`` where it is zero and ``-w`` elsewhere for pi, with its odds w.
    Expectations are exact for what concerns pi, and averages over the cells for the dispersion.
    """
    p = values.shape[1]
    alpha, new_alpha = np.exp(nb[p]), np.exp(zinb[p])
    odds = np.exp(zinb[p + 1])
    # where alpha is as good as 0, its derivative still counts, but not that of its logarithm
    small = max(alpha, 1e-6 / (1.0 + largest_excess(gene)))
    value, of_value = gene.value, gene.value_dispersion
    rise = rising(value, of_value, new_alpha)[0] - rising(value, of_value, alpha)[0]
    slope = rising(value, of_value, small)[1]
    nuisance, cross, about_pi = np.zeros((p + 1, p + 1)), np.zeros(p + 1), 0.0
    total, squares = 0.0, 0.0
    for r in range(len(values)):
        row = values[r]
        factor, ratio = np.exp(np.dot(row, nb[:p])), np.exp(np.dot(row, zinb[:p] - nb[:p]))
        about_b, weighted = 0.0, 0.0
        for positive in range(2):
            starts = gene.start if positive else gene.zero_start
            means = gene.mean if positive else gene.zero_mean
            dispersions = gene.dispersion if positive else gene.zero_dispersion
            given = gene.odds if positive else gene.zero_odds
            for i in range(starts[r], starts[r + 1]):
                mu, d, w = factor * means[i], dispersions[i], given[i]
                log_zero, by_b = -minus_log_zero(mu, small * d), mu / (1.0 + small * d * mu)
                about_pi += w * w * np.expm1(min(-log_zero, 500.0))
                about_b += by_b
                weighted += w * by_b
                cross[p] -= w * (log_zero + by_b)
                score = -log_zero - by_b
                before, after = minus_log_zero(mu, alpha * d), minus_log_zero(ratio * mu, new_alpha * d)
                if positive:
                    x = gene.counts[i]
                    k = gene.place[i]
                    score += slope[k] - small * d * x * by_b
                    gain = rise[k] + before - after - np.log1p(odds * w)
                    gain += x * np.log(ratio * (1.0 + alpha * d * mu) / (1.0 + new_alpha * d * ratio * mu))
                else:
                    gain = before + np.log((odds * w + np.exp(-after)) / (1.0 + odds * w))
                nuisance[p, p] += score * score
                total += gain
                squares += gain * gain
        for i in range(p):
            cross[i] -= row[i] * weighted
            for j in range(p):
                nuisance[i, j] += row[i] * row[j] * about_b
    gain_of[0], gain_of[1] = total, squares
    for i in range(p + 1):
        nuisance[i, i] *= 1.0 + 1e-10
    if not factorise(nuisance):
        return 0.0
    return max(0.0, float(about_pi - np.dot(cross, solve(nuisance, cross))))


def _compare_reads(
    gene: Gene, values: np.ndarray, nb: np.ndarray, zinb: np.ndarray, gain_of: np.ndarray
) -> float:
    """As `_compare_molecules` for reads, which tell less of the parameters than their molecules would.

    Parameters are b, the log factor of the copies and alpha. Expectations are averages over the cells but for
    what concerns pi.
    """
    assert gene.reads is not None
    n, p = values.shape[1], values.shape[1] + 1
    alpha, new_alpha = np.exp(nb[p]), np.exp(zinb[p])
    odds, times, new_times = np.exp(zinb[p + 1]), np.exp(nb[n]), np.exp(zinb[n])
    old_sums = rising(gene.value, gene.value_dispersion, alpha)
    new_sums = rising(gene.value, gene.value_dispersion, new_alpha)
    nuisance, cross, about_pi = np.zeros((p + 1, p + 1)), np.zeros(p + 1), 0.0
    nuisance[n, n] = gene.precision
    score = np.empty(p + 1)
    total, squares = 0.0, 0.0
    for r in range(len(values)):
        row = values[r]
        factor, new_factor = np.exp(np.dot(row, nb[:n])), np.exp(np.dot(row, zinb[:n]))
        for i in range(gene.zero_start[r], gene.zero_start[r + 1]):
            mu, d, w = factor * gene.zero_mean[i], gene.zero_dispersion[i], gene.zero_odds[i]
            before = minus_log_zero(mu, alpha * d)
            after = minus_log_zero(new_factor * gene.zero_mean[i], new_alpha * d)
            by_b = mu / (1.0 + alpha * d * mu)
            for j in range(n):
                score[j] = -row[j] * by_b
            score[n], score[p] = 0.0, before - by_b
            gain = before + np.log((odds * w + np.exp(-after)) / (1.0 + odds * w))
            total, squares = total + gain, squares + gain * gain
            about_pi += _add_scores(nuisance, cross, score, row, before, by_b, w)
        for i in range(gene.start[r], gene.start[r + 1]):
            mu, d, w = factor * gene.mean[i], gene.dispersion[i], gene.odds[i]
            new_mu = new_factor * gene.mean[i]
            before, after = minus_log_zero(mu, alpha * d), minus_log_zero(new_mu, new_alpha * d)
            found = posterior(gene, i, old_sums, log(mu) - np.log1p(alpha * d * mu), times)
            new = posterior(gene, i, new_sums, log(new_mu) - np.log1p(new_alpha * d * new_mu), new_times)
            by_b, k = mu / (1.0 + alpha * d * mu), found[1]
            for j in range(n):
                score[j] = row[j] * (k - mu) / (1.0 + alpha * d * mu)
            score[n] = (gene.reads.counts[i] - k * found[7]) * found[8]
            score[p] = found[2] + before - (1.0 + alpha * d * k) * by_b
            gain = new[0] - found[0] + before - after - np.log1p(odds * w)
            total, squares = total + gain, squares + gain * gain
            about_pi += _add_scores(nuisance, cross, score, row, before, by_b, w)
    gain_of[0], gain_of[1] = total, squares
    for i in range(p + 1):
        nuisance[i, i] = nuisance[i, i] * (1.0 + 1e-10) + 1e-12
    if not factorise(nuisance):
        return 0.0
    return max(0.0, float(about_pi - np.dot(cross, solve(nuisance, cross))))


@compiled
def _add_scores(
    nuisance: np.ndarray,
    cross: np.ndarray,
    score: np.ndarray,
    row: np.ndarray,
    log_p: float,
    by_b: float,
    w: float,
) -> float:
    """Add a cell's share to the information on all but pi, and to what it shares with pi; return that on pi.

    ``log_p`` is ``-log NB(0)``.
    """
    n = len(row)
    for i in range(len(score)):
        for j in range(len(score)):
            nuisance[i, j] += score[i] * score[j]
    for i in range(n):
        cross[i] -= row[i] * w * by_b
    cross[n + 1] += w * (log_p - by_b)
    return w * w * np.expm1(min(log_p, 500.0))


compare = by_kind(_compare_molecules, _compare_reads)
