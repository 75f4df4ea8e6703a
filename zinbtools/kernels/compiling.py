"""numba's compiler, which keeps its machine code on disk where it can."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit
from numba.core import event

from .._words.warn import warn


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with its cache, or without and a warning where no folder for it can be written."""

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
            _warn()
            return njit(**options)(function)

    return compiled


class _Tells(event.Listener):  # type: ignore[misc]  # numba has no types
    """Say once that it is this package that compiles, as a first run may be silent for a minute."""

    def on_start(self, event: event.Event) -> None:
        """Of a function that is in no cache."""
        if (event.data["dispatcher"].py_func.__module__ or "").startswith("zinbtools."):
            _tell()

    def on_end(self, event: event.Event) -> None:
        """Tell nothing."""


event.register("numba:compile", _Tells())


@cache  # once for all functions
def _tell() -> None:
    logging.getLogger("zinbtools").info(
        "compiling for this machine, the first time: a minute or two of one core for a whole study"
    )


@cache
def _warn() -> None:
    warn(
        "numba finds no folder that it can write its compiled code to, so that every process compiles anew, "
        "which takes some seconds; set the environment variable NUMBA_CACHE_DIR to such a folder."
    )
