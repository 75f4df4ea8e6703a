"""What went wrong, in one line."""

from __future__ import annotations


def sentence(error: BaseException) -> str:
    """Return the message on one line; ``str`` would put that of a KeyError in quotes."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (line if len(line) <= 500 else f"{line[:499]}…") or type(error).__name__
