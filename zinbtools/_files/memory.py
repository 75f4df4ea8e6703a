"""Limit the memory that a file from a stranger may ask for."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARE = 0.75  # of the memory that is available


@contextmanager
def within_memory() -> Iterator[None]:
    """Raise MemoryError at an allocation that this machine has no room for, on Linux.

    Otherwise the system promises memory that it does not have, and ends a process when it is used: a few
    bytes can unpack to any size, and a decoder at the end of a cut file may go on until nothing is left.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    available = re.search(
        r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE
    )
    in_use = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    if available is None or before != resource.RLIM_INFINITY:  # an old kernel, or somebody has set a limit
        yield
        return
    most = in_use + int(_SHARE * 1024 * int(available[1]))
    resource.setrlimit(
        resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))
