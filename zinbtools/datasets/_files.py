"""Fetch the files of a data set into a cache, or find them among those that a user has."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from ._registry import Dataset, File

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of fetched files: ``zinbtools`` under ``scanpy.settings.datasetdir``."""
    import scanpy as sc

    return Path(sc.settings.datasetdir) / "zinbtools"


def fetch(dataset: Dataset) -> dict[str, Path]:
    """Fetch every file of a data set that is not in the cache, and return the paths.

    Of a file without a published hash, its own is noted beside it when it first comes; a file that has
    changed since, cut short on the disk say, is fetched anew and must be the same again.

    Raises
    ------
    ConnectionError
        If a file is not in the cache and cannot be fetched.
    ValueError
        If a file is not what its hash says, or not what it was when it first came.
    """
    folder = cache_folder()
    return {part: _fetch(file, dataset, folder) for part, file in dataset.files.items()}


def _fetch(file: File, dataset: Dataset, folder: Path) -> Path:
    import pooch

    noted = folder / f"{file.name}.sha256"
    if file.hash is None:
        known = noted.read_text("ascii").strip() if noted.exists() else None
    else:
        known = None if file.hash.startswith("git:") else file.hash
    try:
        path = Path(pooch.retrieve(file.url, known_hash=known, fname=file.name, path=folder))
    except OSError as error:  # which is what requests raises too
        raise ConnectionError(
            f"{file.name} of the data set {dataset.name!r} could not be fetched into {folder} "
            f"({type(error).__name__}); bring it from {file.url} to a folder and read that with "
            f"zinbtools.datasets.from_files({dataset.name!r}, folder)."
        ) from error
    except ValueError as error:
        raise ValueError(_other_content(file, known)) from error
    if file.hash is None and known is None:
        digest = f"sha256:{pooch.file_hash(str(path))}"
        noted.write_text(f"{digest}\n", "ascii")
        logger.info("%s has no published hash; it has %s, which is looked at from now on", path, digest)
    if file.hash is not None and known is None and f"git:{_git_identifier(path)}" != file.hash:
        path.unlink()
        raise ValueError(_other_content(file, file.hash))
    return path


def _other_content(file: File, known: str | None) -> str:
    since = (
        f"; if the new one is right, remove {file.name}.sha256 beside it in the cache"
        if file.hash is None
        else ""
    )
    return (
        f"what {file.url} gave is not the {file.name} that is known ({known}); try again, and if it "
        f"stays so, look whether that page has moved it{since}."
    )


def _git_identifier(path: Path) -> str:
    """Compute the name that git gives to a file with this content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find(dataset: Dataset, path: Path) -> dict[str, Path]:
    """Find a data set's files at a path: the one needed file, or a folder that holds them by their names.

    Raises
    ------
    ValueError
        If there is no such path, or a file that is needed is not there.
    """
    if not path.exists():
        raise ValueError(f"path {str(path)!r} does not exist; {_wanted(dataset)}")
    needed = {part: file for part, file in dataset.files.items() if not file.optional}
    if path.is_file():
        if len(needed) > 1:
            raise ValueError(
                f"path {str(path)!r} is one file, and {dataset.name!r} has more; {_wanted(dataset)}"
            )
        return {next(iter(needed)): path}
    found = {}
    for part, file in dataset.files.items():
        there = [path / name for name in (file.name, *file.also) if (path / name).exists()]
        if there:
            found[part] = there[0]
        elif not file.optional:
            raise ValueError(f"folder {str(path)!r} lacks {file.name}; {_wanted(dataset)}")
    return found


def _wanted(dataset: Dataset) -> str:
    needed = [file.name for file in dataset.files.values() if not file.optional]
    return f"give {'the file' if len(needed) == 1 else 'a folder with the files'} {', '.join(needed)}."
