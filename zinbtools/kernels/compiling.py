"""numba's compiler, which keeps its machine code on disk where it can."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

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


@cache  # once for all functions
def _warn() -> None:
    warn(
        "numba finds no folder that it can write its compiled code to, so that every process compiles anew, "
        "which takes some seconds; set the environment variable NUMBA_CACHE_DIR to such a folder."
    )
