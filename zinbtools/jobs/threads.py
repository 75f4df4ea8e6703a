"""Set the threads of torch, so that a user never has to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

from .torch_state import torch_defaults

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_THREADS = 8  # each has cells x genes of its own in memory
_before: ContextVar[int] = ContextVar("threads before the outermost `single_threaded`")


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch on one CPU thread, and otherwise as it is when it is imported (`torch_defaults`).

    The matrices are small: a second thread gains a third at best, and where another process is busy, torch's
    threads spin while they wait for each other and everything takes many times longer.
    """
    before = torch.get_num_threads()
    token = _before.set(_before.get(before))
    torch.set_num_threads(1)
    try:
        with torch_defaults():
            yield
    finally:
        torch.set_num_threads(before)
        _before.reset(token)


def available_threads(device: torch.device) -> int:
    """Count the threads that torch may use (`torch.set_num_threads`), or might without `single_threaded`.

    Up to `MOST_THREADS`; one for a GPU.
    """
    return min(_before.get(torch.get_num_threads()), MOST_THREADS) if device.type == "cpu" else 1


def in_order(function: Callable[[Job], Result], jobs: Iterable[Job], n_threads: int) -> Iterator[Result]:
    """Compute what ``map`` gives in threads that run torch on one thread each, a few jobs ahead.

    Examples
    --------
    >>> list(in_order(abs, [-3, 4, -5], n_threads=2))
    [3, 4, 5]
    """
    if n_threads < 2:
        yield from map(function, jobs)
        return
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        ahead: deque[Future[Result]] = deque()
        for job in jobs:
            ahead.append(threads.submit(function, job))
            if len(ahead) > 2 * n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
