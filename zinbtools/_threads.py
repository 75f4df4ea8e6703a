"""Thread settings that a user never has to think of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_before: ContextVar[int] = ContextVar("threads before the outermost `single_threaded`")


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch on one CPU thread.

    The matrices are small: a second thread gains a third at best, and where another process is busy, torch's
    threads spin while they wait for each other and everything takes many times longer.
    """
    before = torch.get_num_threads()
    token = _before.set(_before.get(before))
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _before.reset(token)


def available_threads() -> int:
    """As many as torch may use (`torch.set_num_threads`), or might if `single_threaded` did not hold."""
    return _before.get(torch.get_num_threads())
