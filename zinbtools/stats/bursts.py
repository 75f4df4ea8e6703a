"""Bursts or dropout: a Beta-Poisson and a ZINB of every gene, and how far apart the counts hold them.

Both have as many parameters and contain the NB, and neither is on the other's boundary: of a gene whose
counts refuse the NB, the paired difference of their log likelihoods over its standard error is about normal
where both are equally far from the truth (Vuong 1989).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import sparse

from ..kernels.gene_bursts import LARGEST_LOGIT, LEAST_LOGIT, Bursts, Counts, log_of_cells
from ..kernels.gene_bursts import fit_bursts as fit_block
from ..kernels.gene_fit import Offsets
from .count_models import CountFits, Family, fit_counts, sorted_columns

Floats = NDArray[np.float64]

SIMPLER: tuple[Family, ...] = ("poisson", "nb", "zinb")
_WIDEST, _MOST_LEVELS = 0.3, 12  # of dispersions that are taken for one, as logarithms; how many there are
_LEAST_ALPHA = 1e-4
_CLOSE = 0.05  # to the bound of the logit of the shape


@dataclass(frozen=True)
class BurstFits:
    """Beta-Poissons of G genes, and ZINBs with the same number of parameters.

    A gene in cell n has the mean ``mean_n e^b`` and the variance ``mean + alpha mean^2``; see
    `zinbtools.model.beta_poisson.BetaPoisson`.

    Attributes
    ----------
    n_cells
        N.
    log_likelihood
        Of all cells under the Beta-Poisson, nats, (G,).
    scale, alpha, shape
        ``e^b``, alpha and the shape, (G,).
    mean
        Average mean of the cells, (G,).
    covariance
        Of the errors of ``b``, ``log alpha`` and the logit of the shape, (G, 3, 3); NaN at a bound.
    zinb
        The ZINBs (and the NBs).
    gain, gain_se
        Mean over cells of ``log Beta-Poisson - log ZINB``, nats per cell, and its standard error, (G,).
    """

    n_cells: int
    log_likelihood: Floats
    scale: Floats
    alpha: Floats
    shape: Floats
    mean: Floats
    covariance: Floats
    zinb: CountFits
    gain: Floats
    gain_se: Floats

    @property
    def frequency(self) -> Floats:
        """Bursts in the lifetime of a molecule, ``k_on = r / alpha``, (G,)."""
        with np.errstate(divide="ignore"):
            return self.shape / self.alpha

    @property
    def off_rate(self) -> Floats:
        """How often a burst would end in the lifetime of a molecule, ``k_off``, (G,); infinite for an NB."""
        with np.errstate(divide="ignore"):
            return self.shape * (self.frequency + 1) / (1 - self.shape)

    @property
    def size(self) -> Floats:
        """Molecules that a burst makes in a cell of average mean, ``lambda / k_off``, (G,)."""
        return self.mean * self.alpha * (1 + self.alpha) / (self.shape * (self.alpha + self.shape))

    @property
    def frequency_se(self) -> Floats:
        """Standard error of the logarithm of the frequency, (G,)."""
        return self._se(np.zeros(len(self.shape)), -np.ones(len(self.shape)), 1 - self.shape)

    @property
    def size_se(self) -> Floats:
        """Standard error of the logarithm of the size, (G,)."""
        a, r = self.alpha, self.shape
        by_alpha = 1 + a / (1 + a) - a / (a + r)
        return self._se(np.ones(len(r)), by_alpha, -(1 - r) * (1 + r / (a + r)))

    @property
    def at_nb(self) -> NDArray[np.bool_]:
        """Whether the Beta-Poisson is as good as an NB, (G,)."""
        return self.logit > LARGEST_LOGIT - _CLOSE

    @property
    def at_zip(self) -> NDArray[np.bool_]:
        """Whether the Beta-Poisson is as good as a Poisson number that drops out, (G,)."""
        return self.logit < LEAST_LOGIT + _CLOSE

    @property
    def statistic(self) -> Floats:
        """Vuong's: positive for bursts, about standard normal if neither is closer to the truth, (G,)."""
        return np.divide(self.gain, self.gain_se, out=np.zeros_like(self.gain), where=self.gain_se > 0)

    @property
    def parameters(self) -> Floats:
        """Log scale and log alpha of the families and the Beta-Poisson, (G, 4, 3), and their third one.

        That is the logit of the dropout, or of the shape.
        """
        simpler, places = self.zinb, [self.zinb.of(family) for family in SIMPLER]
        with np.errstate(divide="ignore"):
            logit = np.log(simpler.dropout) - np.log1p(-simpler.dropout)
        others = np.stack([simpler.coefficients[..., 0], -np.log(simpler.inverse_dispersion), logit], axis=-1)
        shape = np.clip(self.logit, LEAST_LOGIT, LARGEST_LOGIT)
        own = np.stack([np.log(self.scale), np.log(np.maximum(self.alpha, _LEAST_ALPHA)), shape], axis=1)
        return np.concatenate([others[:, places], own[:, None]], axis=1)

    @property
    def logit(self) -> Floats:
        """Of the shape, (G,)."""
        with np.errstate(divide="ignore"):
            return np.log(self.shape) - np.log1p(-self.shape)

    def _se(self, *slopes: Floats) -> Floats:
        of = np.stack(slopes, axis=1)
        return np.sqrt(np.einsum("gi,gij,gj->g", of, self.covariance, of))


def pval_of_neither(statistic: Floats) -> Floats:
    """Return the p value of `BurstFits.statistic` if neither is closer to the truth, (G,).

    Examples
    --------
    >>> pval_of_neither(np.array([-1.96, 0.0, np.nan])).round(2)
    array([0.05, 1.  ,  nan])
    """
    return 2.0 * scipy.stats.norm.sf(np.abs(statistic))


def cells_needed(statistic: Floats, n_cells: int, level: float, power: float = 0.8) -> Floats:
    """Compute how many cells like these tell bursts from a dropout at this level, with this power, (G,).

    ``((z_level / 2 + z_power) sd / gain)^2``, with the mean gain and the standard deviation of a cell's as
    they were found: a gene whose gain is by chance next to nothing seems to need more.

    Parameters
    ----------
    statistic, n_cells
        `BurstFits.statistic`, and the cells that it is of.

    Examples
    --------
    >>> cells_needed(np.array([2.8, -0.28]), 1000, 0.05).round(-2)
    array([  1000., 100100.])
    """
    z = scipy.stats.norm.isf(level / 2) + scipy.stats.norm.isf(1 - power)
    with np.errstate(divide="ignore"):
        return n_cells * (z / statistic) ** 2


def fit_bursts(
    counts: Any,
    means: NDArray[np.floating],
    *,
    inverse_dispersions: NDArray[np.floating] | None = None,
    dropout_odds: NDArray[np.floating] | None = None,
) -> BurstFits:
    """Fit every gene as bursts and as a ZINB, by maximum likelihood.

    Parameters
    ----------
    counts, means, dropout_odds
        As for `zinbtools.stats.count_models.fit_counts`; of the odds only the ZINB knows.
    inverse_dispersions
        As there; alpha is inversely proportional to them too. Both families take them in up to twelve levels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> rate = 6 * rng.beta([0.5, 0.2], [0.5, 0.8], (4000, 2)) / np.array([0.5, 0.2])
    >>> found = fit_bursts(rng.poisson(rate), np.ones(4000))
    >>> found.frequency.round(1), bool((found.statistic > 2).all())
    (array([0.5, 0.2]), True)
    """
    matrix = sorted_columns(sparse.csc_array(counts), np.arange(np.shape(counts)[0]))
    n_cells, n_genes = matrix.shape
    means = np.asarray(means, dtype=np.float64)
    levels, dispersions = _levels(inverse_dispersions, (n_cells, n_genes))
    given = None
    if inverse_dispersions is not None:
        given = np.take_along_axis(1.0 / dispersions, levels, axis=1).T
    zinb = fit_counts(matrix, means, inverse_dispersions=given, dropout_odds=dropout_odds, families=("zinb",))
    z = zinb.of("zinb")
    with np.errstate(divide="ignore"):
        logit = np.log(zinb.dropout[:, z]) - np.log1p(-zinb.dropout[:, z])
        log_alpha = -np.log(zinb.inverse_dispersion[:, z])
    output = Bursts(
        np.full(n_genes, np.nan),
        np.full((n_genes, 3), np.nan),
        np.full((n_genes, 3, 3), np.nan),
        np.full((n_genes, 3), np.nan),
    )
    odds = np.ones((1, n_cells)) if dropout_odds is None else np.ascontiguousarray(dropout_odds.T)
    fit_block(
        by_value(matrix),
        Offsets(means[None] if means.ndim == 1 else np.ascontiguousarray(means.T), dispersions, odds),
        np.ascontiguousarray(levels),
        np.ascontiguousarray(np.stack([zinb.coefficients[:, z, 0], log_alpha, logit], axis=1)),
        output,
    )
    nb = zinb.of("nb")
    simpler = zinb.log_likelihood[:, nb] > output.log_likelihood  # at the bound, of which it is the end
    of_nb = [zinb.coefficients[:, nb, 0], -np.log(zinb.inverse_dispersion[:, nb]), np.full(n_genes, np.inf)]
    output.estimate[simpler] = np.stack(of_nb, axis=1)[simpler]
    output.covariance[simpler] = np.nan
    gain = output.gain[:, 1] / n_cells
    variance = np.maximum(output.gain[:, 2] / n_cells - gain**2, 0.0)
    return BurstFits(
        n_cells=n_cells,
        log_likelihood=np.fmax(output.log_likelihood, zinb.log_likelihood[:, nb]),
        scale=np.exp(output.estimate[:, 0]),
        alpha=np.exp(output.estimate[:, 1]),
        shape=1.0 / (1.0 + np.exp(-output.estimate[:, 2])),
        mean=np.exp(output.estimate[:, 0]) * means.mean(0),
        covariance=output.covariance,
        zinb=zinb,
        gain=gain,
        gain_se=np.sqrt(variance / max(n_cells - 1, 1)),
    )


def log_probabilities(parameters: Floats, counts: Any, means: NDArray[np.floating]) -> Floats:
    """Compute the log probability of each count of N cells, fitted to or not, nats, (4, G, N).

    Under the Poisson, NB, ZINB and Beta-Poisson with these `BurstFits.parameters`.

    Parameters
    ----------
    counts, means
        As for `fit_bursts`.

    Examples
    --------
    >>> x = np.random.default_rng(0).poisson(2.0, (500, 3))
    >>> found = log_probabilities(fit_bursts(x[:250], np.ones(250)).parameters, x[250:], np.ones(250))
    >>> found.shape, bool(np.abs(found[0] - found[3]).max() < 0.5)
    ((4, 3, 250), True)
    """
    matrix = sorted_columns(sparse.csc_array(counts), np.arange(np.shape(counts)[0]))
    means = np.asarray(means, dtype=np.float64)
    found = np.empty((parameters.shape[1], matrix.shape[1], matrix.shape[0]))
    log_of_cells(
        by_value(matrix),
        means[None] if means.ndim == 1 else np.ascontiguousarray(means.T),
        np.ascontiguousarray(parameters[:, :-1]),
        np.ascontiguousarray(parameters[:, -1]),
        found,
    )
    return found


def by_value(matrix: sparse.csc_array) -> Counts:
    """Sort the different counts of each gene."""
    columns = (matrix[:, [g]].toarray()[:, 0].astype(np.float64) for g in range(matrix.shape[1]))
    found = [np.unique(column, return_inverse=True) for column in columns]
    starts = np.cumsum([0, *(len(values) for values, _ in found)])
    places = np.array([places for _, places in found]).reshape(matrix.shape[::-1])
    return Counts(starts, np.concatenate([np.empty(0), *(values for values, _ in found)]), places)


def _levels(
    inverse_dispersions: NDArray[np.floating] | None, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], Floats]:
    """Which level of dispersion each cell has, (G, N), and the dispersions of these, (G, n_levels)."""
    n_cells, n_genes = shape
    if inverse_dispersions is None:
        return np.zeros((n_genes, n_cells), dtype=np.int64), np.ones((n_genes, 1))
    logs = -np.log(np.asarray(inverse_dispersions, dtype=np.float64)).T
    lowest, highest = logs.min(1), logs.max(1)
    n_levels = int(np.clip(np.ceil((highest - lowest).max() / _WIDEST), 1, _MOST_LEVELS))
    width = np.maximum(highest - lowest, 1e-12) / n_levels
    levels = np.minimum(((logs - lowest[:, None]) / width[:, None]).astype(np.int64), n_levels - 1)
    places = (levels + n_levels * np.arange(n_genes)[:, None]).ravel()
    sums, sizes = (np.bincount(places, of, n_levels * n_genes) for of in (logs.ravel(), None))
    means = np.divide(sums, sizes, out=np.zeros(len(sums)), where=sizes > 0)
    return levels, np.exp(means).reshape(n_genes, n_levels)
