"""Refuse zarr stores that run what they hold or take data from elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_METADATA = {".zarray", ".zmetadata", "zarr.json"}
_PICKLE = {"pickle", "numcodecs.pickle"}  # as numcodecs calls it, and as zarr 3 does


def check_zarr(path: Path) -> None:
    """Refuse a store that asks for pickle, in any spelling, or has anything but files and folders in it.

    Raises
    ------
    ValueError
        At a link, a pipe or a device, at metadata that are no JSON or have a codec that unpickles.
    """
    for folder, folders, files in os.walk(path.resolve()):
        for place in (Path(folder, name) for name in [*folders, *files]):
            if place.is_symlink():
                raise ValueError(
                    f"{place} is a link, which may lead anywhere; make a copy without links, as 'cp -rL' "
                    "does."
                )
            if not (place.is_file() or place.is_dir()):
                raise ValueError(f"{place} is neither a file nor a folder; remove it.")
            if place.name.lower() in _METADATA and place.is_file():
                _check_metadata(place)


def _check_metadata(file: Path) -> None:
    named: set[str] = set()

    def note(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:  # all, where a key comes twice
            if key in ("id", "name", "codecs", "filters"):
                named.update(str(codec).lower() for codec in (value if isinstance(value, list) else [value]))

    try:
        json.loads(file.read_bytes(), object_pairs_hook=note)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON; write the store anew.") from error
    if named & _PICKLE:
        raise ValueError(f"{file} asks for pickle, which can run any program; store the data without it.")


@contextmanager
def without_pickle() -> Iterator[None]:
    """Within the block numcodecs knows no codec that unpickles, whatever a store calls it."""
    from numcodecs import registry
    from numcodecs.pickles import Pickle

    codecs, entries = dict(registry.codec_registry), dict(registry.entries)
    for name, codec in codecs.items():
        if issubclass(codec, Pickle):
            del registry.codec_registry[name]
    for name in _PICKLE & set(entries):
        del registry.entries[name]
    try:
        yield
    finally:
        registry.codec_registry.update(codecs)
        registry.entries.update(entries)
