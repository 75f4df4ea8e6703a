"""Print without ever failing, whatever the terminal or the reader."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

_PLAIN = {"±": "+-", "–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "≥": ">=", "≤": "<=", "λ": "lambda"}


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("zinbtools.plain", _in_plain)


class Steady:
    """A text stream that never fails, whatever happens to the one below.

    Characters that its encoding has not are put in plain ones. When its reader has gone (``| head -1``) or
    its disk is full, the rest is dropped.

    Examples
    --------
    >>> import io
    >>> below = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    >>> print("20.7 ± 0.3 – 细胞", file=Steady(below), flush=True)
    >>> below.buffer.getvalue().decode().strip()
    '20.7 +- 0.3 - ??'
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        plain = text.encode(self._encoding, "zinbtools.plain").decode(self._encoding)
        self._try(self._stream.write, plain)
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, method: Any, *arguments: Any) -> None:
        if self._gone:
            return
        try:
            method(*arguments)
        except (OSError, ValueError):  # ValueError where it has been closed
            self._gone = True
            _drop_what_is_left(self._stream)


def _drop_what_is_left(stream: TextIO) -> None:
    """Let Python write what it still holds to nowhere, or it would end with the status of a failure."""
    with suppress(OSError, ValueError):  # it is no file of the system
        handle = os.open(os.devnull, os.O_WRONLY)
        os.dup2(handle, stream.fileno())
        os.close(handle)


@contextmanager
def steady_streams() -> Iterator[None]:
    """Put `Steady` in the place of both output streams."""
    _fill_closed()
    # no stream at all (pythonw, or closed by the shell): some libraries need one to write to
    out, err = (Steady(stream or io.StringIO()) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            yield
        finally:
            out.flush()
            err.flush()


def _fill_closed() -> None:
    """Open what the shell closed (``>&-``), or the next file that is opened would take its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
