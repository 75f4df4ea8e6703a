"""Where an observed value stands among draws of a model, and whether residuals are uniform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

N_BINS = 20
_ORDER = 4


def rank_position(n_below: Any, n_ties: Any, n: Any) -> Any:
    """Say where a value stands among ``n`` exchangeable others, between 0 and 1.

    The share of the ``n + 1`` values that are smaller, ties and the value itself counted by half: uniform
    on the middles of ``n + 1`` equal intervals where there are no ties, 1/2 where all are tied.

    Examples
    --------
    >>> rank_position(n_below=99, n_ties=0, n=99), rank_position(n_below=0, n_ties=9, n=9)
    (0.995, 0.5)
    """
    return (n_below + (n_ties + 1) / 2) / (n + 1)


class Uniformity(NamedTuple):
    """What `ResidualSums.test` finds for each gene, (n_genes,) each; NaN without cells.

    Attributes
    ----------
    statistic, p_value
        Neyman's smooth statistic of order 4, chi-square with four degrees of freedom where the residuals are
        uniform.
    location
        Standard normal where they are uniform; positive where counts are larger than predicted.
    spread
        Standard normal likewise; positive where counts are more spread out than predicted.
    """

    statistic: Floats
    p_value: Floats
    location: Floats
    spread: Floats


@dataclass(frozen=True, eq=False)
class ResidualSums:
    """Sums over cells of what a test of uniformity and a histogram need; ``+`` joins blocks of cells.

    Parameters
    ----------
    n_cells
        Number of cells summed over.
    moments
        Sums of the four orthonormal Legendre polynomials on (0, 1), shape (4, n_genes).
    histogram
        Residuals by twentieths of (0, 1), shape (n_genes, 20).

    Examples
    --------
    >>> even = np.linspace(0.005, 0.995, 100)[:, None]
    >>> sums = ResidualSums.from_residuals(np.hstack([even, even**2]))
    >>> sums.test().p_value.round(3)
    array([1., 0.])
    """

    n_cells: int
    moments: Floats
    histogram: NDArray[np.int64]

    @classmethod
    def from_residuals(cls, residuals: Floats) -> ResidualSums:
        """Sum over a block of cells, (n_cells, n_genes), of numbers from 0 to 1."""
        n_cells, n_genes = residuals.shape
        centred = 2 * residuals - 1
        moments = [
            np.sqrt(2 * k + 1) * special.eval_legendre(k, centred).sum(0) for k in range(1, _ORDER + 1)
        ]
        bins = np.minimum((residuals * N_BINS).astype(np.int64), N_BINS - 1)
        places = bins + N_BINS * np.arange(n_genes)
        histogram = np.bincount(places.ravel(), minlength=n_genes * N_BINS).reshape(n_genes, N_BINS)
        return cls(n_cells, np.stack(moments), histogram)

    def __add__(self, other: ResidualSums) -> ResidualSums:
        return ResidualSums(
            self.n_cells + other.n_cells, self.moments + other.moments, self.histogram + other.histogram
        )

    def test(self) -> Uniformity:
        """Apply Neyman's smooth test of uniformity, gene by gene.

        The sums over cells, divided by the root of their number, are close to standard normal and
        independent from some thirty cells on, and the sum of their squares to a chi-square (Rayner & Best
        1989, Smooth tests of goodness of fit).
        """
        with np.errstate(invalid="ignore"):
            scores = self.moments / np.sqrt(self.n_cells)
        statistic = (scores**2).sum(0)
        return Uniformity(statistic, special.chdtrc(_ORDER, statistic), scores[0], scores[1])
