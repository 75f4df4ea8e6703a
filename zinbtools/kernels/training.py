"""The training likelihood, compiled: value and gradient of a minibatch in one pass.

As `likelihood`, in single precision: every entry first as if it were zero, then the positive counts, which
alone need more than an exponential and a logarithm. No loop writes to more than a few arrays: the compiler
gives up vector instructions where it would have to compare many of them for overlap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .double import wide_vectors
from .rows import Dispersion, Rows
from .single import (
    compiled,
    exp,
    f32,
    from_sortable,
    i32,
    inlined,
    load,
    log,
    log1p,
    log_ratio,
    sortable,
    store,
    whole_vectors,
)
from .stirling import SINGLE

_REMAINDER = tuple(f32(c) for c in SINGLE)
_SLOPE = tuple(f32((k + 1) * c) for k, c in enumerate(SINGLE))

_AT_ONCE = 2048  # entries to work on together: they stay in the cache


class Minibatch(NamedTuple):
    """What the network says of B cells.

    Attributes
    ----------
    cells
        A cell's row in the data, (B,).
    outputs
        The first G columns: log of the means but for the library size; the next G, of the ZINB: logit of the
        dropout. They become the gradient by them. float32, or uint16 that holds the bits of bfloat16.
    bias
        What is to be added to each row of the outputs.
    library
        Log library sizes, (B,).
    """

    cells: np.ndarray
    outputs: np.ndarray
    bias: np.ndarray
    library: np.ndarray


class Gradient(NamedTuple):
    """Where the gradient of ``weight`` times the log likelihood goes, beside the outputs."""

    weight: np.float32
    by_bias: np.ndarray
    by_log_theta: np.ndarray
    by_library: np.ndarray


class Space(NamedTuple):
    """Working space: rows for entries of cells and genes, and rows for genes."""

    of_entries: np.ndarray
    of_genes: np.ndarray


class _Terms(NamedTuple):
    """theta, and what it adds to a positive count's log probability and to its slope by log theta, (T, G)."""

    theta: np.ndarray
    at_counts: np.ndarray
    slope_at_counts: np.ndarray


class _Entries(NamedTuple):
    """Numbers of each gene of the cells that are worked on together; `_AT_ONCE` of them, or one cell's."""

    mu: np.ndarray
    theta: np.ndarray
    log_prob: np.ndarray
    by_mean: np.ndarray
    by_log_theta: np.ndarray
    by_logit: np.ndarray
    odds: np.ndarray
    kept: np.ndarray


_N_ENTRIES, _N_POSITIVE = len(_Entries._fields), 6


def working_space(n_genes: int, n_theta: int) -> Space:
    """Allocate working space for `log_likelihood` with G genes and T rows of inverse dispersions."""
    n_entries = whole_vectors(_cells_at_once(n_genes) * n_genes)
    return Space(
        np.ones((_N_ENTRIES + _N_POSITIVE, n_entries), dtype=f32), np.ones((3 * n_theta, n_genes), dtype=f32)
    )


@compiled
def _cells_at_once(n_genes: int) -> int:
    """Count the cells to work on together, so that the loops are long also where genes are few."""
    return max(1, _AT_ONCE // n_genes)


@compiled
def log_likelihood(
    rows: Rows,
    minibatch: Minibatch,
    dispersion: Dispersion,
    gradient: Gradient,
    space: Space,
    inflated: bool,
    normalised: bool,
) -> float:
    """Compute the log likelihood of the cells, and the gradient of a multiple of it.

    Parameters
    ----------
    inflated
        Whether the distribution is the ZINB.
    normalised
        Whether the scale, the exponential of the first outputs, is taken relative to its sum over genes.
    """
    wide_vectors()
    cells, outputs, bias, library = minibatch
    log_theta, theta_row = dispersion
    weight, by_bias, by_theta, by_library = gradient
    n_cells = len(outputs)
    n_theta, n_genes = log_theta.shape
    for_scale, for_logit = slice(0, n_genes), slice(n_genes, 2 * n_genes)
    s = space.of_entries
    entries = _Entries(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7])
    mu, theta, log_prob, by_mean, by_log_theta, by_logit, odds, kept = entries
    by_gene = space.of_genes
    terms = _Terms(by_gene[:n_theta], by_gene[n_theta : 2 * n_theta], by_gene[2 * n_theta :])
    by_theta[:] = 0
    by_bias[:] = 0
    value = 0.0
    for t in range(n_theta):
        _inverse_dispersion_terms(log_theta[t], terms.theta[t], terms.at_counts[t], terms.slope_at_counts[t])
    n_block = _cells_at_once(n_genes)
    for first in range(0, n_cells, n_block):
        block = cells[first : first + n_block]
        row_of = theta_row[first : first + n_block]
        for k in range(block.size):
            b, here = first + k, slice(k * n_genes, (k + 1) * n_genes)
            _copy(terms.theta[row_of[k]], theta[here])
            # inf and NaN may vanish in the functions of `single`; here they do not
            value += f32(0) * (library[b] + _sum(outputs[b]) + _sum(bias) + _sum(log_theta[row_of[k]]))
            _means(outputs[b][for_scale], bias[for_scale], library[b], normalised, mu[here])
            if inflated:
                _odds(outputs[b][for_logit], bias[for_logit], odds[here])
        n = whole_vectors(block.size * n_genes)
        _at_zero(mu[:n], theta[:n], log_prob, by_mean, by_log_theta)
        if inflated:
            _inflate(odds[:n], log_prob, by_mean, by_log_theta, by_logit, kept)
        _at_counts(rows, block, row_of, entries, terms, inflated, s[_N_ENTRIES:])
        for k in range(block.size):
            b, here = first + k, slice(k * n_genes, (k + 1) * n_genes)
            value += rows.constant[cells[b]] + _sum(log_prob[here])
            _add(weight, by_log_theta[here], by_theta[row_of[k]])
            by_all_means = _sum(by_mean[here])
            by_library[b] = weight * by_all_means
            if normalised:
                _add(-by_all_means * exp(-library[b]), mu[here], by_mean[here])
            _pass_on(weight, by_mean[here], outputs[b][for_scale], by_bias[for_scale])
            if inflated:
                _pass_on(weight, by_logit[here], outputs[b][for_logit], by_bias[for_logit])
    return value


@inlined
def _copy(values: np.ndarray, out: np.ndarray) -> None:
    for i in range(out.size):
        out[i] = values[i]


@inlined
def _add(weight: np.float32, values: np.ndarray, total: np.ndarray) -> None:
    for i in range(total.size):
        total[i] += weight * values[i]


@inlined
def _pass_on(weight: np.float32, slopes: np.ndarray, by_values: np.ndarray, by_bias: np.ndarray) -> None:
    """Write the gradient by a row of outputs, and add it to that by their bias."""
    for g in range(slopes.size):
        slope = weight * slopes[g]
        store(by_values, g, slope)
        by_bias[g] += slope


@inlined
def _sum(row: np.ndarray) -> np.float32:
    total = f32(0)
    for i in range(row.size):
        total += load(row, i)
    return total


@inlined
def _inverse_dispersion_terms(
    log_theta: np.ndarray, theta: np.ndarray, at_counts: np.ndarray, slope_at_counts: np.ndarray
) -> None:
    """theta, and what it alone adds to a positive count's log probability and to its slope by log theta."""
    wide_vectors()
    for g in range(log_theta.size):
        t = exp(log_theta[g])
        inverse = f32(1) / t
        step = log1p(inverse)
        above = f32(1) / (t + f32(1))
        remainder = _polynomial(_REMAINDER, above) * above + (t + f32(0.5)) * step - f32(1)
        slope = step - (t + f32(0.5)) * inverse * above - _polynomial(_SLOPE, above) * above * above
        theta[g] = t
        at_counts[g] = f32(0.5) * log_theta[g] - remainder
        slope_at_counts[g] = f32(0.5) - t * slope


@inlined
def _means(
    scale: np.ndarray, bias: np.ndarray, library: np.float32, normalised: bool, mu: np.ndarray
) -> None:
    """NB means."""
    wide_vectors()
    largest = i32(-(2**31))
    for g in range(mu.size):
        mu[g] = load(scale, g) + bias[g]
        largest = i32(max(largest, sortable(mu[g])))
    shift = from_sortable(largest) if normalised else -library
    for g in range(mu.size):
        mu[g] = exp(mu[g] - shift)
    if normalised:
        factor = exp(library) / _sum(mu)
        for g in range(mu.size):
            mu[g] *= factor


@inlined
def _odds(logit: np.ndarray, bias: np.ndarray, odds: np.ndarray) -> None:
    """Odds of a dropout, pi / (1 - pi)."""
    wide_vectors()
    for g in range(odds.size):
        odds[g] = exp(load(logit, g) + bias[g])


@inlined
def _at_zero(
    mu: np.ndarray, theta: np.ndarray, log_prob: np.ndarray, by_mean: np.ndarray, by_theta: np.ndarray
) -> None:
    """NB log probability of a zero, and its derivatives by log mean and log theta, for each gene."""
    wide_vectors()
    for g in range(mu.size):
        ratio = mu[g] / theta[g]
        log_ratio = log1p(ratio)
        log_prob[g] = -theta[g] * log_ratio
        by_theta[g] = theta[g] * _log1p_minus(-ratio / (f32(1) + ratio), -log_ratio)
    for g in range(mu.size):
        by_mean[g] = -mu[g] * theta[g] / (theta[g] + mu[g])


@inlined
def _inflate(
    odds: np.ndarray,
    log_prob: np.ndarray,
    by_mean: np.ndarray,
    by_theta: np.ndarray,
    by_logit: np.ndarray,
    kept: np.ndarray,
) -> None:
    """``log(pi + (1 - pi) e^z)`` in the place of ``z``, and its derivatives."""
    wide_vectors()
    for g in range(odds.size):
        nb_zero = exp(log_prob[g])
        spared = f32(1) / (f32(1) + odds[g])
        kept[g] = nb_zero / (odds[g] + nb_zero)
        by_logit[g] = spared - kept[g]
        log_prob[g] = log((odds[g] + nb_zero) * spared)
    for g in range(odds.size):
        by_mean[g] *= kept[g]
        by_theta[g] *= kept[g]


@inlined
def _at_counts(
    rows: Rows,
    cells: np.ndarray,
    theta_row: np.ndarray,
    entries: _Entries,
    terms: _Terms,
    inflated: bool,
    scratch: np.ndarray,
) -> None:
    """Put the positive counts' values in the place of what `_at_zero` and `_inflate` gave.

    The form is that of `distributions.nb_log_ratios`.
    """
    wide_vectors()
    starts, genes, counts, _ = rows
    mu, theta, log_prob, by_mean, by_theta, by_logit, odds, _ = entries
    n_genes = terms.at_counts.shape[1]
    x_, mu_, theta_, odds_ = scratch[0], scratch[1], scratch[2], scratch[3]
    values, slopes = scratch[4], scratch[5]
    n = 0
    for k in range(cells.size):
        for i in range(starts[cells[k]], starts[cells[k] + 1]):
            place = k * n_genes + genes[i]
            x_[n], mu_[n], theta_[n], odds_[n] = counts[i], mu[place], theta[place], odds[place]
            n += 1
    for i in range(n, whole_vectors(n)):
        x_[i], mu_[i], theta_[i] = f32(1), f32(1), f32(1)
    n = whole_vectors(n)
    log_total = slopes  # these take its place once it has been read
    for i in range(n):
        x, m, t = x_[i], mu_[i], theta_[i]
        inverse = f32(1) / (t + m)
        log_total[i] = log_ratio((t + x) * inverse, (x - m) * inverse)
    for i in range(n):
        x, m, t = x_[i], mu_[i], theta_[i]
        inverse = f32(1) / (x * (t + m))
        log_count = log_ratio(m * (t + x) * inverse, t * (m - x) * inverse)
        inverse = f32(1) / (t + x)
        remainder = _polynomial(_REMAINDER, inverse) * inverse - f32(0.5) * log(t + x)
        values[i] = x * log_count + t * log_total[i] + remainder
    for i in range(n):
        x, m, t = x_[i], mu_[i], theta_[i]
        delta = (x - m) / (t + m)
        inverse = f32(1) / (t + x)
        slope = (_polynomial(_SLOPE, inverse) * inverse + f32(0.5)) * inverse
        slopes[i] = t * (_log1p_minus(delta, log_total[i]) - slope)
        mu_[i] = t * delta
    if inflated:
        for i in range(n):
            values[i] -= log1p(odds_[i])
            odds_[i] = -odds_[i] / (f32(1) + odds_[i])
    n = 0
    for k in range(cells.size):
        t = theta_row[k]
        for i in range(starts[cells[k]], starts[cells[k] + 1]):
            g = genes[i]
            place = k * n_genes + g
            log_prob[place] = values[n] + terms.at_counts[t, g]
            by_mean[place] = mu_[n]
            by_theta[place] = slopes[n] + terms.slope_at_counts[t, g]
            by_logit[place] = odds_[n]
            n += 1


@inlined
def _log1p_minus(t: np.float32, log1p_t: np.float32) -> np.float32:
    """``log(1 + t) - t``, by its series where the difference would lose digits."""
    series = t * t * (f32(-0.5) + t * (f32(1 / 3) + t * (f32(-0.25) + t * f32(0.2))))
    return series if abs(t) < f32(0.05) else log1p_t - t


@inlined
def _polynomial(coefficients: tuple[np.float32, ...], x: np.float32) -> np.float32:
    """As `double.polynomial`, but free in the order of terms, which saves a tenth of a ZINB epoch."""
    last = len(coefficients) - 1
    value = coefficients[last]
    for k in range(last - 1, -1, -1):
        value = value * x + coefficients[k]
    return value
