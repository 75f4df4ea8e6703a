"""Compiled code where it cannot be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from zinbtools.kernels import compiling as _compiling
from zinbtools.kernels.compiling import cached_njit


def twice(x: float) -> float:
    return 2 * x


@pytest.fixture
def homeless() -> Callable[[float], float]:
    """A function of no file, beside which numba could keep anything."""
    namespace: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", namespace)
    return namespace["twice"]


def test_what_has_a_file_is_kept() -> None:
    compiled = cached_njit()(twice)
    assert compiled(1.5) == 3
    assert compiled.stats.cache_path


def test_without_a_folder_it_is_compiled_all_the_same(homeless: Callable[[float], float]) -> None:
    _compiling._warn.cache_clear()
    with pytest.warns(UserWarning, match="set the environment variable NUMBA_CACHE_DIR to such a folder"):
        compiled = cached_njit(nogil=True)(homeless)
    assert compiled(1.5) == 3
    assert cached_njit()(homeless)(2.0) == 4  # and without another word
