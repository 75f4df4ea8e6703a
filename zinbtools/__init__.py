"""Should these single-cell counts be zero-inflated? NB and ZINB autoencoders compared soundly."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, get, pl, simulate, stats, tl

__version__ = version("zinbtools")
__all__ = ["datasets", "get", "pl", "simulate", "stats", "tl"]


def __getattr__(name: str) -> Any:
    # torch, scanpy and matplotlib are heavy: a room is opened when someone walks in.
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
