"""Log likelihoods of many draws for the same cells, compiled, in double precision.

The same sums as `likelihood`: every entry as if it were zero, then the positive counts. The ZINB's logarithms
are taken of products over genes.
"""

from __future__ import annotations

import numpy as np

from ._double import exp, f64, from_sortable, i64, log, log1p, parts, polynomial, sortable
from ._stirling import DOUBLE
from ._vector import compiled, inlined, wide_vectors

_LN2 = f64(np.log(2))
_AT_ONCE = 512  # mantissas between the square roots of 1/2 and 2: their product stays in range


def scratch(n_genes: int, n_theta: int) -> tuple[np.ndarray, np.ndarray]:
    """Working space for `log_likelihoods` with G genes and T rows of inverse dispersions.

    (Loops over arrays that compiled code makes for itself get no vector instructions.)
    """
    return np.empty((8, n_genes)), np.empty((2, n_theta, n_genes))


@compiled
def log_likelihoods(
    starts: np.ndarray,
    genes: np.ndarray,
    counts: np.ndarray,
    constant: np.ndarray,
    cells: np.ndarray,
    log_scale: np.ndarray,
    logit: np.ndarray,
    log_theta: np.ndarray,
    theta_row: np.ndarray,
    library: np.ndarray,
    normalised: bool,
    scratch: np.ndarray,
    theta_scratch: np.ndarray,
    out: np.ndarray,
) -> None:
    """Log likelihood of each row, nats.

    Parameters
    ----------
    starts, genes, counts, constant
        The data in compressed rows; the share of the log likelihood that depends on them alone, (N,).
    cells
        Which cell of the data each row is, (B,).
    log_scale
        Log of the means but for the library size, (B, G), float64.
    logit
        Logit of the dropout, likewise; without rows for the NB.
    log_theta, theta_row
        Log inverse dispersions, (T, G), float64, and each row's among them, (B,).
    library
        Log library sizes, (B,).
    normalised
        Whether the scale is taken relative to its sum over genes.
    scratch, theta_scratch
        From `scratch`.
    out
        (B,).
    """
    wide_vectors()
    n_theta = len(log_theta)
    theta, at_counts = theta_scratch[0], theta_scratch[1]
    for t in range(n_theta):
        _inverse_dispersion_terms(log_theta[t], theta[t], at_counts[t])
    # inf and NaN may vanish in the functions of _double; here they do not
    doubt = f64(0) * _sum(log_theta.reshape(-1))
    mu, log_zero, kept, spread, of_counts = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4:]
    for b in range(len(log_scale)):
        t, cell = theta_row[b], cells[b]
        here = slice(starts[cell], starts[cell + 1])
        value = constant[cell] + doubt + f64(0) * _sum(log_scale[b])
        log_factor = _means(log_scale[b], library[b], normalised, mu)
        _at_zero(mu, theta[t], log_zero)
        if len(logit):
            value += f64(0) * _sum(logit[b])
            _inflate(logit[b], log_zero, kept, spread)
            for g in genes[here]:
                kept[g] = 1
            value += _log_product(kept, spread)
        else:
            for g in genes[here]:
                log_zero[g] = 0
            value += _sum(log_zero)
        out[b] = value + _at_counts(
            *(genes[here], counts[here], log_scale[b], log_factor, mu, theta[t], at_counts[t]), of_counts
        )


@inlined
def _inverse_dispersion_terms(log_theta: np.ndarray, theta: np.ndarray, at_counts: np.ndarray) -> None:
    """theta, and what it alone adds to a positive count's log probability."""
    for g in range(log_theta.size):
        t = exp(log_theta[g])
        above = f64(1) / (t + f64(1))
        remainder = polynomial(DOUBLE, above) * above + (t + f64(0.5)) * log1p(f64(1) / t) - f64(1)
        theta[g] = t
        at_counts[g] = f64(0.5) * log_theta[g] - remainder


@inlined
def _sum(row: np.ndarray) -> np.float64:
    total = f64(0)
    for i in range(row.size):
        total += row[i]
    return total


@inlined
def _means(log_scale: np.ndarray, library: np.float64, normalised: bool, mu: np.ndarray) -> np.float64:
    """NB means; returns what their logarithms have beside ``log_scale``."""
    if not normalised:
        for g in range(mu.size):
            mu[g] = exp(log_scale[g] + library)
        return library
    largest = i64(-(2**63))
    for g in range(mu.size):
        largest = i64(max(largest, sortable(log_scale[g])))
    shift = from_sortable(largest)
    for g in range(mu.size):
        mu[g] = exp(log_scale[g] - shift)
    factor = np.exp(library) / _sum(mu)
    for g in range(mu.size):
        mu[g] *= factor
    return np.log(factor) - shift


@inlined
def _at_zero(mu: np.ndarray, theta: np.ndarray, log_zero: np.ndarray) -> None:
    """NB log probability of a zero."""
    for g in range(mu.size):
        log_zero[g] = -theta[g] * log1p(mu[g] / theta[g])


@inlined
def _inflate(logit: np.ndarray, log_zero: np.ndarray, kept: np.ndarray, spread: np.ndarray) -> None:
    """``pi + (1 - pi) e^z``, as a ratio: ``kept / spread``."""
    for g in range(logit.size):
        odds = exp(logit[g])
        kept[g] = odds + exp(log_zero[g])
        spread[g] = f64(1) + odds


@inlined
def _log_product(numerator: np.ndarray, denominator: np.ndarray) -> np.float64:
    """Sum of the logs of ratios: exponents are added and mantissas multiplied, with few logarithms."""
    total = f64(0)
    for start in range(0, numerator.size, _AT_ONCE):
        exponents, product = i64(0), f64(1)
        for g in range(start, min(start + _AT_ONCE, numerator.size)):
            exponent, mantissa = parts(numerator[g] / denominator[g])
            exponents += exponent
            product *= mantissa
        total += exponents * _LN2 + np.log(product)
    return total


@inlined
def _at_counts(
    genes: np.ndarray,
    counts: np.ndarray,
    log_scale: np.ndarray,
    log_factor: np.float64,
    mu: np.ndarray,
    theta: np.ndarray,
    at_counts: np.ndarray,
    scratch: np.ndarray,
) -> np.float64:
    """NB log probability of the positive counts, but for what depends on them alone.

    The terms of `distributions.nb_log_ratios`; in double precision they may cancel.
    """
    x_, mu_, theta_, misfit = scratch[0], scratch[1], scratch[2], scratch[3]
    value, n = 0.0, genes.size
    for i in range(n):
        g = genes[i]
        x_[i], mu_[i], theta_[i] = counts[i], mu[g], theta[g]
        value += at_counts[g] + x_[i] * (log_scale[g] + log_factor)
    for i in range(n):
        x, m, t = x_[i], mu_[i], theta_[i]
        misfit[i] = (t + x) * log1p((x - m) / (t + m)) - x * log(x)
    for i in range(n):
        total = theta_[i] + x_[i]
        inverse = f64(1) / total
        misfit[i] += polynomial(DOUBLE, inverse) * inverse - f64(0.5) * log(total)
    return value + _sum(misfit[:n])
