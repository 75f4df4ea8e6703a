"""What the genes of a fit share about its cells, for a test of each gene with what the others say."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np

from ..stats.cell_effects import CellEffects, cell_effects
from ..stats.count_models import CountFits
from ._columns import Blocks, columns_of

MOST_GENES, FEWEST_GENES = 300, 50  # that the effects are estimated from
_MOST_ENTRIES = 2**23  # beyond, fewer genes
_LEAST_SPREAD = 0.2  # standard deviation of effects below which they are left out
_LARGEST_EFFECT = 6.0
_DISPERSION_SCALE = 30.0  # of the column of effects among standardised states, so that it is hardly shrunk


class SharedEffects:
    """Effects of cells on the odds of a dropout and on the dispersion, as the most telling genes have them.

    Parameters
    ----------
    blocks, n_counts, means
        As for `zinbtools.tl._columns.fit_columns`.
    fits
        NB and ZINB of every gene, with one dispersion and one dropout probability for all cells.
    testable
        Which genes have counts enough, (G,).
    """

    def __init__(
        self,
        blocks: Blocks,
        n_counts: np.ndarray,
        means: Iterable[tuple[slice, np.ndarray]],
        fits: CountFits,
        testable: np.ndarray,
    ) -> None:
        most = max(min(MOST_GENES, _MOST_ENTRIES // fits.n_cells), FEWEST_GENES)
        telling = np.argsort(-np.where(testable, fits.information, -np.inf), kind="stable")[:most]
        self._genes = np.sort(telling[testable[telling]])
        self._fits = fits
        self._counts, self._means = columns_of(blocks, n_counts, means, self._genes)

    @cached_property
    def _effects(self) -> tuple[CellEffects | None, CellEffects | None]:
        """On the odds of a dropout and on the dispersion; None where they are next to none."""
        z, some = self._fits.of("zinb"), self._genes
        theta, dropout = self._fits.inverse_dispersion[some, z], self._fits.dropout[some, z]
        scale = np.exp(self._fits.coefficients[some, z, 0])
        of_dropout, of_dispersion = (
            effects if effects.values.std() >= _LEAST_SPREAD else None
            for effects in cell_effects(self._counts, self._means * scale, theta, dropout)
        )
        return of_dropout, of_dispersion

    @property
    def on_dropout(self) -> bool:
        """Whether cells differ in the odds of a dropout."""
        return self._effects[0] is not None

    def odds(self, genes: Iterable[int]) -> np.ndarray:
        """What the odds of a dropout of genes are proportional to, (N, n): 1 on average over cells."""
        of_dropout = self._effects[0]
        assert of_dropout is not None
        effects = np.stack([of_dropout.without(self._place(gene)) for gene in genes], axis=1)
        odds = np.exp(np.clip(effects, -_LARGEST_EFFECT, _LARGEST_EFFECT))
        return odds / odds.mean(0)

    def beside(self, states: np.ndarray, gene: int) -> np.ndarray:
        """States of the cells with another column for their effect on the dispersion, if there is one."""
        of_dispersion = self._effects[1]
        if of_dispersion is None:
            return states
        effect = of_dispersion.without(self._place(gene))
        effect = (effect - effect.mean()) * (_DISPERSION_SCALE / effect.std())
        return np.column_stack([states, effect.astype(states.dtype)])

    def _place(self, gene: int) -> int | None:
        place = int(np.searchsorted(self._genes, gene))
        return place if place < len(self._genes) and self._genes[place] == gene else None
