"""Make temporary files and folders that are locked while their process lives, and remove those of dead ones.

The system drops a lock when its process ends, however it ends. A process number would not do: it may be used
again, and another container or computer on the same disk has numbers of its own. Some disks keep locks to one
computer, so a leftover is removed only on the one that its name tells, or since the same start of the system,
and only by its user.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":

    def _lock(handle: int, *, wait: bool) -> None:
        raise OSError("nobody can tell here who is alive, so nobody removes a thing")
else:
    import fcntl

    def _lock(handle: int, *, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


_OWNER = ".zinbtools.owner"  # the locked file in a folder
_MARK = re.compile(r"(?P<host>[A-Za-z0-9_.]+)-(?P<start>[0-9a-f]{8})-\d+-[0-9a-f]{8}")
_PATIENCE = 60.0  # seconds to wait for another process that writes into the same folder


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname())[:63] or "_"


def _start() -> str:
    """Return eight digits that change with every start of the system; of the host where it keeps none."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8")
    except OSError:
        text = _host()
    return f"{zlib.crc32(text.encode()):08x}"


def _mark() -> str:
    """Name where and by which process a thing was made, with digits that no other has."""
    return f"{_host()}-{_start()}-{os.getpid()}-{secrets.token_hex(4)}"


def _made_here(mark: str) -> bool:
    found = _MARK.fullmatch(mark)
    return found is not None and (found["host"] == _host() or found["start"] == _start())


@contextmanager
def own_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder that is gone after the block; if the process dies in it, `sweep` removes it.

    Examples
    --------
    >>> import tempfile
    >>> with own_folder(Path(tempfile.gettempdir()), "zinbtools-") as folder:
    ...     _ = (folder / "a").write_text("1")
    >>> folder.exists()
    False
    """
    while True:
        folder = parent / f"{prefix}{_mark()}"
        folder.mkdir(mode=0o700)
        try:
            handle = _claim(folder / _OWNER)
            break
        except FileNotFoundError:  # another process took the empty folder for a leftover
            continue
        except BaseException:
            folder.rmdir()
            raise
    try:
        yield folder
    finally:
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(handle)
            remove(folder)
        else:
            remove(folder)
            os.close(handle)


def abandon(folder: Path) -> None:
    """Leave a folder of `own_folder` where it is, for good."""
    (folder / _OWNER).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a folder of `own_folder`; its owner goes last, so that the rest is still known as a leftover."""
    if not (folder / _OWNER).exists():
        return
    with suppress(OSError):  # what cannot be removed now is for the next run
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _OWNER:
                path.unlink(missing_ok=True)
        if [path.name for path in folder.iterdir()] == [_OWNER]:
            (folder / _OWNER).unlink()
            folder.rmdir()


@contextmanager
def whole_file(path: Path, place: Callable[[Path, Path], object] = os.replace) -> Iterator[BinaryIO]:
    """Write a file that takes its place when the block ends well, so that nobody ever sees half of it.

    Until then it lies beside ``path`` as a hidden ``.part``, which ``place`` puts where ``path`` says.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home:
    ...     with whole_file(Path(home, "a")) as file:
    ...         _ = file.write(b"1")
    ...     os.listdir(home)
    ['a']
    """
    part = path.with_name(f".{path.name}.zinbtools.{_mark()}.part")
    handle = _claim(part)
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if sys.platform != "win32":  # where an open file cannot be moved
                place(part, path)
        if sys.platform == "win32":
            place(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Make a lock file that one process has at a time, and wait for whoever has it; that of a dead one goes.

    Raises
    ------
    TimeoutError
        If another process keeps it for a minute.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            handle = _claim(path)
            break
        except FileExistsError:
            pass
        with suppress(OSError), _abandoned(path, path.read_text("utf-8", "replace")) as dead:
            if dead:
                path.unlink()
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"another zinbtools has been writing into {path.parent} for a minute; wait for it, "
                f"or remove {path} if there is none."
            )
        time.sleep(0.02)
    try:
        os.write(handle, _mark().encode())
        yield
    finally:
        if sys.platform == "win32":
            os.close(handle)
        path.unlink(missing_ok=True)
        if sys.platform != "win32":
            os.close(handle)


def sweep(parent: Path, prefix: str, *, first: Callable[[Path], None] | None = None) -> None:
    """Remove the folders and parts of files that dead processes of this user left in a folder.

    Parameters
    ----------
    parent
        Where they are; it need not be there.
    prefix
        How the names of the folders begin.
    first
        What is done with a folder before it is removed.
    """
    for path in sorted(parent.iterdir()) if parent.is_dir() else ():
        name = path.name
        if name.startswith(prefix) and _made_here(name.removeprefix(prefix)) and not path.is_symlink():
            with _abandoned(path / _OWNER, name.removeprefix(prefix)) as dead:
                if dead and first is not None:
                    first(path)
                if dead:
                    remove(path)
            with suppress(OSError):  # one that was never claimed is empty; others are somebody's
                path.rmdir()
        elif name.startswith(".") and name.endswith(".part"):
            with _abandoned(path, name.removesuffix(".part").rpartition(".zinbtools.")[2]) as dead:
                if dead:
                    path.unlink()


def _claim(path: Path) -> int:
    """Make a file that is locked until its descriptor, which is returned, is closed."""
    while True:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
        with suppress(OSError):  # a disk without locks; there nobody can tell, and nobody removes a thing
            _lock(handle, wait=True)
        if _is_at(handle, path):
            return handle
        os.close(handle)  # another process took it for a leftover before it was locked


@contextmanager
def _abandoned(path: Path, mark: str) -> Iterator[bool]:
    """Tell whether a file with this mark has lost its process; meanwhile nobody else gets the same answer."""
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # it has gone, or is not ours
        yield False
        return
    try:
        yield _made_here(mark) and _is_own(handle) and _is_free(handle) and _is_at(handle, path)
    finally:
        os.close(handle)


def _is_free(handle: int) -> bool:
    try:
        _lock(handle, wait=False)
    except OSError:  # somebody has it, or the disk has no locks
        return False
    return True


def _is_own(handle: int) -> bool:
    return sys.platform == "win32" or os.fstat(handle).st_uid == os.geteuid()


def _is_at(handle: int, path: Path) -> bool:
    """Tell whether this open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
