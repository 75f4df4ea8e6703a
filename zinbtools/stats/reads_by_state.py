"""How the dispersion of a gene's molecules depends on the state of a cell, where their reads were counted.

The molecules of a cell are not known. They are given a few values that are equally probable, given its reads
and what was found so far, and the regression of molecules is that of all of these; a few times over.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gammaln

from ..kernels.gene_reads import trace
from .count_models import Copies, CountFits, amplification_of, fit_counts
from .dispersion_by_state import PRECISIONS, ByState, dispersion_by_state

Floats = NDArray[np.float64]

_ROUNDS = 3
_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the molecules of a count of reads
_LARGEST_THETA = 1e6


class Molecules(NamedTuple):
    """What the molecules of a gene may be.

    Attributes
    ----------
    cells
        Of which cell each number is, by index, (n,): those without a read once, the others once a quantile.
    numbers, weights
        Molecules, and their probabilities, (n,).
    """

    cells: NDArray[np.int64]
    numbers: Floats
    weights: Floats


def molecules_behind(
    counts: Floats, means: Floats, inverse_dispersions: Floats, copies: Copies, log_factor: float = 0.0
) -> Molecules:
    """Give each count of reads of one gene the quantiles of its molecules.

    Parameters
    ----------
    counts
        Reads, (N,).
    means, inverse_dispersions
        Of the molecules before looking at the reads, (N,).
    copies
        Of each cell; and ``log_factor``, the logarithm of the gene's own factor of the copies less one.

    Examples
    --------
    >>> copies = Copies(np.full(3, 10.0), np.full(3, np.inf))
    >>> found = molecules_behind(np.array([0.0, 10.0, 30.0]), np.ones(3), np.full(3, 2.0), copies)
    >>> [found.numbers[found.cells == cell].tolist() for cell in (0, 1)]
    [[0.0], [1.0, 1.0, 1.0, 1.0, 1.0]]
    >>> float(np.median(found.numbers[found.cells == 2]))
    3.0
    """
    given = amplification_of(copies, np.arange(len(counts)), int(counts.max(initial=0)))
    some = np.flatnonzero(counts > 0)
    x = np.ascontiguousarray(counts[some], dtype=np.float64)
    reads, place = trace(x, given.copies[some], given.shape[some], log_factor, given)
    first, end = reads.start[:-1], reads.start[1:]
    of = np.repeat(np.arange(len(some)), end - first)
    k = given.grid.molecules[place[of] + np.arange(len(of)) - first[of]]
    theta, mean = np.minimum(inverse_dispersions, _LARGEST_THETA)[some][of], means[some][of]
    log_weight = reads.log_weight + gammaln(k + theta) - k * np.log1p(theta / mean)
    weight = np.exp(log_weight - np.maximum.reduceat(log_weight, first)[of]) if len(of) else log_weight
    below = np.concatenate([[0.0], np.cumsum(weight)])
    at = [
        np.minimum(np.searchsorted(below[1:], below[first] + q * (below[end] - below[first])), end - 1)
        for q in _QUANTILES
    ]
    none = np.flatnonzero(counts == 0)
    return Molecules(
        np.concatenate([none, np.tile(some, len(at))]),
        np.concatenate([np.zeros(len(none)), *(k[places] for places in at)]),
        np.concatenate([np.ones(len(none)), np.full(len(at) * len(some), 1 / len(at))]),
    )


def reads_by_state(
    counts: sparse.csc_array,
    means: Floats,
    states: Floats,
    copies: Copies,
    family: Literal["nb", "zinb"],
    precision: float | None = None,
) -> ByState:
    """Estimate by which factor the inverse dispersion of a gene's molecules differs between cells.

    Parameters
    ----------
    counts
        Reads of one gene, (N, 1).
    means
        Positive numbers that its reads are proportional to, (N, 1).
    states
        What the dispersion may depend on, (N, K).
    copies
        With the shape of this gene.
    family
        What the molecules are; of a ZINB the dispersion is that of the counts that are no dropouts.
    precision
        Of the prior of the coefficients, where it is known: `dispersion_by_state`.
    """
    x, mu = counts.toarray().ravel().astype(np.float64), means[:, 0] / copies.mean
    found = ByState(np.ones(len(x)), PRECISIONS[0], 0.0)
    for _ in range(_ROUNDS):
        given = found.factors[:, None]
        fits = fit_counts(counts, means, copies=copies, families=[family], inverse_dispersions=given)
        place = fits.of(family)
        mean = mu * np.exp(fits.coefficients[0, place, 0])
        theta = np.minimum(fits.inverse_dispersion[0, place], _LARGEST_THETA) * found.factors
        of = molecules_behind(x, mean, theta, copies, float(fits.log_copies[0, place]))
        none = np.where(of.numbers > 0, 1.0, _no_dropout(fits, mean, theta)[of.cells])
        tried = PRECISIONS if precision is None else [precision]
        found = dispersion_by_state(of.numbers, mean, states, of.weights * none, tried, of.cells)
    return found


def _no_dropout(fits: CountFits, mean: Floats, theta: Floats) -> Floats:
    """Probability that a cell without reads lost none, (N,)."""
    pi = np.nan_to_num(fits.dropout[0, fits.of("zinb")])  # NaN where only an NB was fitted
    absent = (1 - pi) * np.exp(-theta * np.log1p(mean / theta))
    return absent / (pi + absent)
