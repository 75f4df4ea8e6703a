"""Name the versions of software that results depend on."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable


@cache
def software() -> dict[str, str]:
    """Return name and version of what may change a number; some milliseconds at the first call.

    Two copies of zinbtools of one version and different sources are told apart. Builds of torch for CPUs and
    GPUs are not: it says nothing of where a job computes.
    """
    return {
        "zinbtools": f"{version('zinbtools')} of sources {source_digest()}",
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name).partition("+")[0] for name in ("numba", "numpy", "torch")},
    }


@cache
def source_digest() -> str:
    """Compute a digest of the package's own modules, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, source in sorted(_modules(files("zinbtools"), "")):
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()[:12]


def _modules(folder: Traversable, above: str) -> Iterator[tuple[str, bytes]]:
    """Find the modules of a package, also one in an archive, each with its source."""
    for entry in folder.iterdir():
        name = f"{above}/{entry.name}"
        if entry.is_dir():
            yield from _modules(entry, name)
        elif name.endswith(".py"):
            yield name, entry.read_bytes()


def refuse_other_software(expected: Mapping[str, str]) -> None:
    """Raise RuntimeError in a worker whose software is not that of the process that asks it.

    Examples
    --------
    >>> refuse_other_software(software())
    """
    for name, wanted in expected.items():
        if (here := software().get(name)) != wanted:
            raise RuntimeError(
                f"the worker process {os.getpid()} on {socket.gethostname()} has {name} {here} where the "
                f"process that asks it has {wanted}; install the same on all workers and start them anew."
            )
