"""Kinds of values that an argument may be: each says what it accepts, and in words what that is."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np


class Rule:
    """What a value must be; ``str`` says it, as in "alpha must be ..."."""

    def accepts(self, value: Any) -> bool:
        """Tell whether a value is what it must be; never raise, whatever the value."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """Return the value that a word of the command line stands for; ValueError if it stands for none."""
        return text


@dataclass(frozen=True)
class Anything(Rule):
    """Left to the function itself."""

    def accepts(self, value: Any) -> bool:
        return True

    def __str__(self) -> str:
        return "anything"


@dataclass(frozen=True)
class Nothing(Rule):
    """None."""

    def accepts(self, value: Any) -> bool:
        return value is None

    def __str__(self) -> str:
        return "None"


@dataclass(frozen=True)
class Flag(Rule):
    """True or False, and nothing that only counts as one of them."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool | np.bool_)

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class Word(Rule):
    """A string that is not empty; no file can hold one with NUL in it."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and value != "" and "\0" not in value

    def __str__(self) -> str:
        return "a non-empty string"


@dataclass(frozen=True)
class Choice(Rule):
    """One of some words or whole numbers."""

    values: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        is_flag = isinstance(value, bool)
        return isinstance(value, str | Integral) and not is_flag and value in self.values

    def parse(self, text: str) -> Any:
        return {str(value): value for value in self.values}.get(text, text)

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.values))}" if len(self.values) > 1 else repr(self.values[0])


@dataclass(frozen=True)
class Whole(Rule):
    """A whole number from ``least`` to below ``beyond``; True is none."""

    least: int
    beyond: float

    def accepts(self, value: Any) -> bool:
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        return is_whole and self.least <= int(value) < self.beyond

    def parse(self, text: str) -> int:
        if not text.isdecimal():
            raise ValueError(f"{text!r} is no whole number of 0 or more.")
        return int(text)

    def __str__(self) -> str:
        return (
            f"a whole number of at least {self.least}{'' if math.isinf(self.beyond) else ' and below 2^31'}"
        )


@dataclass(frozen=True)
class Number(Rule):
    """A number from ``low`` to ``high``, of which ``excluded`` are no longer in; True is no number."""

    low: float = -math.inf
    high: float = math.inf
    excluded: tuple[float, ...] = (-math.inf, math.inf)

    def accepts(self, value: Any) -> bool:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return is_number and self.low <= float(value) <= self.high and float(value) not in self.excluded

    def parse(self, text: str) -> float:
        return float(text)

    def __str__(self) -> str:
        low, high = f"{self.low:g}", f"{self.high:g}"
        if math.isfinite(self.high):
            if self.low in self.excluded and self.high in self.excluded:
                return f"a number between {low} and {high}, both excluded"
            if self.low in self.excluded:
                return f"a number above {low}, at most {high}"
            return f"a number from {low} to {'below ' if self.high in self.excluded else ''}{high}"
        finite = "a finite number" if self.high in self.excluded else "a number"
        if math.isinf(self.low):
            return finite
        return f"{finite} above {low}" if self.low in self.excluded else f"{finite} of at least {low}"


@dataclass(frozen=True)
class Numbers(Rule):
    """A number, or numbers in an array of any shape."""

    def accepts(self, value: Any) -> bool:
        try:
            return np.asarray(value).dtype.kind in "iuf"
        except ValueError:  # rows of different lengths
            return False

    def __str__(self) -> str:
        return "a number or an array of numbers"


@dataclass(frozen=True)
class Array(Rule):
    """What numpy makes an array with at least one axis of."""

    def accepts(self, value: Any) -> bool:
        if isinstance(value, list | tuple):
            return True
        return hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0

    def __str__(self) -> str:
        return "an array"


@dataclass(frozen=True)
class Several(Rule):
    """A list, or another collection in one dimension, of what a rule accepts; no string and no mapping.

    Words of a choice come once.
    """

    item: Rule
    fewest: int

    def accepts(self, value: Any) -> bool:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
            return False
        if getattr(value, "ndim", 1) != 1 or len(value) < self.fewest:
            return False
        is_good = all(map(self.item.accepts, value))
        return is_good and (len(set(value)) == len(value) if isinstance(self.item, Choice) else True)

    def __str__(self) -> str:
        if isinstance(self.item, Choice):
            return f"some of {', '.join(map(repr, self.item.values))}, each once"
        return f"a {'non-empty ' if self.fewest else ''}list in which each item is {self.item}"


@dataclass(frozen=True)
class Pairs(Rule):
    """A mapping to what a rule accepts."""

    item: Rule

    def accepts(self, value: Any) -> bool:
        return isinstance(value, Mapping) and all(map(self.item.accepts, value.values()))

    def __str__(self) -> str:
        return f"a mapping in which each value is {self.item}"


@dataclass(frozen=True)
class Shares(Rule):
    """Shares of training, validation and test cells."""

    def accepts(self, value: Any) -> bool:
        are_shares = Several(Number(0, 1, ()), 3).accepts(value) and len(value) == 3
        return are_shares and math.isclose(math.fsum(value), 1, rel_tol=1e-5)

    def __str__(self) -> str:
        return "three shares (train, validation, test) that sum to 1"


@dataclass(frozen=True)
class Device(Rule):
    """Where torch computes, by a word or as a `torch.device`."""

    def accepts(self, value: Any) -> bool:
        kind = type(value)
        if not isinstance(value, str) and (kind.__module__, kind.__name__) != ("torch", "device"):
            return False
        place, colon, number = str(value).partition(":")
        return value == "auto" or (place in ("cpu", "cuda") and (not colon or number.isdecimal()))

    def __str__(self) -> str:
        return "'auto', 'cpu' or 'cuda', whose number may follow as in 'cuda:1'"


@dataclass(frozen=True)
class Instance(Rule):
    """An object of a class, and what it is in words."""

    kind: type
    words: str

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self.kind)

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Either(Rule):
    """What one of several rules accepts."""

    rules: tuple[Rule, ...]

    def accepts(self, value: Any) -> bool:
        return any(rule.accepts(value) for rule in self.rules)

    def parse(self, text: str) -> Any:
        for rule in self.rules:
            try:
                value = rule.parse(text)
            except ValueError:
                continue
            if rule.accepts(value):
                return value
        return text

    def __str__(self) -> str:
        told = {r.item for r in self.rules if isinstance(r, Several)}  # "some of" says "one of" too
        *others, last = (str(r) for r in self.rules if not (isinstance(r, Choice) and r in told))
        return f"{', '.join(others)} or {last}" if others else last
