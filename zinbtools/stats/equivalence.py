"""Judge whether a difference matters: an interval against a region of practical equivalence."""

from __future__ import annotations

from typing import Literal

from .._words.answers import Answer

Position = Literal["above", "below", "inside", "below or inside", "open"]

RELATIVE_ROPE = 1e-3


def default_rope(nll: float) -> float:
    """Return half the width of the region of practical equivalence: a thousandth of the NLL, nats per cell.

    ``NLL / ln 2`` is the number of bits that it takes to store a cell's counts under a model, so that two
    models in the region differ by less than one bit in a thousand. On data without zero inflation, NB and
    ZINB networks that differ in nothing but their seed come about as close.

    Examples
    --------
    >>> default_rope(607.0)
    0.607
    """
    return RELATIVE_ROPE * abs(nll)


def position(low: float, high: float, rope: float) -> Position:
    """Say where an interval lies: ``above``, ``below`` or ``inside`` the region, or over an edge of it.

    Over the lower edge alone is ``below or inside``; what reaches over the upper edge is ``open``.

    Examples
    --------
    >>> position(1.0, 2.0, rope=0.5), position(-0.1, 0.3, rope=0.5), position(0.2, 2.0, rope=0.5)
    ('above', 'inside', 'open')
    >>> position(-0.8, 0.1, rope=0.5)
    'below or inside'
    """
    if low > rope:
        return "above"
    if high < -rope:
        return "below"
    if high > rope:
        return "open"
    return "inside" if -rope <= low else "below or inside"


def conclude(where: Position, inflated: bool) -> str:
    """Choose an `Answer`: ZINB where it predicts better, and zeros are in excess that nothing explains.

    NB where the ZINB is not better by more than the region, and may be worse by more.

    Examples
    --------
    >>> conclude("above", True), conclude("above", False)
    ('zinb', 'better fit, not zero inflation')
    >>> conclude("inside", True), conclude("open", True)
    ('no practical difference', 'undecided')
    """
    if where == "above":
        answer = Answer.ZINB if inflated else Answer.BETTER_FIT_ONLY
    else:
        answer = {"inside": Answer.NO_DIFFERENCE, "open": Answer.UNDECIDED}.get(where, Answer.NB)
    return answer.value  # files hold strings
