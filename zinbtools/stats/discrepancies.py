"""The discrepancy checks of the study: one number per gene that real and replicated counts are compared by.

All of them follow from four sums per gene, so that cells can stream through in blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GeneStatistics:
    """Sums over cells from which every check follows; ``+`` joins blocks of cells.

    Parameters
    ----------
    n_cells
        Number of cells summed over.
    n_zeros
        Cells without a count of the gene, shape (n_genes,), float64 like the rest.
    total
        Sum of the counts, shape (n_genes,).
    total_of_squares
        Sum of the squared counts, shape (n_genes,).

    Examples
    --------
    >>> first = GeneStatistics.from_counts([[0, 4], [1, 2]])
    >>> both = first + GeneStatistics.from_counts([[0, 6]])
    >>> both.n_cells, both.n_zeros, both.mean
    (3, array([2., 0.]), array([0.33333333, 4.        ]))
    """

    n_cells: int
    n_zeros: Floats
    total: Floats
    total_of_squares: Floats

    @classmethod
    def from_counts(cls, counts: ArrayLike | sparse.spmatrix | sparse.sparray) -> GeneStatistics:
        """Sum over the cells of a block.

        Parameters
        ----------
        counts
            Counts of shape (n_cells, n_genes), dense or scipy sparse, of any numeric type. Values are
            taken as they are; no cell at all is allowed.

        Raises
        ------
        ValueError
            If ``counts`` is not two-dimensional.

        Examples
        --------
        >>> GeneStatistics.from_counts(sparse.csr_matrix([[0, 4], [1, 2]])).total_of_squares
        array([ 1., 20.])
        """
        block: Any = counts if sparse.issparse(counts) else np.asarray(counts, dtype=np.float64)
        if block.ndim != 2:
            raise ValueError(f"counts must have shape (n_cells, n_genes), found shape {block.shape}.")
        n_cells, n_genes = block.shape
        if not sparse.issparse(block):
            nonzeros = np.count_nonzero(block, axis=0)
            return cls(n_cells, (n_cells - nonzeros).astype(float), block.sum(0), (block**2).sum(0))
        genes, values = _stored_entries(block)

        def per_gene(weights: NDArray[Any]) -> Floats:
            return np.bincount(genes, weights=weights, minlength=n_genes).astype(np.float64)

        return cls(n_cells, n_cells - per_gene(values != 0), per_gene(values), per_gene(values**2))

    def __add__(self, other: GeneStatistics) -> GeneStatistics:
        if self.total.shape != other.total.shape:
            raise ValueError(
                f"other must cover the same genes, found {other.total.size} instead of {self.total.size}."
            )
        return GeneStatistics(
            self.n_cells + other.n_cells,
            self.n_zeros + other.n_zeros,
            self.total + other.total,
            self.total_of_squares + other.total_of_squares,
        )

    @property
    def mean(self) -> Floats:
        """Mean count per cell, shape (n_genes,); NaN without cells."""
        return _ratio(self.total, self.n_cells)


def dropout_ratio(genes: GeneStatistics) -> Floats:
    """Share of the cells without a count of the gene, shape (n_genes,).

    Examples
    --------
    >>> dropout_ratio(GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([0.5, 0. ])
    """
    return _ratio(genes.n_zeros, genes.n_cells)


def zeros_to_expression(genes: GeneStatistics) -> Floats:
    """Number of zeros over the mean of the non-zero counts, shape (n_genes,); NaN without a count.

    The study takes the number of zeros, not their share, which leaves the KS distance as it is only
    between sets of equally many cells.

    Examples
    --------
    >>> zeros_to_expression(GeneStatistics.from_counts([[0, 4, 0], [2, 2, 0]]))
    array([0.5, 0. , nan])
    """
    return _ratio(genes.n_zeros * (genes.n_cells - genes.n_zeros), genes.total)


def coefficient_of_variation(genes: GeneStatistics) -> Floats:
    """Standard deviation (ddof 0) over mean, shape (n_genes,); NaN where the mean is 0.

    Examples
    --------
    >>> coefficient_of_variation(GeneStatistics.from_counts([[0, 4, 0], [2, 4, 0]]))
    array([ 1.,  0., nan])
    """
    # Sums of integers are exact, so a gene that never varies gets exactly 0; rounding of huge sums
    # must not make the difference negative.
    variation = np.maximum(genes.n_cells * genes.total_of_squares - genes.total**2, 0)
    return _ratio(np.sqrt(variation), genes.total)


@dataclass(frozen=True)
class Check:
    """A registered discrepancy: calling it evaluates it.

    Parameters
    ----------
    name
        Key in :data:`CHECKS`, in results and in the names of metrics.
    function
        From :class:`GeneStatistics` to one value per gene; NaN where it is undefined.
    label
        Axis label.
    description
        One sentence for reports.
    reference
        Where it comes from.

    Examples
    --------
    >>> CHECKS["dropout_ratio"](GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([0.5, 0. ])
    """

    name: str
    function: Callable[[GeneStatistics], Floats]
    label: str
    description: str
    reference: str

    def __call__(self, genes: GeneStatistics) -> Floats:
        return self.function(genes)


_STUDY = "Clivio, Boyeau, Lopez, Regier & Yosef (2019), Should we zero-inflate scVI?"

CHECKS: MappingProxyType[str, Check] = MappingProxyType(
    {
        check.name: check
        for check in (
            Check(
                "dropout_ratio",
                dropout_ratio,
                "share of zeros",
                "Share of the cells in which the gene has no count.",
                _STUDY,
            ),
            Check(
                "zeros_to_expression",
                zeros_to_expression,
                "zeros / mean non-zero count",
                "Number of cells without a count of the gene over its mean count in the other cells.",
                _STUDY,
            ),
            Check(
                "cv",
                coefficient_of_variation,
                "coefficient of variation",
                "Standard deviation of the gene's counts over their mean.",
                _STUDY,
            ),
        )
    }
)


def ks_distance(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Two-sample Kolmogorov-Smirnov statistic between observed and predicted values of the same genes.

    The largest vertical distance between the two empirical distribution functions, over the genes where
    both values are finite. It takes multiples of 1/n_genes and forgets which gene is which: only the
    two sets of values count. It is a distance, not a test, because the two samples are paired.

    Parameters
    ----------
    observed, predicted
        One value per gene, shape (n_genes,).

    Returns
    -------
    The distance, between 0 and 1.

    Raises
    ------
    ValueError
        If the shapes differ or no gene has two finite values.

    Examples
    --------
    >>> ks_distance([1, 2, 3, np.nan], [2, 3, 4, 5]).__round__(3)
    0.333
    """
    observed, predicted = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if observed.ndim != 1 or observed.shape != predicted.shape:
        raise ValueError(
            f"observed and predicted must both have shape (n_genes,), "
            f"found {observed.shape} and {predicted.shape}."
        )
    defined = np.isfinite(observed) & np.isfinite(predicted)
    if not defined.any():
        raise ValueError(
            f"observed and predicted have no gene among {observed.size} where both are finite, "
            "leave out genes without counts."
        )
    from scipy import stats  # takes as long to load as torch: not in every worker process

    # The p-value comes along, means nothing here and is a division by zero for one gene. The exact one,
    # scipy's default, warns on some small samples.
    with np.errstate(divide="ignore"):
        result: Any = stats.ks_2samp(observed[defined], predicted[defined], method="asymp")
    return float(result.statistic)


def _stored_entries(counts: Any) -> tuple[NDArray[Any], Floats]:
    rows = counts.tocsr()
    if not rows.has_canonical_format:
        # The square of a sum is not the sum of squares: entries stored in pieces are joined first.
        rows = rows.copy()
        rows.sum_duplicates()
    return rows.indices, rows.data.astype(np.float64)


def _ratio(numerator: Floats, denominator: Floats | int) -> Floats:
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.not_equal(denominator, 0))
