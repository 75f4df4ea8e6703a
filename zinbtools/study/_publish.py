"""Put results into the user's folder: all of them or none, and touch nothing else."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .._files.leftovers import abandon, alone, own_folder, remove, sweep, whole_file
from .._files.signals import too_late_to_stop
from ._manifest import FILES, Manifest, manifest_name

_PREFIX, _LOCK = ".zinbtools-", ".zinbtools.lock"


class Incomplete(OSError):
    """Raised if something could not be written; what could is worth keeping."""


@contextmanager
def staged(
    out: str | os.PathLike[str],
    *,
    verb: str = "study",
    title: str = "counts",
    say: Callable[[str], object] = lambda _: None,
) -> Iterator[Path]:
    """Give a temporary folder inside ``out`` whose files take their places there when the block ends well.

    ``out`` itself is never replaced, and only files that an earlier run with the same ``verb`` wrote are: a
    manifest in ``out`` tells them by name and content. The new ones come all or none, one rename each. If the
    block fails or is interrupted, ``out`` is as it was; if only what comes after it does, the results stay
    beside the others and the message tells where. What a killed run left is put in order first: its half
    results are removed, and whole ones that it was about to publish are published.

    Parameters
    ----------
    out
        The folder to fill; made where it is absent. A link is followed.
    verb
        What writes: ``study``, ``tune`` or ``reproduce``.
    title
        What the counts are called in the manifest.
    say
        Told which earlier results will be replaced.

    Raises
    ------
    OSError, ValueError
        Before the block: if ``out`` is a file, cannot be written to, or holds a file with one of our names
        that is not ours or was changed since. After it: if the results could not be put in place.
    Incomplete
        If the block raises it: what it wrote has been published all the same.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home:
    ...     with staged(Path(home, "study")) as folder:
    ...         _ = Path(folder, "genes.csv").write_text("1")
    ...     sorted(p.name for p in Path(home, "study").iterdir())
    ['genes.csv', 'zinbtools_study.json']
    """
    if not os.fspath(out):
        raise ValueError("--out must be a folder, found no name; give . for this one.")
    target = Path(os.path.realpath(out))
    with _made(target):
        _try_to_write(target, FILES[verb])
        with alone(target / _LOCK):
            _tidy(target, say)
            earlier = Manifest.read(target, verb)
            _refuse_others(target, FILES[verb], earlier)
        if earlier is not None:
            say(f"replacing {earlier} in {out}")
        with own_folder(target, _PREFIX) as staging, _published(staging, target, verb, title) as new:
            yield new


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; if the block fails, those that are empty go again."""
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a link to itself" if folder.is_symlink() else "a file"
        raise NotADirectoryError(f"--out: {folder} is {what}; give a folder.")
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in absent:
            with suppress(OSError):  # it was never made, or someone else has put something there
                path.rmdir()
        raise


def _try_to_write(target: Path, names: Iterable[str]) -> None:
    """Refuse folders in which a file could not be made or not be removed."""
    for folder in {target, *((target / name).parent for name in names)}:
        if not folder.is_dir():
            continue
        try:
            with own_folder(folder, _PREFIX) as probe:
                (probe / "probe").write_bytes(bytes(4096))
        except OSError as error:
            raise OSError(
                f"--out: cannot write to {folder} ({error.strerror}); give another folder."
            ) from error
        if probe.exists():
            raise OSError(f"--out: cannot remove files from {folder}; give another folder.")


def _refuse_others(target: Path, names: Iterable[str], earlier: Manifest | None) -> None:
    """Refuse to replace what is in the place of our files and is not ours."""
    found = {name: reason for name in names if (reason := _obstacle(target, name, earlier))}
    if found:
        listed = ", ".join(f"{name} ({reason})" for name, reason in found.items())
        raise FileExistsError(f"--out: {target} holds {listed}; move it away, or give another folder.")


def _obstacle(target: Path, name: str, earlier: Manifest | None) -> str | None:
    """Say why a file may not be put in this place; None if it may."""
    path = target / name
    if os.path.lexists(path.parent) and not path.parent.is_dir():
        return f"{path.parent.name} is no folder"
    if not os.path.lexists(path):
        return None
    if path.is_symlink() or not path.is_file():
        return "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no regular file"
    if earlier is None or name not in earlier.files:
        return "of which zinbtools has no record"
    if not earlier.wrote(target, name):
        return "changed since zinbtools wrote it"
    try:
        os.close(os.open(path, os.O_WRONLY))
    except OSError as error:  # write-protected, immutable, or in use
        return str(error.strerror)
    return None


@contextmanager
def _published(staging: Path, target: Path, verb: str, title: str) -> Iterator[Path]:
    """Give the folder for the results, and put them in place when the block ends."""
    new, missing = staging / "new", None
    new.mkdir()
    try:
        yield new
    except Incomplete as error:
        missing = error
    if missing is not None and not any(path.is_file() for path in new.rglob("*")):
        raise missing
    try:
        made = Manifest.of(new, verb=verb, title=title)
        with alone(target / _LOCK):
            _tidy(target)
            earlier = Manifest.read(target, verb)
            if missing is not None and earlier is not None:
                raise Incomplete(f"{missing}; {earlier} is not replaced by half of another.")
            made.write(new)
            with too_late_to_stop():
                _put_in_place(staging, target, made)
                remove(staging)
    except (OSError, ValueError) as error:
        kept = _kept(staging, target, verb)
        raise OSError(
            f"{str(error).rstrip('.')}. The results are in {kept}; {target} is otherwise as it was."
        ) from error
    if missing is not None:
        raise Incomplete(f"{missing}; the rest is in {target}.") from missing


def _tidy(target: Path, say: Callable[[str], object] = lambda _: None) -> None:
    """Remove what killed runs left, and publish what they were about to."""

    def finish(staging: Path) -> None:
        for verb in FILES:
            made = Manifest.read(staging / "new", verb)
            if made is not None:
                _put_in_place(staging, target, made)
                say(f"put {made} in place, which was cut off when it was done")

    sweep(target, _PREFIX, first=finish)
    sweep(target / "figures", _PREFIX)


def _put_in_place(staging: Path, target: Path, made: Manifest) -> None:
    """Let the new files and the earlier ones change places: all of them, or none."""
    new, old = staging / "new", staging / "old"
    names = [name for name in made.files if (new / name).exists()]  # the others went before a run was cut off
    earlier = Manifest.read(target, made.verb)
    _refuse_others(target, names, earlier)
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, goal: Path) -> None:
        _move(source, goal)
        moved.append((source, goal))

    with ExitStack() as stack:
        for folder in {(target / name).parent for name in names}:
            stack.enter_context(_made(folder))
        try:
            for name in earlier.files if earlier else ():
                if name not in made.files and earlier.wrote(target, name):  # type: ignore[union-attr]
                    move(target / name, old / name)
            for name in [*names, manifest_name(made.verb)]:
                if (target / name).exists():
                    shutil.copymode(target / name, new / name)
                    move(target / name, old / name)
                move(new / name, target / name)
        except BaseException:
            for source, goal in reversed(moved):
                _move(goal, source)
            raise


def _move(source: Path, goal: Path) -> None:
    """Rename a file, or copy it where a folder inside of the target is a link to another disk."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(source, goal)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with source.open("rb") as file, whole_file(goal) as copy:
            shutil.copyfileobj(file, copy)
        shutil.copymode(source, goal)
        source.unlink()


def _kept(staging: Path, target: Path, verb: str) -> Path:
    """Move results that could not be put in place to where they stay, and say where."""
    kept = target / f"{verb}-not-in-place-{secrets.token_hex(4)}"
    try:
        if any(path.is_file() for path in (staging / "old").rglob("*")):
            raise OSError("not all of the earlier files could be put back")
        os.rename(staging / "new", kept)
    except OSError:
        abandon(staging)
        return staging
    return kept
