"""Tell what is said to a user from what is wrong with the program."""

from __future__ import annotations

import traceback
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def is_told(error: Exception) -> bool:
    """Tell what the system or a line of this package raised from what Python found wrong with a program."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    is_ours = _PACKAGE in Path(last.filename).parents and (last.line or "").startswith("raise ")
    return is_ours or isinstance(error, OSError)
