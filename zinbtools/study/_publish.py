"""Putting a finished folder in its place: at any moment there is the old one or the new one."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_AT_WORKING_DIRECTORY, _EXCHANGE = -100, 2  # of Linux's renameat2


def publish(folder: Path, target: Path) -> None:
    """Move the files of a folder into another one, in one step where the system can.

    A target that is not there, or is empty, is replaced by one rename. From one that is, files of other names
    are linked into ``folder`` first, and then both change places, which Linux does in one step too;
    ``folder`` is the old one then. Where that cannot be done, each file is moved by a rename of its own.
    """
    folder.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o777 & ~_umask())
    try:
        os.rename(folder, target)
    except OSError:  # it is there, and has files
        if not _exchanged(folder, target):
            _move_each(folder, target)


def _umask() -> int:
    """What new folders do not allow; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _exchanged(folder: Path, target: Path) -> bool:
    """Let both change places, and say whether that was possible."""
    if sys.platform != "linux":
        return False
    try:
        for file in (path for path in target.rglob("*") if not path.is_dir()):
            place = folder / file.relative_to(target)
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, place, follow_symlinks=False)
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # no links on this disk, or an old C library
        return False
    paths = (os.fsencode(folder), os.fsencode(target))
    return rename(_AT_WORKING_DIRECTORY, paths[0], _AT_WORKING_DIRECTORY, paths[1], _EXCHANGE) == 0


def _move_each(folder: Path, target: Path) -> None:
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = target / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not (place.exists() and place.samefile(file)):
            os.replace(file, place)
