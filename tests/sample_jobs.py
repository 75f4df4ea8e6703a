"""Functions that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from zinbtools import jobs

N_UNPICKLED = 0


def heed_interrupts() -> None:
    """For a new process: end on SIGINT, which whoever runs the tests in the background has it ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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


def stopped(number: int) -> int:
    """Wait until somebody lets this process go on."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return number


def absolutes(numbers: list[int]) -> tuple[dict[int, int], list[str]]:
    """What two workers are asked for, and the warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        results = dict(jobs.run(abs, numbers, n_jobs=2, executor="processes"))
    return results, [str(warning.message) for warning in told]


def sleep(seconds: float, *, folder: Path) -> None:
    """Leave a file that is named for this process, then sleep."""
    (folder / str(os.getpid())).touch()
    time.sleep(seconds)


def fails_after(number: int, *, path: Path) -> float:
    """The inverse; nothing has none, which is told once the file is there."""
    while number == 0 and not path.exists():
        time.sleep(0.01)
    return 1 / number


def killed_by(number: int, *, deadly: int) -> int:
    if number == deadly:
        time.sleep(0.5)  # what others have found is fetched by then
        killed(number)
    return number


def logged(number: int, *, folder: Path, deadly: int = -1, seconds: float = 0.3) -> int:
    """Leave a file for this start, take a while; the deadly number kills its process the first time."""
    n_before = len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{n_before}").touch()
    time.sleep(seconds)
    if number == deadly and not n_before:
        killed(number)
    return 10 * number


def draws(seed: int) -> dict[str, Any]:
    """Numbers of every kind that a checkpoint keeps, slowly."""
    rng = np.random.default_rng(seed)
    time.sleep(0.05)
    return {"seed": seed, "loss": rng.normal(), "weights": rng.normal(size=3).astype(np.float32)}
