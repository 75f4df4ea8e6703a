"""Tell how far work has come: by a bar in a terminal or notebook, else by lines of a logger."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from importlib.util import find_spec
from typing import Any, ParamSpec, TypeVar

from tqdm import tqdm

LOGGER = logging.getLogger("zinbtools")
_APART = 30.0  # seconds between two lines, at least
_LATE = 2.0  # seconds after which a step of a verb gets a bar: most are done by then
_COMPILED = 300.0  # seconds that no compilation takes, even where other programs want the cores
_FEWEST = 0.01  # share of the steps from which it is told how long the others will take
_tells: ContextVar[bool] = ContextVar("tells", default=False)

P = ParamSpec("P")
T = TypeVar("T")


def tells(verb: Callable[P, T]) -> Callable[P, T]:
    """Let a verb tell of its long steps, unless it is called with ``progress=False``."""

    @wraps(verb)
    def telling(*args: P.args, **kwargs: P.kwargs) -> T:
        before = _tells.set(bool(kwargs.get("progress", True)))
        try:
            return verb(*args, **kwargs)
        finally:
            _tells.reset(before)

    return telling


@contextmanager
def untold() -> Iterator[None]:
    """Tell nothing of the steps within, which are told of together."""
    before = _tells.set(False)
    try:
        yield
    finally:
        _tells.reset(before)


@contextmanager
def step(total: int, what: str, unit: str) -> Iterator[Callable[[int], object]]:
    """Give what is told how many parts of a verb's step are done; it is shown if the step takes long."""
    with progress_bar(total, what, unit, shown=_tells.get(), late=_LATE) as bar:
        yield bar.update


def counting(parts: Iterable[T], total: int, what: str, unit: str, n: Callable[[T], int]) -> Iterator[T]:
    """Pass on the parts of a verb's step, and tell of each once it is there; ``n`` counts what is in it.

    Examples
    --------
    >>> list(counting(["ab", "c"], 3, "reading", "letter", len))
    ['ab', 'c']
    """
    with step(total, what, unit) as done:
        for part in parts:
            done(n(part))
            yield part


def one(_: object) -> int:
    """Count a part of a step as one."""
    return 1


def progress_bar(total: int, what: str, unit: str, *, shown: bool, late: float = 0.0) -> Any:
    """Give what is told of every step by ``update``: tqdm's bar, or `Lines` where it would not be seen.

    Parameters
    ----------
    total
        How many steps there are.
    what, unit
        What is done, and what a step is.
    shown
        Otherwise nothing is told.
    late
        Seconds before a bar appears, which is then gone at the end; of 0 it stays.
    """
    how: dict[str, Any] = {"total": total, "desc": what, "unit": unit, "delay": late, "leave": not late}
    if not shown:
        return tqdm(**how, disable=True)
    if _in_notebook():
        return _notebook_bar(**how)
    bar = tqdm(**how, disable=None)
    return Lines(total, what, unit, late) if bar.disable else bar


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this, whose output is no terminal and is seen all the same."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _notebook_bar(**how: Any) -> Any:
    """A widget, or, where there are none, a bar of characters."""
    if find_spec("ipywidgets") is None:
        return tqdm(**how, file=sys.stdout, disable=False)
    from tqdm.notebook import tqdm as widget

    return widget(**how)


class Lines:
    """Lines with the time so far and about how much is left, as a log keeps them; none before it is ``late``.

    Examples
    --------
    >>> lines = Lines(200, "NB and ZINB", "epoch")
    >>> lines.update(1)
    >>> lines.update(49)
    >>> lines.told(now=lines.began + 75)
    'NB and ZINB: 50 of 200 epochs, 25 %, 1:15 so far, about 3:50 left'
    """

    def __init__(self, total: int, what: str, unit: str, late: float = 0.0) -> None:
        self.total, self.what, self.unit, self.late = total, what, unit, late
        self.n, self.note, self._told = 0, "", 0
        self._first = (0, 0.0)  # how many steps came first, and when: they may have waited for a compilation
        self.began = self._last = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        if self.n > self._told and now - self.began >= self.late:
            LOGGER.info(self.told(now))

    def update(self, n: int = 1) -> None:
        """Count steps, and log a line if the last one was half a minute ago."""
        now = time.monotonic()
        if not self.n:
            self._first = (n, now)
        self.n += n
        if n and now - self._last >= _APART:
            self._last, self._told = now, self.n
            LOGGER.info(self.told(now))

    def set_postfix_str(self, note: str, refresh: bool = True) -> None:
        """Add something to the lines that follow."""
        self.note = note

    def told(self, now: float) -> str:
        """Say how far it has come."""
        taken = now - self.began
        parts = [f"{self.what}: {self.n:,} of {self.total:,} {self.unit}s"]
        parts += [f"{self.n / max(self.total, 1):.0%}".replace("%", " %"), f"{_clock(taken)} so far"]
        parts += self._left(now) if self.n < self.total else []
        return ", ".join(parts + ([self.note] if self.note else []))

    def _left(self, now: float) -> list[str]:
        """Say about how much is left, by the steps after the first; nothing where these are very few.

        By the first alone only if it took so long that a compilation is but a small part of it.
        """
        n_first, then = self._first
        n, taken = (self.n - n_first, now - then) if self.n > n_first else (self.n, now - self.began)
        if n < _FEWEST * self.total or (self.n == n_first and taken < _COMPILED):
            return []
        return [f"about {_clock(taken * (self.total - self.n) / n)} left"]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
