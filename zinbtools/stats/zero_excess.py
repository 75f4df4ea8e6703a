"""Test whether there are more zeros than a model expects, given how far it strays from its own counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from .zero_inflation import adjusted_pval

Floats = NDArray[np.float64]

FEW_ZEROS = 20


class ZeroExcess(NamedTuple):
    """Zeros beyond what a model expects, one-sided.

    Attributes
    ----------
    excess, null_mean, null_sd
        Zeros minus their expected number, and the mean and standard deviation of this in counts that the
        model drew itself, (n_genes,).
    pval, pval_adj
        Of as many zeros or more, (n_genes,), and adjusted by Benjamini and Hochberg.
    share, null_share, null_share_sd, pval_pooled
        The same over all genes, as a share of the zeros that are there (or of one, where there is none).
    """

    excess: Floats
    null_mean: Floats
    null_sd: Floats
    pval: Floats
    pval_adj: Floats
    share: float
    null_share: float
    null_share_sd: float
    pval_pooled: float

    def n_genes(self, alpha: float) -> int:
        """Count the genes with too many zeros, at this false discovery rate."""
        return int((self.pval_adj <= alpha).sum())

    def found(self, alpha: float) -> bool:
        """Say whether there are excess zeros, in single genes, or pooled; each at half of ``alpha``.

        Not where all genes together have fewer zeros than are expected: a model that is wrong both ways is
        no sign of dropout.
        """
        some = self.n_genes(alpha / 2) > 0 or self.pval_pooled <= alpha / 2
        return some and self.share > self.null_share


def zero_excess(
    observed: Floats, expected: Floats, null_observed: Floats, null_expected: Floats, scale: float = 1.0
) -> ZeroExcess:
    """Compare the numbers of zeros of each gene, (n_genes,), with those of replicates, (n_null, n_genes).

    Sums over many cells are close to normal, so that one more of them, less the mean of the replicates' and
    over their standard deviation times ``sqrt(1 + 1 / n_null)``, is Student's t with ``n_null - 1`` degrees
    of freedom. Where the replicates are of fewer cells, by the factor ``scale``, their mean and variance are
    multiplied by it, and the factor is ``sqrt(1 + scale / n_null)``. Fewer than 20 zeros are not close to
    normal: then a p value is no smaller than a Poisson number's of the zeros that are expected, to which the
    mean of the replicates' excess is added if it is above 0.

    A network does not expect exactly the zeros of its own counts either, once it has encoded them: what
    counts is how much further from the data it is.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> null = rng.binomial(100, 0.5, (50, 3)).astype(float)
    >>> found = zero_excess(np.array([80.0, 50.0, 49.0]), np.full(3, 50.0), null, np.full((50, 3), 50.0))
    >>> found.n_genes(0.05), found.found(0.05)
    (1, True)
    """
    excess, null = observed - expected, null_observed - null_expected
    n_zeros = max(float(observed.sum()), 1.0)
    of_genes, pooled = _Null.of(null, scale), _Null.of(null.sum(1), scale)
    pval = np.maximum(of_genes.pval(excess), _pval_of_few(observed, expected, of_genes.mean))
    few = _pval_of_few(observed.sum(), expected.sum(), pooled.mean)
    return ZeroExcess(
        excess,
        of_genes.mean,
        of_genes.sd,
        pval,
        adjusted_pval(pval),
        float(excess.sum() / n_zeros),
        float(pooled.mean / n_zeros),
        float(pooled.sd / n_zeros),
        float(np.maximum(pooled.pval(excess.sum()), few)),
    )


class _Null(NamedTuple):
    """Mean and standard deviation of replicates, as of as many cells as the data have."""

    mean: Floats
    sd: Floats
    n: int
    scale: float

    @classmethod
    def of(cls, replicates: Floats, scale: float) -> _Null:
        """Of replicates along the first axis."""
        sd = replicates.std(0, ddof=1) * np.sqrt(scale)
        return cls(scale * replicates.mean(0), sd, len(replicates), scale)

    def pval(self, value: Floats | float) -> Floats:
        """Return the one-sided p value of one more draw; 1 where all are equal."""
        error = np.where(self.sd > 0, self.sd * np.sqrt(1 + self.scale / self.n), 1.0)
        return np.where(self.sd > 0, scipy.stats.t.sf((value - self.mean) / error, self.n - 1), 1.0)


def _pval_of_few(observed: Floats | float, expected: Floats | float, null_mean: Floats) -> Floats:
    """Compute the probability that a Poisson number is as large; 0 where there are many zeros."""
    mean = expected + np.maximum(null_mean, 0.0)
    observed = np.asarray(observed)
    return np.where(observed < FEW_ZEROS, scipy.stats.poisson.sf(observed - 1, mean), 0.0)
