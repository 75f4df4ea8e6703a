"""Counts drawn from what the decoder says, and what is expected of them, summed over cells or draws.

B cells, G genes. Rows of ``sums``, (6, G), unless said: cells, positive counts, ones, total, total of
squares, maximum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .double import wide_vectors
from .single import compiled, exp, f32, from_sortable, i32, inlined, log1p, sortable

CELLS, POSITIVE, ONES, TOTAL, SQUARES, MAXIMUM = range(6)
N_SUMS = 6

_WORDS = 65536.0  # how many numbers a word of 16 bits can be
_LARGE_MEAN = 30.0  # from here on walking up the distribution function takes longer than drawing a rate
_LARGEST_RATE = 2.0**31  # no data hold more
_TAIL = 1e-3
_MARGIN = f32(1e-5)  # more than the error of P(0) in single precision
_STEPS = 8  # of each walk, made for many entries at once: most end there
NOT_KEPT = np.zeros((0, 0), dtype=np.float32)
_INVERSE = 1 / np.arange(1.0, 257.0)  # divisions take most of a step


class Decoded(NamedTuple):
    """What the decoder says of the counts of B cells.

    Attributes
    ----------
    log_mean
        Log of the NB means, (B, G), float32.
    theta
        Inverse dispersions, (1, G) or (B, G), float64.
    dropout_logit
        Logit of the dropout probabilities, (B, G), float32, or (0, 0) for the NB.
    """

    log_mean: np.ndarray
    theta: np.ndarray
    dropout_logit: np.ndarray


class _Entries(NamedTuple):
    """Entries of one cell whose count may be positive."""

    gene: np.ndarray
    ratio: np.ndarray
    zero: np.ndarray


@compiled
def log_means(log_scale: np.ndarray, bias: np.ndarray, library: np.ndarray, normalised: bool) -> None:
    """Turn the decoder's scales, (B, G), still without their bias, into the logs of the NB means."""
    wide_vectors()
    for b in range(len(log_scale)):
        row, total = log_scale[b], f32(1)
        for g in range(row.size):
            row[g] += bias[g]
        if normalised:
            largest = i32(-(2**31))
            for g in range(row.size):
                largest = i32(max(largest, sortable(row[g])))
            shift, total = from_sortable(largest), f32(0)
            for g in range(row.size):
                row[g] -= shift
            for g in range(row.size):
                total += exp(row[g])
        shift = library[b] - np.log(total)
        for g in range(row.size):
            row[g] += shift


def random_words(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform random words of 16 bits."""
    size = math.prod(shape)
    return rng.bit_generator.random_raw(-(-size // 4)).view(np.uint16)[:size].reshape(shape)


@compiled
def add_counts(
    decoded: Decoded, words: np.ndarray, rng: np.random.Generator, sums: np.ndarray, single: np.ndarray
) -> None:
    """Draw a count for each entry and add it to ``sums``; ``single``, zeros (B, G) or (0, 0), keeps it.

    A count is the inverse of the distribution function at ``1 - v`` for a uniform ``v``, of which ``words``,
    (B, G) uint16, are the leading bits. ``P(x > 0)`` is at most ``mu``: where ``v`` is above that, as it is
    for most entries of sparse data, the count is zero and nothing more need be computed. Where it is above
    ``1 - pi``, the count is a dropout; otherwise ``v / (1 - pi)`` is uniform again.
    """
    wide_vectors()
    log_mean, theta, dropout_logit = decoded
    n_cells, n_genes = log_mean.shape
    means = np.empty(n_genes, dtype=np.float32)
    places, chosen = np.empty((2, n_genes), dtype=np.int32)
    mean_, theta_, word_, ratios, zeros, kept, bound = np.empty((7, n_genes), dtype=np.float32)
    above, walks, counts = np.empty(n_genes), np.empty((4, n_genes)), np.empty(n_genes, dtype=np.int64)
    entries = _Entries(places, ratios, zeros)
    by_place = np.zeros((n_genes, 8))  # a gene's sums lie side by side here: they are needed together
    kept[:] = 1
    for b in range(n_cells):
        by_gene = theta[b if len(theta) > 1 else 0]
        for g in range(n_genes):
            means[g] = exp(log_mean[b, g])
        n = 0
        for g in range(n_genes):
            places[n] = g
            n += f32(words[b, g]) <= means[g] * f32(_WORDS)
        for i in range(n):
            g = places[i]
            mean_[i], theta_[i], word_[i] = means[g], f32(by_gene[g]), f32(words[b, g])
        if dropout_logit.size > 0:
            for i in range(n):
                kept[i] = dropout_logit[b, places[i]]
            for i in range(n):
                kept[i] = f32(1) / (f32(1) + exp(kept[i]))
        for i in range(n):
            ratios[i] = mean_[i] / theta_[i]
        for i in range(n):
            zeros[i] = exp(-theta_[i] * log1p(ratios[i]))
        for i in range(n):
            # at most P(x > 0); counts of large mean are not drawn by inversion
            positive = f32(1) if mean_[i] > f32(_LARGE_MEAN) else f32(1) - zeros[i] + _MARGIN
            bound[i] = kept[i] * positive * f32(_WORDS)
        n_chosen = 0
        for i in range(n):
            chosen[n_chosen] = i
            n_chosen += word_[i] <= bound[i]
        for k in range(n_chosen):
            i = chosen[k]
            above[k] = (word_[i] + rng.random()) / (_WORDS * kept[i])
        _first_steps(chosen[:n_chosen], entries, by_gene, above, walks, counts)
        for k in range(n_chosen):
            i = chosen[k]
            g = places[i]
            count = counts[k]
            if count == _STEPS or above[k] <= _TAIL or mean_[i] > _LARGE_MEAN:
                count = _one_by_one(above[k], float(mean_[i]), by_gene[g], walks[:, k], rng)
            if single.size > 0:
                single[b, g] = count
            of_gene = by_place[g]
            of_gene[POSITIVE] += count > 0
            of_gene[ONES] += count == 1
            of_gene[TOTAL] += count
            of_gene[SQUARES] += float(count) * count
            of_gene[MAXIMUM] = max(of_gene[MAXIMUM], count)
    for g in range(n_genes):
        sums[CELLS, g] += n_cells
        for row in (POSITIVE, ONES, TOTAL, SQUARES):
            sums[row, g] += by_place[g, row]
        sums[MAXIMUM, g] = max(sums[MAXIMUM, g], by_place[g, MAXIMUM])


@inlined
def _first_steps(
    chosen: np.ndarray,
    entries: _Entries,
    theta: np.ndarray,
    above: np.ndarray,
    walks: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Make the first ``_STEPS`` steps of `_walk` from P(0), of all chosen entries at once."""
    wide_vectors()
    n = chosen.size
    probability, cumulative, share, theta_ = walks[0], walks[1], walks[2], walks[3]
    for k in range(n):
        i = chosen[k]
        probability[k], share[k], theta_[k] = entries.zero[i], entries.ratio[i], theta[entries.gene[i]]
    for k in range(n):
        share[k] = share[k] / (1.0 + share[k])
    for k in range(n):
        below, p = 1.0 - above[k], probability[k]
        total, count = p, np.int64(0)
        for step in range(_STEPS):
            count += total <= below
            p *= share[k] * (theta_[k] + step) * (1.0 / (step + 1))
            total += p
        counts[k], probability[k], cumulative[k] = count, p, total


@compiled
def _one_by_one(above: float, mean: float, theta: float, walk: np.ndarray, rng: np.random.Generator) -> int:
    """Draw a count that the first steps do not give."""
    if above >= 1.0:
        return 0
    if mean > _LARGE_MEAN:
        return rng.poisson(min(rng.standard_gamma(theta) * mean / theta, _LARGEST_RATE))
    if above > _TAIL:
        return _walk(1.0 - above, walk[0], walk[1], walk[2], theta, mean, _STEPS)
    # the far tail would notice that P(0) is known in single precision
    ratio = mean / theta
    zero = math.exp(-theta * math.log1p(ratio))
    return _walk(1.0 - above, zero, zero, ratio / (1.0 + ratio), theta, mean, 0)


@compiled
def _walk(
    below: float, probability: float, cumulative: float, share: float, theta: float, mean: float, count: int
) -> int:
    """Find the smallest count with ``P(x <= count) > below``, walking up from a count with its figures."""
    # the second condition ends the walk where rounding keeps the sum from ever reaching 1
    while cumulative <= below and (probability > 1e-18 or count < mean):
        inverse = _INVERSE[count] if count < len(_INVERSE) else 1.0 / (count + 1)
        probability *= share * (theta + count) * inverse
        cumulative += probability
        count += 1
    return count


@compiled
def add_expected(decoded: Decoded, sums: np.ndarray) -> None:
    """Add what each entry is expected to contribute to ``sums``; the maximum is left as it is."""
    wide_vectors()
    log_mean, theta, dropout_logit = decoded
    n_cells, n_genes = log_mean.shape
    # of at most some hundred cells: single precision will do
    positive, ones, total, squares = np.zeros((4, n_genes), dtype=np.float32)
    mean, ratio, zero, kept = np.ones((4, n_genes), dtype=np.float32)
    for b in range(n_cells):  # loops that write to several arrays would get no vector instructions
        by_gene = theta[b if len(theta) > 1 else 0]
        for g in range(n_genes):
            mean[g] = exp(log_mean[b, g])
        for g in range(n_genes):
            ratio[g] = mean[g] / f32(by_gene[g])
        for g in range(n_genes):
            zero[g] = exp(-f32(by_gene[g]) * log1p(ratio[g]))
        if dropout_logit.size > 0:
            for g in range(n_genes):
                kept[g] = f32(1) / (f32(1) + exp(dropout_logit[b, g]))
        for g in range(n_genes):
            positive[g] += kept[g] * (f32(1) - zero[g])
        for g in range(n_genes):
            ones[g] += kept[g] * zero[g] * mean[g] / (f32(1) + ratio[g])
        for g in range(n_genes):
            total[g] += kept[g] * mean[g]
        for g in range(n_genes):
            squares[g] += kept[g] * mean[g] * (f32(1) + mean[g] + ratio[g])
    for g in range(n_genes):  # rows at once would have the compiler spend 1.4 s on words for unequal shapes
        sums[CELLS, g] += n_cells
        sums[POSITIVE, g] += positive[g]
        sums[ONES, g] += ones[g]
        sums[TOTAL, g] += total[g]
        sums[SQUARES, g] += squares[g]


@compiled
def add_expectations(decoded: Decoded, sums: np.ndarray) -> None:
    """Add NB mean, dropout probability, P(0) and P(dropout | 0) of each entry to ``sums``, (4, B, G)."""
    wide_vectors()
    log_mean, theta, dropout_logit = decoded
    n_cells, n_genes = log_mean.shape
    for b in range(n_cells):
        by_gene = theta[b if len(theta) > 1 else 0]
        for g in range(n_genes):
            mean, dispersion = exp(log_mean[b, g]), f32(by_gene[g])
            exponent = -dispersion * log1p(mean / dispersion)
            zero = exp(exponent)
            sums[0, b, g] += mean
            if dropout_logit.size > 0:
                logit = dropout_logit[b, g]
                lost = f32(1) / (f32(1) + exp(-logit))
                zero = lost + (f32(1) - lost) * zero
                sums[1, b, g] += lost
                sums[3, b, g] += f32(1) / (f32(1) + exp(exponent - logit))
            sums[2, b, g] += zero
