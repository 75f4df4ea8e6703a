"""Write tables as CSV whose text no spreadsheet takes for a formula."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

_START = r"(?:\A|(?<=[,;|\t\r\n]))"  # of a cell, also where a spreadsheet splits at other separators
# What it would compute (signs of full width too). A sign that is all of a text is no formula.
_FORMULA = r"(?=[\s']*(?:[\t\r]|[=+\-@＝＋－＠](?!\Z)))"
_ESCAPE = re.compile(_START + _FORMULA)
_ESCAPED = re.compile(f"{_START}'{_FORMULA}")


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a table as ``frame.to_csv`` does, with text made harmless for spreadsheets.

    As OWASP advises, a single quote is put before text that begins with ``=``, ``+``, ``-``, ``@``, a tab
    or a carriage return, at the start of a cell or after a separator within it. That concerns cells, the
    index and the names of columns; numbers are written as they are. `unescaped` takes the quote away.

    Parameters
    ----------
    frame
        The table.
    path
        The file to write.
    index
        Whether to write the names of the rows.

    Examples
    --------
    >>> import tempfile
    >>> genes = pd.DataFrame({"score": [-1.5, 2.0]}, index=pd.Index(["=1+1", "Sox2"], name="gene"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "genes.csv")
    ...     write_csv(genes, path, index=True)
    ...     print(path.read_text())
    gene,score
    '=1+1,-1.5
    Sox2,2.0
    """
    table = frame.copy()
    for position, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            table.isetitem(position, frame.iloc[:, position].astype(object).map(_harmless))
    table.columns = [_harmless(name) for name in frame.columns]
    if index:
        table.index = pd.Index([_harmless(name) for name in frame.index], name=_harmless(frame.index.name))
    text = table.to_csv(index=index, lineterminator="\n")
    if "\r" in text:  # which Python's writer quotes only where lines end with it
        text = table.to_csv(index=index, lineterminator="\r\n")
    path.write_text(text, encoding="utf-8", newline="")


def unescaped(text: str) -> str:
    """Return the text that `zinbtools.study.write_csv` was given, from what it wrote.

    Examples
    --------
    >>> unescaped("'=1+1"), unescaped("'quoted'"), unescaped("-")
    ('=1+1', "'quoted'", '-')
    """
    return _ESCAPED.sub("", text)


def _harmless(value: Any) -> Any:
    return _ESCAPE.sub("'", value) if isinstance(value, str) else value
