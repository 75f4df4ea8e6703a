"""Thread settings that a user never has to think of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch on one CPU thread.

    The matrices are small: a second thread gains a third at best, and where another process is busy, torch's
    threads spin while they wait for each other and everything takes many times longer.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
