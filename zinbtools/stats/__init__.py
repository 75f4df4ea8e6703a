"""Statistics on arrays: numpy and scipy, and numba for what loops over genes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        calibration,
        count_models,
        crossed,
        discrepancies,
        equivalence,
        importance,
        pln,
        pln_factors,
        rank_tests,
        replication,
        zero_excess,
        zero_inflation,
    )

__all__ = [
    "calibration",
    "count_models",
    "crossed",
    "discrepancies",
    "equivalence",
    "importance",
    "pln",
    "pln_factors",
    "rank_tests",
    "replication",
    "zero_excess",
    "zero_inflation",
]


def __getattr__(name: str) -> Any:
    # `zt.stats.discrepancies.Check` without an import of its own, and without loading the other modules.
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
