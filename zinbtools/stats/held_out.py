"""What genes that were fitted to some cells say of the counts of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..kernels.gene_fit import Offsets
from ..kernels.gene_held_out import add_log_probabilities
from .count_models import Copies, CountFits, Family, amplification_of, columns_of, sorted_columns

Floats = NDArray[np.float64]

_AT_ONCE = 64  # genes


class HeldOut(NamedTuple):
    """Of each family and cell, all genes together, (n_families, N).

    Attributes
    ----------
    log_likelihood
        Nats.
    zeros
        How many genes are expected to be without a count.
    """

    log_likelihood: Floats
    zeros: Floats


def held_out(
    fits: CountFits,
    counts: Any,
    means: NDArray[np.floating],
    *,
    families: Sequence[Family],
    copies: Copies | None = None,
) -> HeldOut:
    """Compute the log likelihood of N cells under the fits to other cells.

    Parameters
    ----------
    fits
        Of G genes with one coefficient, one dispersion and one dropout probability, all with counts.
    counts, means, copies
        Of these cells, as for `zinbtools.stats.count_models.fit_counts`; ``copies`` if the fits had them.
    families
        Which of those that were fitted.

    Examples
    --------
    >>> from zinbtools.stats.count_models import fit_counts
    >>> x = np.random.default_rng(0).poisson(2.0, (500, 3))
    >>> fits = fit_counts(x[:250], np.ones(250), families=["nb"])
    >>> found = held_out(fits, x[250:], np.ones(250), families=["nb"])
    >>> bool(abs(found.zeros[0, 0] - 3 * np.exp(-2)) < 0.1)
    True
    """
    matrix = sorted_columns(sparse.csc_array(counts), np.arange(np.shape(counts)[0]))
    n_cells, n_genes = matrix.shape
    means = np.asarray(means, dtype=np.float64)
    amplified = None
    if copies is not None:
        amplified = amplification_of(copies, np.arange(n_cells), int(matrix.data.max(initial=0)))
        means = means / (copies.mean if means.ndim == 1 else copies.mean[:, None])
    estimates = _estimates(fits, [fits.of(family) for family in families], copies is not None)
    found = HeldOut(*np.zeros((2, len(families), n_cells)))
    ones = np.ones((1, n_cells))
    for start in range(0, n_genes, _AT_ONCE):
        block = slice(start, min(start + _AT_ONCE, n_genes))
        of_block = means[None] if means.ndim == 1 else np.ascontiguousarray(means[:, block].T)
        offsets = Offsets(of_block, ones, ones)
        add_log_probabilities(columns_of(matrix, block), offsets, amplified, estimates[block], *found)
    return found


def _estimates(fits: CountFits, places: Sequence[int], of_reads: bool) -> Floats:
    """Parameters as the kernel takes them, (G, n_families, 3), with the log factor of the copies 4."""
    with np.errstate(divide="ignore"):
        logit = np.log(fits.dropout) - np.log1p(-fits.dropout)
    parts = [fits.coefficients[..., 0], -np.log(fits.inverse_dispersion), logit]
    if of_reads:
        parts.insert(1, fits.log_copies)
    return np.ascontiguousarray(np.stack(parts, axis=-1)[:, places])
