"""Whether a difference matters: an interval against a region of practical equivalence."""

from __future__ import annotations

from typing import Literal

Position = Literal["above", "below", "inside", "open"]

RELATIVE_ROPE = 1e-3


def default_rope(nll: float) -> float:
    """Half-width of the region of practical equivalence, nats per cell: a thousandth of the NLL.

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
    """Where an interval lies: ``above`` or ``below`` the region, ``inside`` it, or ``open`` if none of these.

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


VERDICTS = ("zinb", "nb", "no practical difference", "better fit, not zero inflation")


def conclude(where: Position, excess_zeros: bool) -> str:
    """One of `VERDICTS`: a ZINB is called for where it predicts better and there are excess zeros to explain.

    Examples
    --------
    >>> conclude("above", True), conclude("above", False), conclude("open", True)
    ('zinb', 'better fit, not zero inflation', 'no practical difference')
    """
    if where == "above":
        return VERDICTS[0] if excess_zeros else VERDICTS[3]
    return VERDICTS[1] if where == "below" else VERDICTS[2]
