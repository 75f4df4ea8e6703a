"""What else may explain that a ZINB predicts better: NBs with more to them, and the ZINBs with the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._words.answers import Explanation
from ..stats.crossed import CrossedMean
from ..stats.equivalence import Position

NB, GENE_CELL, AMPLIFIED = "nb", "nb-gene-cell", "nb-amplified"


class Rival(NamedTuple):
    """An NB, and what a dropout adds to it.

    Attributes
    ----------
    model
        Its name in tables.
    gain
        Its log likelihood minus that of the NB with one dispersion per gene, nats per test cell.
    over_zinb
        The same minus that of the ZINB with one dispersion per gene.
    of_zinb
        The log likelihood of the ZINB with the same minus its own.
    position
        Where the interval of the latter lies.
    has_excess
        Whether there are more zeros than it expects; of copied molecules, whether a dropout adds anything
        to its log likelihood.
    explains
        What explains the ZINB's gain if this leaves no dropout; nothing if it does.
    """

    model: str
    gain: CrossedMean
    over_zinb: CrossedMean
    of_zinb: CrossedMean
    position: Position
    has_excess: bool
    explains: Explanation = Explanation.NONE


def explanation(rivals: Sequence[Rival]) -> Explanation:
    """Take that of the first rival that has one."""
    return next((rival.explains for rival in rivals if rival.explains), Explanation.NONE)
