"""Whether a column of labels tells where the zeros of a gene are, so that no dropout is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import sparse

from .count_models import CountFits, fit_counts
from .zero_inflation import adjusted_pval, boundary_pval, dropout_likelihood_ratio

Floats = NDArray[np.float64]

NEARLY_ALL = 0.95  # of the counts of a gene that is on in one level only


class ToldBy(NamedTuple):
    """What a column says of each gene, (G,).

    Attributes
    ----------
    pval
        Of the gene's mean being the same at all levels, beside what else is known of its cells.
    pval_dropout
        Of its dropout, once each level has a mean of its own.
    on_in
        The level that has nearly all of its counts, -1 where none has.
    """

    pval: Floats
    pval_dropout: Floats
    on_in: NDArray[np.int64]


def told_by(
    counts: sparse.csc_array,
    means: Floats,
    levels: NDArray[np.int64],
    *,
    without: CountFits,
    **options: Any,
) -> ToldBy:
    """Fit the genes with a mean for each level of a column, and compare these with the fits ``without``.

    Parameters
    ----------
    counts, means
        As for `zinbtools.stats.count_models.fit_counts`.
    levels
        The level of each cell, (N,), from 0, each with 20 cells or more.
    options
        Those of `zinbtools.stats.count_models.fit_counts` that the fits ``without`` had.
    """
    n_levels = int(levels.max()) + 1
    fits = fit_counts(
        counts,
        means,
        covariates=np.eye(n_levels)[levels],
        families=("zinb",),
        **options,
    )
    z = fits.of("zinb")
    ratio = np.maximum(2 * (fits.log_likelihood[:, z] - without.log_likelihood[:, z]), 0.0)
    of_level = np.stack([np.asarray(counts[levels == k].sum(0)).ravel() for k in range(n_levels)])
    largest = of_level.argmax(0)
    nearly_all = of_level.max(0) >= NEARLY_ALL * of_level.sum(0)
    return ToldBy(
        scipy.stats.chi2.sf(ratio, n_levels - 1),
        boundary_pval(dropout_likelihood_ratio(fits)),
        np.where(nearly_all, largest, -1),
    )


def best_column(found: Mapping[str, ToldBy], alpha: float) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Name the column that tells each gene's zeros, or an empty word, (G,); and the level that it is on in.

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
    on_in = np.stack([found[name].on_in for name in names])[best, np.arange(pval.shape[1])]
    return columns, np.where(any_tells, on_in, -1)
