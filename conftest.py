"""Tests and examples alike: where compiled code is kept, which of them run; no figure stays open."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

# Examples of what is an extra run where it is installed.
collect_ignore = [] if find_spec("arviz") else ["zinbtools/get/_inference_data.py"]

_ROOT = Path(__file__).parent
_KEPT = _ROOT / ".pytest_cache" / "d"  # which `pytest --cache-clear` empties


def _digest() -> str:
    """Digest the sources of all kernels, and what compiles them: numba itself looks at one file only."""
    digest = hashlib.sha256(sys.version.encode())
    for package in ("numba", "llvmlite"):
        digest.update(version(package).encode())
    for source in sorted((_ROOT / "zinbtools" / "kernels").glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _use_cache(folder: Path) -> None:
    """Let numba keep its code in ``folder``, and remove that of earlier kernels."""
    for earlier in set(folder.parent.glob("numba-*")) - {folder}:
        shutil.rmtree(earlier, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)  # read when numba is imported, which is below


_use_cache(_KEPT / f"numba-{_digest()}")
os.environ["MPLBACKEND"] = "Agg"  # no window is opened


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    """Close what a test or an example has drawn."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
