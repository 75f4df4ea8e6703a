"""Say what a verb added, where scanpy is asked to say such things."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from anndata import AnnData

P = ParamSpec("P")
T = TypeVar("T")

HINT = 3  # scanpy.settings.verbosity from which on its own functions say what they added
_PLACES = ("obs", "var", "obsm", "layers", "uns")


def says_what_it_added(verb: Callable[P, T]) -> Callable[P, T]:
    """Let a verb say through scanpy's log which new names it has put into the AnnData.

    Nothing is said below ``scanpy.settings.verbosity = 3``, or where nobody has imported scanpy.
    """

    @wraps(verb)
    def saying(*args: P.args, **kwargs: P.kwargs) -> T:
        scanpy = sys.modules.get("scanpy")
        given = args[0] if args else kwargs.get("adata")
        if scanpy is None or int(scanpy.settings.verbosity) < HINT or not isinstance(given, AnnData):
            return verb(*args, **kwargs)
        before, result = _names(given), verb(*args, **kwargs)
        after = _names(result if isinstance(result, AnnData) else given)
        new = [f"    {name!r} (adata.{place})" for place, name in after if (place, name) not in set(before)]
        if new:
            scanpy.logging.hint("\n".join(["added", *new]))
        return result

    return saying


def _names(adata: AnnData) -> list[tuple[str, str]]:
    return [(place, str(name)) for place in _PLACES for name in getattr(adata, place)]
