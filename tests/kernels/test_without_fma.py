"""The elementary functions on a processor that has no instruction to multiply and add in one step."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="not a processor of this kind"
)
def test_elementary_functions_are_as_good() -> None:
    tests = [Path(__file__).with_name(f"test_{module}.py") for module in ("single", "double")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        env=os.environ | {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
