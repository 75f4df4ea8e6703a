"""In how many of the studies is a gene called? Partial conjunctions of p values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .zero_inflation import adjusted_pval

Floats = NDArray[np.float64]


def partial_conjunction_pval(pval: Floats, at_least: int) -> Floats:
    """P value that there is something in at least ``at_least`` of the studies.

    Of the p values of the K studies that tested a gene, all but the ``at_least - 1`` smallest are combined by
    Simes' rule, ``min_j (K - r + 1) / j p_(r - 1 + j)`` (Benjamini and Heller 2008), which holds for studies
    that are independent of each other. The result, (G,), is NaN for genes that fewer studies have tested.

    Parameters
    ----------
    pval
        Of each study and gene, (K, G); NaN where a study did not test the gene.
    at_least
        r, from 1.

    Examples
    --------
    >>> partial_conjunction_pval(np.array([[0.001, 0.01], [0.02, 0.9], [0.6, 0.8]]), 2).round(3)
    array([0.04, 0.9 ])
    """
    ordered = np.sort(pval, axis=0)  # NaN last
    n_tested = (~np.isnan(pval)).sum(0)
    rank = np.arange(1, len(pval) - at_least + 2)[:, None]
    scaled = (n_tested - at_least + 1) / rank * ordered[at_least - 1 :]
    scaled[np.isnan(scaled)] = np.inf
    found = np.minimum(scaled.min(0, initial=np.inf), 1.0)
    return np.where(n_tested >= at_least, found, np.nan)


def n_replicated(pval: Floats, alpha: float = 0.05) -> NDArray[np.int64]:
    """In at least how many studies each gene has something, (G,), at a false discovery rate for each number.

    Parameters
    ----------
    pval
        As for `partial_conjunction_pval`.

    Examples
    --------
    >>> n_replicated(np.array([[1e-5, 0.01], [1e-4, 0.9], [0.6, 0.8]]))
    array([2, 1])
    """
    found = np.zeros(pval.shape[1], dtype=np.int64)
    for at_least in range(1, len(pval) + 1):
        adjusted = adjusted_pval(partial_conjunction_pval(pval, at_least))
        found[(adjusted <= alpha) & (found == at_least - 1)] = at_least
    return found
