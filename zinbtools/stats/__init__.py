"""Statistics on arrays: numpy and scipy, and numba for what loops over genes."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

_MODULES = [module.name for module in iter_modules(__path__)]


def __getattr__(name: str) -> Any:
    # `zt.stats.discrepancies.Check` without an import of its own, and without loading the other modules.
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return _MODULES
