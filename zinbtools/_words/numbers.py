"""Numbers in words: no more digits than are known, and no fewer."""

from __future__ import annotations

from math import floor, inf, log10


def with_error(value: float, error: float) -> str:
    """Write value and error to the digit that the error leaves standing, e.g. 20.72 ± 0.31.

    Examples
    --------
    >>> with_error(20.7183, 0.3124), with_error(1750.2, 41.3), with_error(-0.00012, 0.0004)
    ('20.72 ± 0.31', '1,750 ± 41', '-0.00012 ± 0.00040')
    """
    if not error > 0:
        return f"{value:,.4g} ± {error:.2g}"
    digits = min(max(0, 1 - floor(log10(error))), 12)
    return f"{value:,.{digits}f} ± {error:,.{digits}f}"


def decimals(low: float, high: float, *beside: float) -> int:
    """Count the decimals that give the half-width of an interval, and numbers beside it, two digits.

    Examples
    --------
    >>> decimals(-0.481, 1.4), decimals(0.5, 12.34), decimals(1200.4, 1310.2), decimals(0.5, 12.34, 0.157)
    (2, 1, 0, 2)
    """
    needed = [1 - floor(log10(size)) for size in ((high - low) / 2, *beside) if 0 < size < inf]
    return min(max(0, *needed), 12) if needed else 2


def ends(low: float, high: float, digits: int) -> str:
    """Write both ends of an interval.

    Examples
    --------
    >>> ends(-0.481, 1.4, 2), ends(-0.001, 1200.4, 0)
    ('-0.48 to 1.40', '0 to 1,200')
    """
    return f"{low:z,.{digits}f} to {high:z,.{digits}f}"


def with_ends(mean: float, low: float, high: float, what: str = "") -> str:
    """Write a difference with its sign and the ends of its interval, all to the same digit.

    Examples
    --------
    >>> with_ends(0.46, -0.481, 1.4), with_ends(7.7123, 7.34, 8.09, "95 % interval ")
    ('+0.46 (-0.48 to 1.40)', '+7.71 (95 % interval 7.34 to 8.09)')
    """
    digits = decimals(low, high)
    return f"{mean:+z,.{digits}f} ({what}{ends(low, high, digits)})"


def counted(n: int, what: str) -> str:
    """Write so many of them.

    Examples
    --------
    >>> counted(1, "cell"), counted(1200, "test cell")
    ('1 cell', '1,200 test cells')
    """
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def in_words(n: int) -> str:
    """Write a whole number up to ten as a word.

    Examples
    --------
    >>> in_words(10), in_words(11)
    ('ten', '11')
    """
    words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    return words[n] if n < len(words) else f"{n:,}"


def percent(share: float) -> str:
    """Write a share with two digits that tell it from 0 and from 1.

    Examples
    --------
    >>> percent(0.134), percent(0.00213), percent(0.99987), percent(0.0)
    ('13.4 %', '0.21 %', '99.987 %', '0.0 %')
    """
    rest = min(abs(share), abs(1 - share))
    digits = 1 if rest >= 0.01 or rest == 0 else min(-floor(log10(rest)) - 1, 8)
    return f"{100 * share:.{digits}f} %"
