"""Fixtures of all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory with the real counts (``data/``) and the reference values (``reference/``).

    Neither is part of the repository: tests that need them are skipped where they are absent.
    """
    root = Path(os.environ.get("ZINBTOOLS_DATA", Path(__file__).parents[2] / "shared"))
    absent = [name for name in ("data", "reference") if not (root / name).is_dir()]
    if absent:
        pytest.skip(f"no {' and no '.join(absent)} folder in {root}; set ZINBTOOLS_DATA to where they are")
    return root
