"""Count the cores that this process may use, of those that the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cores() -> int:
    """Count them, at least one: fewer than there are where an affinity or a container's quota says so.

    Examples
    --------
    >>> 1 <= usable_cores() <= os.cpu_count()
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([allowed, *_quotas()])))


def _quotas(own: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Iterator[float]:
    """Read how many cores' time the control groups (version 2) of this process have, where they say so."""
    with suppress(OSError, ValueError):
        lines = own.read_text().splitlines()
        group = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
        for folder in (mounted / group, *(mounted / group).parents):
            with suppress(OSError, ValueError):
                time, period = (folder / "cpu.max").read_text().split()
                yield float(time) / float(period)  # of none the time is the word "max"
