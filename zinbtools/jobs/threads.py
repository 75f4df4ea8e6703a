"""Threads of this process, and those of torch, so that a user never has to set them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Event
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

from .cores import usable_cores
from .torch_state import torch_defaults

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_THREADS = 8  # each has cells x genes of its own in memory
_before: ContextVar[int] = ContextVar("threads before the outermost `single_threaded`")
_unwanted: ContextVar[Event | None] = ContextVar("whether anybody waits for this thread's job", default=None)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run torch, and the matrix products of numpy and scipy, on one CPU thread.

    The matrices are small: a second thread gains a third at best, and where another process is busy, threads
    spin while they wait for each other and everything takes many times longer. Otherwise torch is as it is
    when it is imported (`torch_defaults`).
    """
    before = torch.get_num_threads()
    token = _before.set(_before.get(before))
    torch.set_num_threads(1)
    try:
        with torch_defaults(), _libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
        _before.reset(token)


def available_threads(device: torch.device) -> int:
    """Count the threads that may compute side by side, up to `MOST_THREADS`; one for a GPU.

    No more than torch may use (`torch.set_num_threads`), or might without `single_threaded`, and no more than
    there are cores for this process. In one of several threads it is that one: they share what there is.
    """
    if device.type != "cpu":
        return 1
    return min(_before.get(torch.get_num_threads()), MOST_THREADS, usable_cores())


class Unwanted(BaseException):
    """Ends a job that nobody waits for any more."""


def end_if_unwanted() -> None:
    """Raise `Unwanted` in a thread whose result nobody waits for; long jobs ask often."""
    unwanted = _unwanted.get()
    if unwanted is not None and unwanted.is_set():
        raise Unwanted


@contextmanager
def threads(n_threads: int) -> Iterator[Callable[..., Future[Any]]]:
    """Give a function that calls others in threads with torch as in `single_threaded`.

    At the end of the block, jobs that wait are dropped, and those that run end when they ask.
    """
    unwanted = Event()
    pool = ThreadPoolExecutor(n_threads, "zinbtools", initializer=_start_thread, initargs=(unwanted,))
    try:
        yield lambda function, job: pool.submit(_with_defaults, function, job)
    finally:
        unwanted.set()
        pool.shutdown(cancel_futures=True)


def _start_thread(unwanted: Event) -> None:
    torch.set_num_threads(1)
    _before.set(1)
    _unwanted.set(unwanted)


def _with_defaults(function: Callable[[Job], Result], job: Job) -> Result:
    with torch_defaults():
        return function(job)


def in_order(function: Callable[[Job], Result], jobs: Iterable[Job], n_threads: int) -> Iterator[Result]:
    """Compute what ``map`` gives in threads that run torch on one thread each, a few jobs ahead.

    Examples
    --------
    >>> list(in_order(abs, [-3, 4, -5], n_threads=2))
    [3, 4, 5]
    """
    if n_threads < 2:
        for job in jobs:
            end_if_unwanted()
            yield function(job)
        return
    with threads(n_threads) as submit:
        ahead: deque[Future[Result]] = deque()
        for job in jobs:
            ahead.append(submit(function, job))
            if len(ahead) > 2 * n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
