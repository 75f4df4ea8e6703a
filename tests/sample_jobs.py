"""Functions that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

N_UNPICKLED = 0


class Shared:
    """Data that count how often a process unpickles them."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        global N_UNPICKLED
        N_UNPICKLED += 1
        self.__dict__.update(state)

    def __init__(self, factor: int) -> None:
        self.factor = factor


def times(number: int, *, shared: Shared) -> tuple[int, int, int]:
    """The product, the process, and how often it has unpickled the shared data."""
    return number * shared.factor, os.getpid(), N_UNPICKLED


def threads(_: object) -> tuple[int, str | None]:
    """Torch's threads and the environment's."""
    import torch

    return torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")


def inverse(number: int) -> float:
    return 1 / number


def killed(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(seconds: float, *, folder: Path) -> None:
    """Leave a file that is named for this process, then sleep."""
    (folder / str(os.getpid())).touch()
    time.sleep(seconds)
