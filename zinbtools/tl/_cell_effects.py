"""What the genes of a fit share about its cells, for a test of each gene with what the others say."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from ..jobs.threads import in_order
from ..stats.cell_effects import CellEffects, cell_effects
from ..stats.count_models import CountFits
from ._columns import Genes

_MOST_GENES, _FEWEST_GENES = 300, 50  # that the effects are estimated from
_MOST_ENTRIES = 2**23  # beyond, fewer genes
_LEAST_SPREAD = 0.2  # standard deviation of effects below which they are left out
_LARGEST_EFFECT = 6.0
_DISPERSION_SCALE = 30.0  # of the column of effects among standardised states, so that it is hardly shrunk


def most_telling(fits: CountFits, testable: np.ndarray) -> np.ndarray:
    """Choose the genes that can show a dropout best, (G,) boolean, among those that are ``testable``."""
    most = max(min(_MOST_GENES, _MOST_ENTRIES // fits.n_cells), _FEWEST_GENES)
    first = np.argsort(-np.where(testable, fits.information, -np.inf), kind="stable")[:most]
    return testable & np.isin(np.arange(len(testable)), first)


class SharedEffects:
    """Effects of cells on the odds of a dropout and on the dispersion, as some genes have them.

    Parameters
    ----------
    fits
        ZINB of every gene, with one dispersion and one dropout probability for all cells.
    telling
        Which genes tell the effects, (G,) boolean.
    some
        These, in increasing order.
    n_threads
        That share the cells.

    Attributes
    ----------
    on_dropout, on_dispersion
        The effects; None where there is next to none.
    """

    on_dropout: CellEffects | None
    on_dispersion: CellEffects | None

    def __init__(
        self, fits: CountFits, telling: np.ndarray, some: Iterable[Genes], n_threads: int = 1
    ) -> None:
        self.on_dropout = self.on_dispersion = None
        self._genes, z = np.flatnonzero(telling), fits.of("zinb")
        if not len(self._genes):
            return
        counts, means = (np.empty((fits.n_cells, len(self._genes)), dtype=np.float32) for _ in range(2))
        for piece in some:
            places = np.searchsorted(self._genes, piece.which)
            counts[:, places], means[:, places] = piece.counts.toarray(), piece.means
        means *= np.exp(fits.coefficients[self._genes, z, 0]).astype(np.float32)
        theta, dropout = fits.inverse_dispersion[self._genes, z], fits.dropout[self._genes, z]
        self.on_dropout, self.on_dispersion = (
            effects if effects.values.std() >= _LEAST_SPREAD else None
            for effects in cell_effects(counts, means, theta, dropout, partial(in_order, n_threads=n_threads))
        )

    def odds(self, genes: np.ndarray) -> np.ndarray:
        """What the odds of a dropout of genes are proportional to, (N, n): 1 on average over cells."""
        assert self.on_dropout is not None
        effects = np.stack([self.on_dropout.without(self._place(gene)) for gene in genes], axis=1)
        odds = np.exp(np.clip(effects, -_LARGEST_EFFECT, _LARGEST_EFFECT))
        return odds / odds.mean(0)

    def beside(self, states: np.ndarray, gene: int) -> np.ndarray:
        """States of the cells with another column for their effect on the dispersion, if there is one."""
        if self.on_dispersion is None:
            return states
        effect = self.on_dispersion.without(self._place(gene))
        effect = (effect - effect.mean()) * (_DISPERSION_SCALE / effect.std())
        return np.column_stack([states, effect.astype(states.dtype)])

    def _place(self, gene: int) -> int | None:
        place = int(np.searchsorted(self._genes, gene))
        return place if place < len(self._genes) and self._genes[place] == gene else None
