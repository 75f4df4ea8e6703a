"""Results of finished jobs on disk, so that a run that was cut off can go on: arrays and JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from .._files.leftovers import whole_file
from .software import software

Result = TypeVar("Result")

_MANIFEST = "run.json"
_RECORD = "record"  # the member of a file that holds everything but the arrays
_ARRAY = "__array__"
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class Died(NamedTuple):
    """Stands in for the result of a job that killed its worker."""

    message: str


def _as_it_is(value: Any) -> Any:
    return value


class Checkpoints(Generic[Result]):
    """A folder with one file for every finished job of one run.

    A job is named by a *key*, a word of at most 100 small letters, digits, ``.``, ``_`` and ``-``. The caller
    makes it from what the job computes (model and seed, number of the trial), never from where or when it
    runs: whoever asks for a key again gets the result that was stored, and the job is not run.

    A file says which job of which run it is of, and is taken for no other. It holds numpy arrays and JSON,
    and reading one runs no code, so a folder from somewhere else can do no harm. Results are kept exactly:
    None, bool, int, float (NaN and infinities too), str, arrays without objects, and lists and dictionaries
    with str keys of these. Tuples come back as lists, numpy's numbers as Python's. Other types are turned
    into these by ``pack`` and back by ``unpack``.

    Parameters
    ----------
    folder
        Made where it is absent. An old one must be that of the same run; processes of the same run may share
        one.
    identity
        What all jobs of the run depend on, as JSON holds it: settings, seeds, and a `fingerprint` of the
        data. What the key says of a job need not be in it.
    pack, unpack
        From a result to what a file can hold, and back.

    Raises
    ------
    ValueError
        If the folder is of a run with another identity or other `software`, or holds something else.

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
        self._identity = json.loads(json.dumps({**software(), **identity}))
        self._run = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()
        self._claim()

    def _claim(self) -> None:
        """Write down whose folder it is, or check that it is this run's."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"resume must be a folder, found the file {self.folder}; give another name.")
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = self.folder / _MANIFEST
        others = [path for path in self.folder.iterdir() if not _is_passing(path)]
        if not manifest.exists():
            if others:  # listed before, so that they are not those of a run that begins just now
                raise ValueError(f"resume: {self.folder} holds other files; give a new or an empty folder.")
            content = json.dumps(self._identity, indent=1).encode()
            _write(manifest, lambda file: file.write(content), _place_first)
        found = _read_manifest(manifest)  # which another process may have written
        for name in {**self._identity, **found}:
            before, now = found.get(name), self._identity.get(name)
            if before != now:
                raise ValueError(
                    f"resume: {self.folder} holds the jobs of another run, whose {name} was {_short(before)} "
                    f"where it now is {_short(now)}; give the same data, settings and software, or another "
                    "folder."
                )

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def load(self, key: str) -> Result | Died:
        """Read the result of a finished job."""
        path = self._path(key)
        try:
            with path.open("rb") as opened, _npz(np.load(opened, allow_pickle=False)) as file:
                record = json.loads(file[_RECORD].tobytes())
                self._check(key, record)
                if "died" in record:
                    return Died(record["died"])
                packed = _with_arrays(record["result"], file)
        # Damage shows in all manners: as errors of the file system, of zip, npy and JSON, of encryption, ...
        except Exception as error:
            raise ValueError(
                f"resume: {path} cannot be used ({error}); remove it, and its job is done again."
            ) from error
        return self._unpack(packed)

    def _check(self, key: str, record: Mapping[str, Any]) -> None:
        """Refuse a record that was copied here from another job or another run."""
        if record.get("run") != self._run:
            raise ValueError("it is of another run")
        if record.get("key") != key:
            raise ValueError(f"it is of the job {record.get('key')!r}")

    def save(self, key: str, result: Result | Died) -> None:
        """Store a result; it is on disk whole, or not at all."""
        arrays: dict[str, np.ndarray] = {}
        record: dict[str, Any] = {"run": self._run, "key": key}
        if isinstance(result, Died):
            record["died"] = result.message
        else:
            record["result"] = _without_arrays(self._pack(result), arrays)
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
    """Compute a digest of arrays, the same wherever and whenever they have the same types, shapes and values.

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


def _npz(loaded: Any) -> np.lib.npyio.NpzFile:
    """Refuse what else numpy can read."""
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise ValueError("it is no npz file")
    return loaded


def _write(
    path: Path, write: Callable[[Any], Any], place: Callable[[Path, Path], object] = os.replace
) -> None:
    try:
        with whole_file(path, place) as file:
            write(file)
    except OSError as error:
        raise OSError(f"cannot keep a finished job in {path} ({error.strerror or error}).") from error


def _place_first(part: Path, path: Path) -> None:
    """Put a file in its place unless another process has put one there."""
    with suppress(FileExistsError):
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("xb") as file:
                file.write(part.read_bytes())


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError) as error:
        raise ValueError(f"resume: {path} cannot be read ({error}); give another folder.") from error
    return found


def _is_passing(path: Path) -> bool:
    """Tell whether runs write this now, or left it when killed; also a folder of only such files."""
    if path.name.startswith(".zinbtools") or (path.name.startswith(".") and path.name.endswith(".part")):
        return True
    return path.is_dir() and not path.is_symlink() and all(map(_is_passing, path.iterdir()))


def _without_arrays(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Turn a result into what JSON can hold, with the arrays put aside."""
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
    return text if len(text) <= 60 else f"{text[:57]}..."
