"""Results of finished jobs on disk, so that a run that was cut off can go on: arrays and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

Result = TypeVar("Result")

_MANIFEST = "run.json"
_RECORD = "record"  # the member of a file that holds everything but the arrays
_ARRAY = "__array__"
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class Died(NamedTuple):
    """What stands in for the result of a job that killed its worker."""

    message: str


def _as_it_is(value: Any) -> Any:
    return value


class Checkpoints(Generic[Result]):
    """A folder with one file for every finished job of one run.

    A job is named by a *key*, a word of at most 100 small letters, digits, ``.``, ``_`` and ``-``. The caller
    makes it from what the job computes (model and seed, number of the trial), never from where or when it
    runs: whoever asks for a key again gets the result that was stored, and the job is not run.

    A file holds numpy arrays and JSON, and reading one runs no code, so a folder from somewhere else can do
    no harm. Results are kept exactly: None, bool, int, float (NaN and infinities too), str, arrays without
    objects, and lists and dictionaries with str keys of these. Tuples come back as lists, numpy's numbers as
    Python's. Other types are turned into these by ``pack`` and back by ``unpack``.

    Parameters
    ----------
    folder
        Made where it is absent. An old one must be that of the same run.
    identity
        What all jobs of the run depend on, as JSON holds it: settings, seeds, and a `fingerprint` of the
        data. What the key says of a job need not be in it.
    pack, unpack
        From a result to what a file can hold, and back.

    Raises
    ------
    ValueError
        If the folder is of a run with another identity or version of zinbtools, or holds something else.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Checkpoints(folder, {"seed": 0}).save("nb-3", {"nll": 1.5, "weights": np.zeros(2)})
    ...     Checkpoints(folder, {"seed": 0}).load("nb-3")
    {'nll': 1.5, 'weights': array([0., 0.])}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        identity: Mapping[str, Any],
        *,
        pack: Callable[[Result], Any] = _as_it_is,
        unpack: Callable[[Any], Result] = _as_it_is,
    ) -> None:
        self.folder, self._pack, self._unpack = Path(folder), pack, unpack
        self._claim(json.loads(json.dumps({"zinbtools": version("zinbtools"), **identity})))

    def _claim(self, identity: dict[str, Any]) -> None:
        """Write down whose folder it is, or check that it is this run's."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"resume must be a folder, found the file {self.folder}; give another name.")
        manifest = self.folder / _MANIFEST
        if not manifest.exists():
            if self.folder.exists() and any(not _is_part(path) for path in self.folder.iterdir()):
                raise ValueError(f"resume: {self.folder} holds other files; give a new or an empty folder.")
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(manifest, lambda file: file.write(json.dumps(identity, indent=1).encode()))
            return
        try:
            found = json.loads(manifest.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"resume: {manifest} cannot be read ({error}); give another folder.") from error
        changed = [name for name in {**identity, **found} if found.get(name) != identity.get(name)]
        if changed:
            name = changed[0]
            raise ValueError(
                f"resume: {self.folder} holds the jobs of another run, whose {name} was "
                f"{_short(found.get(name))} where it now is {_short(identity.get(name))}; "
                "give the same data and settings, or another folder."
            )

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def load(self, key: str) -> Result | Died:
        """The result of a finished job."""
        path = self._path(key)
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                record = json.loads(file[_RECORD].tobytes())
                if "died" in record:
                    return Died(record["died"])
                packed = _with_arrays(record["result"], file)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"resume: {path} cannot be read ({error}); remove it, and its job is done again."
            ) from error
        return self._unpack(packed)

    def save(self, key: str, result: Result | Died) -> None:
        """Store a result; it is on disk whole, or not at all."""
        arrays: dict[str, np.ndarray] = {}
        if isinstance(result, Died):
            record = {"died": result.message}
        else:
            record = {"result": _without_arrays(self._pack(result), arrays)}
        members: dict[str, Any] = {_RECORD: np.frombuffer(json.dumps(record).encode(), np.uint8), **arrays}
        _write(self._path(key), lambda file: np.savez(file, **members))

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(
                "key must be up to 100 of a-z, 0-9, '.', '_' and '-', the first a letter or digit, "
                f"found {key!r}."
            )
        return self.folder / f"{key}.npz"


def fingerprint(arrays: Iterable[Any]) -> str:
    """A digest of arrays, the same wherever and whenever they have the same types, shapes and values.

    Examples
    --------
    >>> fingerprint([np.arange(3)]) == fingerprint([np.arange(3.0)])
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.data)
    return digest.hexdigest()


def _write(path: Path, write: Callable[[Any], Any]) -> None:
    """By a file beside it and one rename, so that nobody ever sees a part of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _is_part(path: Path) -> bool:
    """Whether a run that was killed left this while it wrote."""
    return path.name.startswith(".") and path.name.endswith(".part")


def _without_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """What JSON can hold, with the arrays put aside."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {_ARRAY: name}
    if isinstance(value, list | tuple):
        return [_without_arrays(part, arrays) for part in value]
    if isinstance(value, Mapping) and _ARRAY not in value and all(isinstance(name, str) for name in value):
        return {name: _without_arrays(part, arrays) for name, part in value.items()}
    raise TypeError(
        f"a checkpoint holds numbers, words, arrays without objects, lists and dictionaries with str keys, "
        f"found {type(value).__name__}; give Checkpoints a pack and an unpack."
    )


def _with_arrays(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_with_arrays(part, arrays) for part in value]
    if isinstance(value, dict):
        if _ARRAY in value:
            return arrays[value[_ARRAY]]
        return {name: _with_arrays(part, arrays) for name, part in value.items()}
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
