"""numba's compiler, which keeps its machine code on disk where it can."""

from __future__ import annotations

import atexit
import logging
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from subprocess import DEVNULL
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


_commands: list[list[str]] = []  # that wait for a first compilation
_beside: list[subprocess.Popen[bytes]] = []


def beside(*commands: list[str]) -> None:
    """Run commands beside this process from the next time on that it compiles something of this package.

    They are to fill the cache with what this process will need, which calls `await_those_beside` before.
    """
    if not _warn.cache_info().currsize:  # nor is there a cache to fill
        _commands[:] = commands


def await_those_beside() -> None:
    """Wait for the commands that run beside, if any do; those that have not begun are not needed any more."""
    _commands.clear()
    for process in _beside:
        process.wait()


class _AtFirst(event.Listener):  # type: ignore[misc]  # numba has no types
    """Say once that it is this package that compiles, as a first run may be silent for a minute."""

    def on_start(self, event: event.Event) -> None:
        """Of a function that is in no cache."""
        if not (event.data["dispatcher"].py_func.__module__ or "").startswith("zinbtools."):
            return
        _tell()
        while _commands:
            with suppress(OSError):  # where there is no room for another, this process compiles all
                _run_beside(_commands.pop(0))

    def on_end(self, event: event.Event) -> None:
        """Tell nothing."""


event.register("numba:compile", _AtFirst())


def _run_beside(command: list[str]) -> None:
    process = subprocess.Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    atexit.register(process.terminate)
    _beside.append(process)


@cache  # once for all functions
def _tell() -> None:
    logging.getLogger("zinbtools").info(
        "compiling for this machine, the first time: a whole study takes about a minute of one core for it"
    )


@cache
def _warn() -> None:
    warn(
        "numba finds no folder that it can write its compiled code to, so that every process compiles anew, "
        "which takes some seconds; set the environment variable NUMBA_CACHE_DIR to such a folder."
    )
