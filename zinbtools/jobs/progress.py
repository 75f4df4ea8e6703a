"""Tell how far work has come: by a bar in a terminal or notebook, else by lines of a logger."""

from __future__ import annotations

import logging
import time
from typing import Any

from tqdm.auto import tqdm

LOGGER = logging.getLogger("zinbtools")
_APART = 30.0  # seconds between two lines, at least


def progress_bar(total: int, what: str, unit: str, *, shown: bool) -> Any:
    """Give what is told of every step by ``update``: tqdm's bar, or `Lines` where it would not be seen.

    Parameters
    ----------
    total
        How many steps there are.
    what, unit
        What is done, and what a step is.
    shown
        Otherwise nothing is told.
    """
    bar = tqdm(total=total, desc=what, unit=unit, disable=None if shown else True)
    return Lines(total, what, unit) if shown and bar.disable else bar


class Lines:
    """Lines with the time so far and about how much is left, as a log keeps them.

    Examples
    --------
    >>> lines = Lines(200, "NB and ZINB", "epoch")
    >>> lines.update(50)
    >>> lines.told(now=lines.began + 75)
    'NB and ZINB: 50 of 200 epochs, 25 %, 1:15 so far, about 3:45 left'
    """

    def __init__(self, total: int, what: str, unit: str) -> None:
        self.total, self.what, self.unit = total, what, unit
        self.n, self.note = 0, ""
        self.began = self._last = time.monotonic()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        if self.n:
            LOGGER.info(self.told(time.monotonic()))

    def update(self, n: int = 1) -> None:
        """Count steps, and log a line if the last one was half a minute ago."""
        self.n += n
        now = time.monotonic()
        if n and now - self._last >= _APART:
            self._last = now
            LOGGER.info(self.told(now))

    def set_postfix_str(self, note: str, refresh: bool = True) -> None:
        """Add something to the lines that follow."""
        self.note = note

    def told(self, now: float) -> str:
        """Say how far it has come."""
        taken = now - self.began
        left = taken * (self.total - self.n) / self.n if self.n else 0.0
        parts = [f"{self.what}: {self.n:,} of {self.total:,} {self.unit}s"]
        parts += [f"{self.n / max(self.total, 1):.0%}".replace("%", " %"), f"{_clock(taken)} so far"]
        parts += [f"about {_clock(left)} left"] if self.n < self.total else []
        return ", ".join(parts + ([self.note] if self.note else []))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
