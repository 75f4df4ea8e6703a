"""Warnings that point to the line of the user's that led to them, whatever lies between."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path

# What lies between: the package, decorators made of context managers, and importing.
_BETWEEN = (str(Path(__file__).parents[1]) + os.sep, contextlib.__file__, "<frozen importlib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside of the package from which it was called.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     warn("mind the gap")
    >>> told[0].category.__name__, str(told[0].message)
    ('UserWarning', 'mind the gap')
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__", "zinbtools"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )
