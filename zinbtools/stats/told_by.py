"""Whether a column of labels tells where the zeros of a gene are, so that no dropout is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from .count_models import fit_counts
from .zero_inflation import adjusted_pval, boundary_pval, dropout_likelihood_ratio

Floats = NDArray[np.float64]

FEWEST_CELLS = 20  # of a level that is a rate of its own; the cells of all smaller ones share one


class ToldBy(NamedTuple):
    """What a column says of each gene, (G,).

    Attributes
    ----------
    pval
        Of the gene's mean being the same at all levels, beside what else is known of its cells.
    pval_dropout
        Of its dropout, once each level has a mean of its own.
    n_on
        Number of levels that have nearly all of its counts: 1 for a gene that is on in one level only, and 0
        where they are more than half of the levels.
    """

    pval: Floats
    pval_dropout: Floats
    n_on: NDArray[np.int64]


def told_by(
    counts: sparse.csc_array,
    means: Floats,
    inverse_dispersions: Floats,
    levels: NDArray[np.int64],
    *,
    negligible_dropout: float,
) -> ToldBy:
    """Fit the genes with a mean for each level of a column, and without.

    Parameters
    ----------
    counts, means, inverse_dispersions, negligible_dropout
        As for `zinbtools.stats.count_models.fit_counts`.
    levels
        The level of each cell, (N,), from 0.
    """
    levels = merged(levels)
    n_levels = int(levels.max()) + 1
    options: dict[str, Any] = {
        "inverse_dispersions": inverse_dispersions,
        "families": ("zinb",),
        "negligible_dropout": negligible_dropout,
    }
    without = fit_counts(counts, means, **options)
    fits = fit_counts(counts, means, covariates=np.eye(n_levels)[levels], **options)
    z = fits.of("zinb")
    ratio = np.maximum(2 * (fits.log_likelihood[:, z] - without.log_likelihood[:, z]), 0.0)
    of_level = np.stack([np.asarray(counts[levels == k].sum(0)).ravel() for k in range(n_levels)])
    share = np.sort(of_level / of_level.sum(0), axis=0)[::-1].cumsum(0)
    n_on = 1 + (share < 0.95).sum(0)
    return ToldBy(
        stats.chi2.sf(ratio, n_levels - 1),
        boundary_pval(dropout_likelihood_ratio(fits)),
        np.where(2 * n_on <= n_levels, n_on, 0),
    )


def merged(levels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the levels from 0; those with fewer than 20 cells become one.

    Examples
    --------
    >>> merged(np.repeat([0, 1, 2, 3], [30, 5, 25, 6])).tolist() == np.repeat([1, 0, 2, 0], [30, 5, 25, 6]).tolist()
    True
    """
    sizes = np.bincount(levels)
    return np.unique(np.where(sizes[levels] < FEWEST_CELLS, -1, levels), return_inverse=True)[1].ravel()


def best_column(
    found: Mapping[str, ToldBy], alpha: float
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Name the column that tells each gene's zeros, or an empty word, (G,); and its number of levels that are on.

    A column tells them where the gene's mean depends on it, at the false discovery rate ``alpha`` over genes
    and columns, and no dropout is left once it is known, at level ``alpha``. Of several the one that says
    most is named.
    """
    names = list(found)
    pval = np.stack([found[name].pval for name in names])
    tells = adjusted_pval(pval.ravel()).reshape(pval.shape) <= alpha
    tells &= np.stack([found[name].pval_dropout for name in names]) > alpha
    best = np.where(tells, pval, 2.0).argmin(0)
    any_tells = tells.any(0)
    columns = np.where(any_tells, np.array(names, dtype=object)[best], "").astype(object)
    n_on = np.stack([found[name].n_on for name in names])[best, np.arange(pval.shape[1])]
    return columns, np.where(any_tells, n_on, 0)
