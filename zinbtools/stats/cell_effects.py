"""What a cell does to all genes alike: to the odds that a count is lost, and to the dispersion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ..kernels.gene_states import LARGEST_LOG_THETA, LEAST_LOG_THETA, slopes_in_log_theta

Floats = NDArray[np.float64]
Sums: TypeAlias = tuple[Floats, Floats]

_ROUNDS = 30
_AT_ONCE = 1024  # cells
_VARIANCE, _LEAST_VARIANCE, _MOST_VARIANCE = 0.25, 1e-4, 9.0  # of the effects, the first to begin with
_HASTE = 2.0  # power of the factor by which a variance is changed, which is slow to converge otherwise
_LONGEST_STEP = 1.0


class CellEffects(NamedTuple):
    """An effect of each cell, estimated from some genes.

    Attributes
    ----------
    values
        Of each cell, (N,), 0 on average.
    of_genes
        What each of the genes adds to them, (N, n).
    """

    values: Floats
    of_genes: NDArray[np.float32]

    def without(self, gene: int | None) -> Floats:
        """As the other genes have it, (N,): what one of the genes may be tested with."""
        return self.values if gene is None else self.values - self.of_genes[:, gene]


def cell_effects(
    counts: NDArray[np.float32],
    means: NDArray[np.float32],
    thetas: Floats,
    dropout: Floats,
    in_turn: Callable[[Callable[[slice], Sums], Iterable[slice]], Iterable[Sums]] = map,
) -> tuple[CellEffects, CellEffects]:
    r"""Estimate by how much log odds of a dropout and log inverse dispersion differ between cells.

    .. math:: x_{ng} \sim \pi_{ng} [x = 0] + (1 - \pi_{ng}) \mathrm{NB}(\mu_{ng}, e^{t_g + c_n}), \qquad
        \mathrm{logit}\, \pi_{ng} = p_g + o_n

    with normal effects o and c, whose variances are estimated. One gene can hardly tell its dropouts from a
    large dispersion; many genes together can, as their positive counts have the dispersion but not the
    dropouts.

    Parameters
    ----------
    counts, means
        (N, n). They are given up: what the genes add to the effects takes their place.
    thetas, dropout
        Of the genes, (n,), to begin with.
    in_turn
        ``map``, or what does the same in threads: each call is about some of the cells.

    Returns
    -------
    The effects on the dropout and on the dispersion.
    """
    n_cells = len(counts)
    on_dropout, on_dispersion = _Climb(counts), _Climb(means)
    on_dropout.of_genes = special.logit(np.clip(dropout, 1e-3, 0.9))
    on_dispersion.of_genes = np.log(np.minimum(thetas, np.exp(LARGEST_LOG_THETA)))

    def step(some: slice, *, at_last: bool) -> Sums:
        x, mu = (np.asarray(of[some], dtype=np.float64) for of in (counts, means))
        logit = on_dropout.at(some)
        log_theta = np.clip(on_dispersion.at(some), LEAST_LOG_THETA, LARGEST_LOG_THETA)
        theta, zero = np.exp(log_theta), x == 0
        dropped = np.zeros(x.shape)
        dropped[zero] = special.expit(logit[zero] + (theta * np.log1p(mu / theta))[zero])
        slopes = np.empty(x.shape)
        slopes_in_log_theta(x, mu, log_theta, slopes)
        of_dropout = on_dropout.step(some, dropped - special.expit(logit), at_last)
        return of_dropout, on_dispersion.step(some, (1 - dropped) * slopes, at_last)

    parts = [slice(start, start + _AT_ONCE) for start in range(0, n_cells, _AT_ONCE)]
    for rounds in range(_ROUNDS, 0, -1):
        sums_of = zip(*in_turn(partial(step, at_last=rounds == 1), parts), strict=True)
        for climb, sums in zip((on_dropout, on_dispersion), sums_of, strict=True):
            climb.end_round(*np.sum(sums, axis=0))
    return on_dropout.effects, on_dispersion.effects


class _Climb:
    """Climb to the most probable effects of cells beside those of genes, which are free.

    Steps are those of Fisher's scoring, with squared scores for the information. A gene's share in the effect
    of a cell is its score by that information; the last step writes them into ``shares``, (N, n).
    """

    def __init__(self, shares: NDArray[np.float32]) -> None:
        n_cells, n_genes = shares.shape
        self._cells, self._variance = np.zeros(n_cells), _VARIANCE
        self._left, self._shares = np.empty(n_cells), shares
        self.of_genes = np.zeros(n_genes)

    def at(self, some: slice) -> Floats:
        """Where the parameters of some cells are, (n_some, n)."""
        return self.of_genes + self._cells[some, None]

    def step(self, some: slice, scores: Floats, at_last: bool) -> Floats:
        """Move some cells; their scores and information, summed up for each gene, (2, n_genes)."""
        information = np.square(scores)
        precision = information.sum(1) + 1 / self._variance
        step = (scores.sum(1) - self._cells[some] / self._variance) / precision
        self._cells[some] += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        self._left[some] = 1 / precision
        if at_last:
            self._shares[some] = scores / precision[:, None]
        return np.stack([scores.sum(0), information.sum(0)])

    def end_round(self, score: Floats, information: Floats) -> None:
        """Re-estimate the variance and the parameters of the genes."""
        self._cells -= self._cells.mean()
        factor = float(np.mean(self._cells**2 + self._left)) / self._variance
        self._variance = float(np.clip(self._variance * factor**_HASTE, _LEAST_VARIANCE, _MOST_VARIANCE))
        self.of_genes += np.clip(score / np.maximum(information, 1.0), -_LONGEST_STEP, _LONGEST_STEP)

    @property
    def effects(self) -> CellEffects:
        return CellEffects(self._cells, self._shares)
