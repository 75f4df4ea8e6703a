"""Compiled likelihood of the reads of one gene: a mean of that of its molecules over what they may be."""

from __future__ import annotations

from math import log

import numpy as np

from .double import compiled, log1p
from .gene_counts import Gene
from .gene_reads import log_rates, moments


@compiled
def posterior(
    gene: Gene, i: int, sums: np.ndarray, log_mean: float, factor: float
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Sum over the molecules of a count of reads, `moments`, and the gene's copies and their q in this cell.

    ``log_mean`` is ``log mu - log(1 + u)``, what NB has to the power of the molecules; ``factor`` that of the
    gene's copies.
    """
    reads = gene.reads
    assert reads is not None
    terms = slice(reads.start[i], reads.start[i + 1])
    nodes = slice(gene.place[i], gene.place[i] + terms.stop - terms.start)
    beyond, shape = (reads.copies[i] - 1.0) * factor, reads.shape[i]
    rate, log_p = log_rates(beyond, shape)
    found = moments(
        gene.value[nodes],
        reads.log_weight[terms],
        sums[0][nodes],
        sums[1][nodes],
        sums[2][nodes],
        log_mean + rate - reads.rate[i],
        reads.scratch,
    )
    height = found[0] + reads.counts[i] * (log_p - reads.log_p[i])
    return height, *found[1:], 1.0 + beyond, shape / (beyond + shape)


def from_molecules(
    gene: Gene, ones: slice, factor: float, alpha: float, log_factor: float, sums: np.ndarray
) -> tuple[float, float, float, float, float, float, float, float, float, float]:
    """Log likelihood of reads, as `gene_likelihood._positives` has it of their molecules.

    After its derivatives come those in the log factor (f): f, ff, ef, af.
    """
    assert gene.reads is not None
    ll, e, ee, a, aa, ea, f, ff, ef, af = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    over = 1.0 / alpha if alpha > 0.0 else 0.0
    times = np.exp(log_factor)
    for i in range(ones.start, ones.stop):
        mu, d = factor * gene.mean[i], gene.dispersion[i]
        u = alpha * d * mu
        inverse = 1.0 / (1.0 + u)
        log_v = log1p(u)
        log_p = log_v * (over / d) if alpha > 0.0 else mu
        slope = mu * inverse
        found = posterior(gene, i, sums, log(mu) - log_v, times)
        height, k, r, second, var, of_r, both, copies, q = found
        weight, c = 1.0 + alpha * d * k, u * inverse
        by_f = copies * q
        excess = (gene.reads.counts[i] - k * copies) * q
        ll += height - log_p
        e += (k - mu) * inverse
        ee += inverse * inverse * var - slope * inverse * weight
        a += r + log_p - weight * slope
        aa += second + 2.0 * slope - log_p - weight * slope * inverse + of_r - 2.0 * c * both + c * c * var
        ea += inverse * (both - c * var) - (k - mu) * c * inverse
        f += excess
        ff += by_f * by_f * var - k * (copies - 1.0) * q - excess * (1.0 - q)
        ef -= inverse * by_f * var
        af -= by_f * (both - c * var)
    return ll, e, ee, a, aa, ea, f, ff, ef, af
