"""What is compiled is kept, and told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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


_ASKED = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from numba import njit
njit(lambda x: x + 1)(1)  # somebody else's
print("ours")
from zinbtools.kernels.gene_climb import factorise
import numpy as np
factorise(np.eye(2)), factorise(np.asfortranarray(np.eye(2)))
"""


def test_that_it_compiles_is_told_once_and_not_from_the_cache(tmp_path: Path) -> None:
    def told() -> list[str]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", _ASKED]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.splitlines()

    first, later = told(), told()
    assert (first[0], later) == ("ours", ["ours"])
    assert len(first) == 2
    assert first[1].startswith("compiling for this machine")


_BESIDE = """
import sys
import numpy as np
from zinbtools.kernels import compiling
from zinbtools.kernels.gene_climb import factorise
folder = sys.argv[1]
write = "import sys, time; time.sleep(1); open(sys.argv[1], 'w')"
python = [sys.executable, "-c"]
compiling.beside([*python, write, f"{folder}/one"], ["/no/such/program"], [*python, "1/0"])
print(len(compiling._beside))
factorise(np.eye(2))
print(len(compiling._beside))
compiling.await_those_beside()
compiling.beside([*python, write, f"{folder}/two"])
compiling.await_those_beside()  # before anything was compiled: too late for it
factorise(np.asfortranarray(np.eye(2)))
"""


def test_commands_run_beside_the_first_compilation_and_are_awaited(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", _BESIDE, str(tmp_path)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == ["0", "2"]  # one has no program, and one fails
    assert (tmp_path / "one").exists()
    assert not (tmp_path / "two").exists()
