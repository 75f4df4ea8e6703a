"""Discrepancy checks: one number per gene that real and replicated counts are compared by.

All of them follow from a few sums per gene, so that cells can stream through in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats = NDArray[np.float64]

_AT_ONCE = 2**18  # stored entries, of which there are copies


@dataclass(frozen=True, eq=False)
class GeneStatistics:
    """Sums over cells from which every check follows; ``+`` joins blocks of cells.

    Parameters
    ----------
    n_cells
        Number of cells summed over.
    n_zeros
        Cells without a count of the gene, shape (n_genes,), float64 like the rest.
    n_ones
        Cells with one count of the gene, shape (n_genes,).
    total
        Sum of the counts, shape (n_genes,).
    total_of_squares
        Sum of the squared counts, shape (n_genes,).
    maximum
        Largest count, shape (n_genes,); 0 without cells.

    Examples
    --------
    >>> first = GeneStatistics.from_counts([[0, 4], [1, 2]])
    >>> both = first + GeneStatistics.from_counts([[0, 6]])
    >>> both.n_cells, both.n_zeros, both.mean
    (3, array([2., 0.]), array([0.33333333, 4.        ]))
    """

    n_cells: int
    n_zeros: Floats
    n_ones: Floats
    total: Floats
    total_of_squares: Floats
    maximum: Floats

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
            ones = np.count_nonzero(block == 1, axis=0)
            return cls(
                n_cells,
                (n_cells - nonzeros).astype(float),
                ones.astype(float),
                block.sum(0),
                (block**2).sum(0),
                block.max(0, initial=0.0),
            )
        positive, ones, total, squares, maximum = np.zeros((5, n_genes))
        for genes, values in _stored_entries(block):
            np.add.at(positive, genes, (values != 0).astype(np.float64))
            np.add.at(ones, genes, (values == 1).astype(np.float64))
            np.add.at(total, genes, values)
            np.add.at(squares, genes, values**2)
            np.maximum.at(maximum, genes, values)
        return cls(n_cells, n_cells - positive, ones, total, squares, maximum)

    def __add__(self, other: GeneStatistics) -> GeneStatistics:
        if self.total.shape != other.total.shape:
            raise ValueError(
                f"other must cover the same genes, found {other.total.size} instead of {self.total.size}."
            )
        return GeneStatistics(
            self.n_cells + other.n_cells,
            self.n_zeros + other.n_zeros,
            self.n_ones + other.n_ones,
            self.total + other.total,
            self.total_of_squares + other.total_of_squares,
            np.maximum(self.maximum, other.maximum),
        )

    @property
    def mean(self) -> Floats:
        """Mean count per cell, shape (n_genes,); NaN without cells."""
        return _ratio(self.total, self.n_cells)


def dropout_ratio(genes: GeneStatistics) -> Floats:
    """Compute the share of cells without a count of the gene, shape (n_genes,).

    Examples
    --------
    >>> dropout_ratio(GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([0.5, 0. ])
    """
    return _ratio(genes.n_zeros, genes.n_cells)


def zeros_to_expression(genes: GeneStatistics) -> Floats:
    """Divide the number of zeros by the mean of the non-zero counts, shape (n_genes,); NaN without a count.

    The study takes the number of zeros, not their share, which leaves the KS distance as it is only
    between sets of equally many cells.

    Examples
    --------
    >>> zeros_to_expression(GeneStatistics.from_counts([[0, 4, 0], [2, 2, 0]]))
    array([0.5, 0. , nan])
    """
    return _ratio(genes.n_zeros * (genes.n_cells - genes.n_zeros), genes.total)


def coefficient_of_variation(genes: GeneStatistics) -> Floats:
    """Divide the standard deviation (ddof 0) by the mean, shape (n_genes,); NaN where the mean is 0.

    Examples
    --------
    >>> coefficient_of_variation(GeneStatistics.from_counts([[0, 4, 0], [2, 4, 0]]))
    array([ 1.,  0., nan])
    """
    return _ratio(np.sqrt(_variation(genes)), genes.total)


def mean(genes: GeneStatistics) -> Floats:
    """Return the mean count per cell, shape (n_genes,): `GeneStatistics.mean` as a check.

    Examples
    --------
    >>> mean(GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([0.5, 3. ])
    """
    return genes.mean


def variance(genes: GeneStatistics) -> Floats:
    """Compute the variance of the counts (ddof 0), shape (n_genes,).

    Examples
    --------
    >>> variance(GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([0.25, 1.  ])
    """
    return _ratio(_variation(genes), genes.n_cells**2)


def maximum(genes: GeneStatistics) -> Floats:
    """Return the largest count, shape (n_genes,); NaN without cells.

    Examples
    --------
    >>> maximum(GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([1., 4.])
    """
    return genes.maximum if genes.n_cells else np.full(genes.maximum.shape, np.nan)


def one_ratio(genes: GeneStatistics) -> Floats:
    """Compute the share of cells with exactly one count of the gene, shape (n_genes,).

    Zero inflation takes ones away in the proportion in which it takes all other counts; an inverse
    dispersion that makes up for missing zero inflation does not.

    Examples
    --------
    >>> one_ratio(GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([0.5, 0. ])
    """
    return _ratio(genes.n_ones, genes.n_cells)


def zeros_by_mean(genes: GeneStatistics, *, n_bins: int = 20) -> Floats:
    """Average the share of zeros among the genes of similar mean, shape (n_genes,).

    Genes are sorted by their mean into ``n_bins`` bins of equally many; each gets the average share of
    zeros in its bin. It follows the curve of zeros against expression and not the single gene.

    Examples
    --------
    >>> zeros_by_mean(GeneStatistics.from_counts([[0, 0, 4, 2], [1, 0, 2, 0]]), n_bins=2)
    array([0.75, 0.75, 0.25, 0.25])
    """
    zeros, n_genes = dropout_ratio(genes), genes.total.size
    order = np.argsort(genes.total, kind="stable")
    values = np.empty(n_genes)
    for members in np.array_split(order, min(n_bins, n_genes)):
        values[members] = zeros[members].mean()
    return values


@dataclass(frozen=True)
class Check:
    """Discrepancy with its name, words and source; calling it evaluates it.

    Parameters
    ----------
    name
        Key in :data:`CHECKS`, in results and in the names of metrics; a Python identifier.
    function
        From :class:`GeneStatistics` to one value per gene; NaN where it is undefined.
    label
        Title of its plot.
    reading
        How to read that plot, one or two sentences under it in reports.
    reference
        Where it comes from.
    direction
        Which values speak against a model: ``"both"``, larger than predicted (``"high"``) or smaller
        (``"low"``).
    linear
        Whether the value is a linear function of sums over cells (that is, of the fields of the statistics
        but the maximum). Then the function of the expected statistics is the expected value, which needs no
        draws of counts.
    short
        What tables and headings call it; the label by default.

    Raises
    ------
    ValueError
        If the name is no identifier.

    Examples
    --------
    >>> CHECKS["dropout_ratio"](GeneStatistics.from_counts([[0, 4], [1, 2]]))
    array([0.5, 0. ])
    >>> fano = Check("fano", lambda genes: variance(genes) / genes.mean, "variance / mean")
    >>> fano(GeneStatistics.from_counts([[0, 4], [1, 2]])).round(3)
    array([0.5  , 0.333])
    """

    name: str
    function: Callable[[GeneStatistics], Floats]
    label: str
    reading: str = "The closer to the dotted line, the better."
    reference: str = ""
    direction: Literal["both", "high", "low"] = "both"
    linear: bool = False
    short: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name must be letters, digits and underscores, found {self.name!r}.")
        if self.direction not in ("both", "high", "low"):
            raise ValueError(f"direction must be 'both', 'high' or 'low', found {self.direction!r}.")
        object.__setattr__(self, "short", self.short or self.label)

    def __call__(self, genes: GeneStatistics) -> Floats:
        return self.function(genes)


_STUDY = "Clivio, Boyeau, Lopez, Regier & Yosef (2019), Should we zero-inflate scVI?"
_CHECKING = "Gelman, Meng & Stern (1996), Posterior predictive assessment of model fitness"

#: The checks that `zinbtools.tl.ppc` takes by name.
#:
#: :meta hide-value:
CHECKS: MappingProxyType[str, Check] = MappingProxyType(
    {
        check.name: check
        for check in (
            Check(
                "dropout_ratio",
                dropout_ratio,
                "share of zeros",
                "Each gene twice: its share of zeros in held-out cells against what each model predicts for "
                "them. Below the dotted line a model predicts too few zeros.",
                _STUDY,
                linear=True,
            ),
            Check(
                "zeros_to_expression",
                zeros_to_expression,
                "zeros / mean non-zero count",
                "The number of zeros over the mean non-zero count: the closer to the dotted line, the better "
                "a model knows how zeros and expression go together.",
                _STUDY,
                short="zeros / expression",
            ),
            Check(
                "cv",
                coefficient_of_variation,
                "coefficient of variation",
                "Standard deviation over mean of each gene. Above the dotted line a model makes a gene more "
                "variable than it is, below it less.",
                _STUDY,
                short="variation",
            ),
            Check(
                "mean",
                mean,
                "mean count",
                "Mean count per cell of each gene. Below the dotted line a model predicts too few counts.",
                _CHECKING,
                linear=True,
            ),
            Check(
                "variance",
                variance,
                "variance",
                "Variance of each gene's counts over cells. Above the dotted line a model makes a gene more "
                "variable than it is, below it less.",
                _CHECKING,
            ),
            Check(
                "maximum",
                maximum,
                "largest count",
                "Largest count of each gene. Above the dotted line a model makes counts that are too large.",
                _CHECKING,
            ),
            Check(
                "one_ratio",
                one_ratio,
                "share of ones",
                "Share of the cells in which the gene has exactly one count. Below the dotted line a model "
                "predicts too few ones.",
                _CHECKING,
                linear=True,
            ),
            Check(
                "zeros_by_mean",
                zeros_by_mean,
                "share of zeros at that mean",
                "Share of zeros, averaged over the genes of similar mean, in twenty bins. Below the dotted "
                "line a model predicts too few zeros at that mean.",
                _CHECKING,
            ),
        )
    }
)


def ks_distance(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Compute the Kolmogorov-Smirnov distance between observed and predicted values of the genes.

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
    first, second = np.sort(observed[defined]), np.sort(predicted[defined])
    steps = np.concatenate([first, second])
    # scipy's ks_2samp finds the same number, along with a p-value that means nothing here and takes long
    gap = first.searchsorted(steps, side="right") - second.searchsorted(steps, side="right")
    return float(np.abs(gap).max() / first.size)


def _variation(genes: GeneStatistics) -> Floats:
    """Return the squared number of cells times the variance."""
    # Sums of integers are exact, so a gene that never varies gets exactly 0; rounding of huge sums
    # must not make the difference negative.
    return np.maximum(genes.n_cells * genes.total_of_squares - genes.total**2, 0)


def _stored_entries(counts: Any) -> Iterator[tuple[NDArray[Any], Floats]]:
    """Yield the genes of entries and these, row by row, some at a time."""
    rows = counts.tocsr()
    if not rows.has_canonical_format:
        # The square of a sum is not the sum of squares: entries stored in pieces are joined first.
        rows = rows.copy()
        rows.sum_duplicates()
    for start in range(0, rows.nnz, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        yield rows.indices[some], rows.data[some].astype(np.float64)


def _ratio(numerator: Floats, denominator: Floats | int) -> Floats:
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.not_equal(denominator, 0))
