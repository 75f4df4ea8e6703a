"""Judge whether a difference matters: an interval against a region of practical equivalence."""

from __future__ import annotations

from typing import Literal

from .._words.answers import Answer

Position = Literal["above", "below", "inside", "open"]

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
    """Say where an interval lies: ``above``, ``below`` or ``inside`` the region, or else ``open``.

    Examples
    --------
    >>> position(1.0, 2.0, rope=0.5), position(-0.1, 0.3, rope=0.5), position(0.2, 2.0, rope=0.5)
    ('above', 'inside', 'open')
    """
    if low > rope:
        return "above"
    if high < -rope:
        return "below"
    return "inside" if -rope <= low and high <= rope else "open"


def conclude(where: Position, inflated: bool) -> str:
    """Choose an `Answer`: ZINB where it predicts better, and zeros are in excess that nothing explains.

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
        answer = {"below": Answer.NB, "inside": Answer.NO_DIFFERENCE, "open": Answer.UNDECIDED}[where]
    return answer.value  # files hold strings
