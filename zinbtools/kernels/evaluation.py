"""Log likelihoods of many draws for the same cells, compiled, in double precision.

The same sums as `likelihood`: every entry as if it were zero, then the positive counts. The ZINB's logarithms
are taken of products over genes. What the decoder says may come in the single precision of its weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .double import exp, f64, from_sortable, i64, log, log1p, mantissa, polynomial, sortable, wide_vectors
from .rows import Dispersion, Rows
from .single import compiled, inlined
from .stirling import DOUBLE

_LN2 = f64(np.log(2))
_AT_ONCE = 512  # mantissas from 1 to 2: their product stays in range


class States(NamedTuple):
    """States of cells, B in all, and what the decoder says of them.

    Attributes
    ----------
    cells
        Which cell of the data each is a state of, (B,).
    outputs
        Log of the means but for the library size, (B, G), and to the right of it for the ZINB logit of the
        dropout, (B, 2 G); float32 or float64.
    library
        Log library sizes, (B,), float64.
    """

    cells: np.ndarray
    outputs: np.ndarray
    library: np.ndarray


class Space(NamedTuple):
    """Working space: loops over arrays that compiled code makes for itself get no vector instructions."""

    of_genes: np.ndarray
    of_dispersions: np.ndarray


class _Means(NamedTuple):
    """NB means of a state, ``scale * factor``, and the logarithms of both."""

    scale: np.ndarray
    factor: np.float64
    log_scale: np.ndarray
    log_factor: np.float64


def working_space(n_genes: int, n_theta: int) -> Space:
    """Allocate working space for the functions below with G genes and T rows of inverse dispersions."""
    return Space(np.empty((7, n_genes)), np.empty((2, n_theta, n_genes)))


@compiled
def fixed_terms(rows: Rows, cells: np.ndarray, dispersion: Dispersion, space: Space, out: np.ndarray) -> None:
    """Compute what the log likelihood of cells owes to counts and inverse dispersions alone, nats, (B,)."""
    wide_vectors()
    log_theta, theta_row = dispersion
    theta, at_counts = space.of_dispersions[0], space.of_dispersions[1]
    for t in range(len(log_theta)):
        _dispersion_terms(log_theta[t], theta[t], at_counts[t])
    for b in range(len(cells)):
        t, cell = theta_row[b], cells[b]
        here = slice(rows.starts[cell], rows.starts[cell + 1])
        genes, counts = rows.genes[here], rows.counts[here]
        out[b] = rows.constant[cell] + _fixed_terms(genes, counts, theta[t], at_counts[t], space.of_genes)


@compiled
def log_likelihoods(
    rows: Rows,
    states: States,
    dispersion: Dispersion,
    fixed: np.ndarray,
    normalised: bool,
    space: Space,
    out: np.ndarray,
) -> None:
    """Compute the log likelihood of each state, nats, (B,).

    Parameters
    ----------
    fixed
        From `fixed_terms`, (B,).
    normalised
        Whether the scale is taken relative to its sum over genes.
    """
    wide_vectors()
    cells, outputs, library = states
    log_theta, theta_row = dispersion
    theta, inverse = space.of_dispersions[0], space.of_dispersions[1]
    for t in range(len(log_theta)):
        _inverse_dispersions(log_theta[t], theta[t], inverse[t])
    # inf and NaN may vanish in the functions of `double`; here they do not
    doubt = _doubt(log_theta.reshape(-1))
    scratch = space.of_genes
    scale, log_zero, odds, kept, of_counts = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4:]
    for b in range(len(outputs)):
        t, cell = theta_row[b], cells[b]
        here = slice(rows.starts[cell], rows.starts[cell + 1])
        genes, counts = rows.genes[here], rows.counts[here]
        log_scale, logit = outputs[b, : scale.size], outputs[b, scale.size :]
        value = fixed[b] + doubt + _doubt(outputs[b])
        shift = _scale(log_scale, normalised, scale)
        factor = np.exp(library[b]) / (_sum(scale) if normalised else f64(1))
        _at_zero(scale, factor, theta[t], inverse[t], log_zero)
        if logit.size:
            _inflate(logit, log_zero, odds, kept)
            for g in genes:
                kept[g] = 1
            value += _log_of_products(kept, odds)
        else:
            for g in genes:
                log_zero[g] = 0
            value += _sum(log_zero)
        means = _Means(scale, factor, log_scale, np.log(factor) - shift)
        out[b] = value + _at_counts(genes, counts, means, theta[t], of_counts)


@inlined
def _inverse_dispersions(log_theta: np.ndarray, theta: np.ndarray, inverse: np.ndarray) -> None:
    """``theta`` and ``1 / theta``."""
    wide_vectors()
    for g in range(log_theta.size):  # a loop that writes to two arrays would get no vector instructions
        theta[g] = exp(f64(log_theta[g]))
    for g in range(log_theta.size):
        inverse[g] = f64(1) / theta[g]


@inlined
def _dispersion_terms(log_theta: np.ndarray, theta: np.ndarray, at_counts: np.ndarray) -> None:
    """``theta``, and what it alone adds to a positive count's log probability."""
    wide_vectors()
    for g in range(log_theta.size):
        theta[g] = exp(f64(log_theta[g]))
    for g in range(log_theta.size):
        t = theta[g]
        above = f64(1) / (t + f64(1))
        remainder = polynomial(DOUBLE, above) * above + (t + f64(0.5)) * log1p(f64(1) / t) - f64(1)
        at_counts[g] = f64(0.5) * f64(log_theta[g]) - remainder


@inlined
def _fixed_terms(
    genes: np.ndarray, counts: np.ndarray, theta: np.ndarray, at_counts: np.ndarray, scratch: np.ndarray
) -> np.float64:
    """Sum the terms of `distributions.nb_log_ratios` without the mean; in double they may cancel."""
    wide_vectors()
    x_, total_, terms = scratch[0], scratch[1], scratch[2]
    value, n = 0.0, genes.size
    for i in range(n):
        g = genes[i]
        x_[i], total_[i] = counts[i], theta[g] + counts[i]
        value += at_counts[g]
    for i in range(n):
        x, total = x_[i], total_[i]
        inverse = f64(1) / total
        terms[i] = polynomial(DOUBLE, inverse) * inverse - f64(0.5) * log(total) - x * log(x)
    return value + _sum(terms[:n])


@inlined
def _doubt(row: np.ndarray) -> np.float64:
    """0, or NaN if a number is not finite."""
    wide_vectors()
    total = row[0]
    for i in range(1, row.size):
        total += row[i]
    return f64(0) * f64(total)


@inlined
def _sum(row: np.ndarray) -> np.float64:
    wide_vectors()
    total = f64(0)
    for i in range(row.size):
        total += f64(row[i])
    return total


@inlined
def _scale(log_scale: np.ndarray, normalised: bool, scale: np.ndarray) -> np.float64:
    """Exponentials of ``log_scale`` less a shift, which is returned."""
    wide_vectors()
    shift = f64(log_scale[0]) if normalised else f64(0)
    for g in range(scale.size):
        scale[g] = exp(f64(log_scale[g]) - shift)
    if not normalised or 1e-200 < _sum(scale) < 1e200:
        return shift
    largest = i64(-(2**63))
    for g in range(scale.size):
        largest = i64(max(largest, sortable(f64(log_scale[g]))))
    shift = from_sortable(largest)
    for g in range(scale.size):
        scale[g] = exp(f64(log_scale[g]) - shift)
    return shift


@inlined
def _at_zero(
    scale: np.ndarray, factor: np.float64, theta: np.ndarray, inverse: np.ndarray, log_zero: np.ndarray
) -> None:
    """NB log probability of a zero."""
    wide_vectors()
    for g in range(scale.size):
        log_zero[g] = -theta[g] * log1p(scale[g] * (factor * inverse[g]))


@inlined
def _inflate(logit: np.ndarray, log_zero: np.ndarray, odds: np.ndarray, kept: np.ndarray) -> None:
    """``pi + (1 - pi) e^z`` as a ratio: ``kept / (1 + odds)``."""
    wide_vectors()
    for g in range(logit.size):  # a loop that writes to two arrays would get no vector instructions
        odds[g] = exp(f64(logit[g]))
    for g in range(logit.size):
        kept[g] = odds[g] + exp(log_zero[g])


@inlined
def _log_of_products(kept: np.ndarray, odds: np.ndarray) -> np.float64:
    """Sum ``log(kept / (1 + odds))`` with few logarithms: exponents are added, mantissas multiplied."""
    wide_vectors()
    total = f64(0)
    for start in range(0, kept.size, _AT_ONCE):
        exponents, above, below = i64(0), f64(1), f64(1)
        for g in range(start, min(start + _AT_ONCE, kept.size)):
            numerator, denominator = f64(kept[g]).view(np.int64), f64(f64(1) + odds[g]).view(np.int64)
            exponents += i64((numerator >> 52) - (denominator >> 52))
            above *= mantissa(numerator)
            below *= mantissa(denominator)
        total += exponents * _LN2 + np.log(above / below)
    return total


@inlined
def _at_counts(
    genes: np.ndarray, counts: np.ndarray, means: _Means, theta: np.ndarray, scratch: np.ndarray
) -> np.float64:
    """NB log probability of the positive counts, but for the fixed terms."""
    wide_vectors()
    scale, factor, log_scale, log_factor = means
    x_, mu_, theta_ = scratch[0], scratch[1], scratch[2]
    value, n = f64(0), genes.size
    for i in range(n):
        g = genes[i]
        x_[i], mu_[i], theta_[i] = counts[i], factor * scale[g], theta[g]
        value += x_[i] * (f64(log_scale[g]) + log_factor)
    for i in range(n):
        x, m, t = x_[i], mu_[i], theta_[i]
        value += (t + x) * log1p((x - m) / (t + m))
    return value
