"""Read the tables of numbers and names in a file that R's ``save`` wrote."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from ._formats import LARGEST, reading

_OPENERS: dict[bytes, Callable[..., Any]] = {b"BZh": bz2.open, b"\x1f\x8b": gzip.open, b"\xfd7z": lzma.open}
# Kinds of R's objects by their number in the file ("R Internals", 1.8).
_SYMBOL, _PAIRS, _CHARACTERS, _LOGICAL, _INTEGER, _REAL, _STRINGS, _LIST = 1, 2, 9, 10, 13, 14, 16, 19
_REFERENCE, _END = 255, 254
_HAS_ATTRIBUTES, _HAS_TAG = 0x200, 0x400


def read_rda(path: Path) -> dict[str, pd.DataFrame]:
    """Read the data frames that R saved in a file, by their names.

    Only what a table of numbers and names consists of is read; anything else in the file is an error.
    """
    with reading(path):
        with path.open("rb") as file:
            start = file.read(6)
        opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
        with opener(path, "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"{path} has more than {LARGEST:,} bytes unpacked; fetch it anew.")
        return {name: _frame(value) for name, value in _saved(BytesIO(content))}


def _saved(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    magic = file.read(7)
    if magic not in (b"RDX2\nX\n", b"RDX3\nX\n"):
        raise ValueError("it is no file of R's save in the format that all machines read.")
    version, _, _ = _Reader(file).integers(3)
    if version == 3:
        file.read(*_Reader(file).integers(1))  # the encoding of old strings; all have their own mark
    content, _ = _Reader(file).item()
    yield from content


class _Reader:
    """Walks through the objects in a file, each with its attributes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.symbols: list[str] = []

    def integers(self, n: int) -> tuple[int, ...]:
        return struct.unpack(f">{n}i", self.file.read(4 * n))

    def length(self) -> int:
        (n,) = self.integers(1)
        if n < 0:  # more than 2^31 in two numbers
            raise ValueError("a vector in it is longer than any in a table of counts.")
        return n

    def numbers(self, kind: str) -> np.ndarray:
        n = self.length()
        return np.frombuffer(self.file.read(n * np.dtype(kind).itemsize), dtype=kind, count=n)

    def item(self) -> tuple[Any, dict[str, Any]]:
        """Read one object: what it holds, and its attributes."""
        (flags,) = self.integers(1)
        kind = flags & 0xFF
        if kind == _PAIRS:
            return self.pairs(flags), {}
        value = self.value(kind, flags)
        # of a name, a string or a reference to a name these bits say other things
        may_have = kind in (_LOGICAL, _INTEGER, _REAL, _STRINGS, _LIST)
        return value, dict(self.item()[0]) if may_have and flags & _HAS_ATTRIBUTES else {}

    def value(self, kind: int, flags: int) -> Any:
        if kind == _END:
            return []
        if kind == _SYMBOL:
            self.symbols.append(self.item()[0])
            return self.symbols[-1]
        if kind == _REFERENCE:
            return self.symbols[(flags >> 8 or self.integers(1)[0]) - 1]
        if kind == _CHARACTERS:
            (n,) = self.integers(1)
            return self.file.read(n).decode("utf-8") if n >= 0 else None
        if kind in (_LOGICAL, _INTEGER):
            return self.numbers(">i4")
        if kind == _REAL:
            return self.numbers(">f8")
        if kind == _STRINGS:
            return [self.item()[0] for _ in range(self.length())]
        if kind == _LIST:
            return [self.item() for _ in range(self.length())]
        raise ValueError(f"it has an object of R's kind {kind}, which no table of counts needs.")

    def pairs(self, flags: int) -> list[tuple[str, Any]]:
        """Read names with values, one after the other."""
        found = []
        while flags & 0xFF == _PAIRS:
            if flags & _HAS_ATTRIBUTES:
                self.item()
            name = self.item()[0] if flags & _HAS_TAG else ""
            found.append((name, self.item()))
            (flags,) = self.integers(1)
        return found


def _frame(value: Any) -> pd.DataFrame:
    columns, attributes = value
    if attributes.get("class", [[]])[0] != ["data.frame"]:
        raise ValueError("it has something else than data frames.")
    names, rows = attributes["names"][0], attributes["row.names"][0]
    data = {name: _column(*column) for name, column in zip(names, columns, strict=True)}
    # rows without names are told by their number alone
    return pd.DataFrame(data, index=pd.Index(rows) if isinstance(rows, list) else None)


def _column(values: Any, attributes: dict[str, Any]) -> Any:
    if "levels" not in attributes:
        return values.astype(values.dtype.newbyteorder("=")) if isinstance(values, np.ndarray) else values
    return pd.Categorical.from_codes(values.astype(int) - 1, categories=pd.Index(attributes["levels"][0]))
