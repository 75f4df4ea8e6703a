"""Compiled log probability of the counts of other cells than those that genes were fitted to."""

from __future__ import annotations

from math import lgamma, log

import numpy as np

from .double import compiled
from .gene_counts import Gene, by_kind, gather
from .gene_fit import Columns, Offsets
from .gene_likelihood import minus_log_zero, rising
from .gene_molecules import posterior
from .gene_reads import Amplification


@compiled
def add_log_probabilities(
    columns: Columns,
    offsets: Offsets,
    amplification: Amplification | None,
    estimates: np.ndarray,
    log_probability: np.ndarray,
    zeros: np.ndarray,
) -> None:
    """Add what some genes say of each cell at given parameters, by family.

    Parameters
    ----------
    estimates
        Of each gene and family b, of reads the log factor of the copies, log alpha and the logit of the
        dropout: (n_genes, n_families, 3 or 4). The design is a column of ones.
    log_probability, zeros
        To which the log probabilities of the counts are added, and the probabilities of a zero,
        (n_families, n_cells) each.
    """
    n_cells = offsets.means.shape[1]
    rows, starts = np.zeros(n_cells, np.int64), np.array([0, n_cells])
    for g in range(len(columns.starts) - 1):
        stored = slice(columns.starts[g], columns.starts[g + 1])
        mean = offsets.means[g if len(offsets.means) > 1 else 0]
        dispersion = offsets.dispersions[g if len(offsets.dispersions) > 1 else 0]
        odds = offsets.odds[g if len(offsets.odds) > 1 else 0]
        cells, counts = columns.cells[stored], columns.counts[stored].astype(np.float64)
        for family in range(estimates.shape[1]):
            at = estimates[g, family]
            layout = 0.0 if amplification is None else at[1]
            gene = gather(mean, dispersion, odds, amplification, rows, cells, counts, starts, layout)
            _add(gene, cells, counts, at, log_probability[family], zeros[family])


def _log_of_molecules(gene: Gene, k: int, x: float, sums: np.ndarray, log_mean: float, times: float) -> float:
    """Log probability of the positive count number k over that of a zero; ``log_mean`` as for `posterior`."""
    return sums[0, gene.place[k]] + x * log_mean - lgamma(x + 1.0)


def _log_of_reads(gene: Gene, k: int, x: float, sums: np.ndarray, log_mean: float, times: float) -> float:
    """As `_log_of_molecules`."""
    return posterior(gene, k, sums, log_mean, times)[0]


_log_of_count = by_kind(_log_of_molecules, _log_of_reads)


@compiled
def _add(
    gene: Gene, cells: np.ndarray, counts: np.ndarray, at: np.ndarray, total: np.ndarray, zeros: np.ndarray
) -> None:
    factor, alpha, odds = np.exp(at[0]), np.exp(at[-2]), np.exp(at[-1])
    times = np.exp(at[1])  # of the copies, where there are any
    sums = rising(gene.value, gene.value_dispersion, alpha)
    k = 0
    for n in range(len(total)):
        if k < len(cells) and cells[k] == n:
            mu, d, w = factor * gene.mean[k], gene.dispersion[k], odds * gene.odds[k]
            log_p, log_v = minus_log_zero(mu, alpha * d), np.log1p(alpha * d * mu)
            value = _log_of_count(gene, k, counts[k], sums, log(mu) - log_v, times)
            total[n] += value - log_p - np.log1p(w)
            k += 1
        else:
            i = n - k
            mu, d, w = factor * gene.zero_mean[i], gene.zero_dispersion[i], odds * gene.zero_odds[i]
            log_p = minus_log_zero(mu, alpha * d)
            total[n] += np.log((w + np.exp(-log_p)) / (1.0 + w)) if w > 0.0 else -log_p
        zeros[n] += (w + np.exp(-log_p)) / (1.0 + w)
