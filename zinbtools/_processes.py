"""Worker processes that share nothing with each other, not even their death."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
Content = TypeVar("Content")

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_environment = Lock()


@dataclass(frozen=True)
class Parcel(Generic[Content]):
    """Something pickled in the plain way by whoever pickles it.

    Left to themselves, torch and multiprocessing would pass tensors as shared memory and open files, of which
    containers have little.
    """

    content: Content

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (pickle.dumps(self.content, pickle.HIGHEST_PROTOCOL),)


def _unpack(data: bytes) -> Parcel[Any]:
    return Parcel(pickle.loads(data))


@dataclass(frozen=True)
class _Stored:
    """Something in a file, that a process reads once."""

    path: Path

    @property
    def content(self) -> Any:
        return _load(self.path)


@lru_cache(maxsize=1)
def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def call(function: Parcel[Callable[[Job], Result]] | _Stored, job: Parcel[Job]) -> Parcel[Result]:
    """What a worker does."""
    compute, argument = function.content, job.content
    with _one_thread():
        return Parcel(compute(argument))


def _one_thread() -> AbstractContextManager[None]:
    """For torch, which takes seconds to load, only where the job has loaded it."""
    if "torch" not in sys.modules:
        return nullcontext()
    from ._threads import single_threaded

    return single_threaded()


class Processes:
    """Spawned processes, each in a pool of its own, so that one that dies takes no other job with it.

    A future fails with a `BrokenExecutor` if its process died; another one has taken its place then.

    Parameters
    ----------
    n_workers
        How many.
    function
        The function that they call, which is `_Stored`: a pipe would make them start one by one.
    watched
        Closed at the other end to make all of them exit.

    Attributes
    ----------
    starts_others
        Whether another process takes the place of one that died.
    """

    deaths = (BrokenExecutor,)

    def __init__(self, n_workers: int, function: _Stored, watched: Connection) -> None:
        self._function, self._watched = function, watched
        self.starts_others = True
        self._idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        # a thread for each: it waits for its process, and starts another where that one died
        self._threads = ThreadPoolExecutor(n_workers)
        for _ in range(n_workers):
            self._idle.put(self._start())

    def submit(self, job: Parcel[Any]) -> Future[Parcel[Any]]:
        return self._threads.submit(self._compute, job)

    def ready_again(self, error: BaseException) -> bool:
        return True

    def _compute(self, job: Parcel[Any]) -> Parcel[Any]:
        pool = self._idle.get()
        try:
            return pool.submit(call, self._function, job).result()
        except BrokenExecutor:
            pool.shutdown()
            if self.starts_others:
                pool = self._start()
            raise
        finally:
            self._idle.put(pool)

    def _start(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(self._watched,)
        )
        with _environment, one_thread_for_children():
            pool.submit(os.getpid)  # the process starts with its first job
        return pool

    def close(self) -> None:
        """Wait for what is running, drop what is not, and end the processes."""
        self.starts_others = False
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().shutdown()


@contextmanager
def spawned(n_workers: int, function: Callable[..., Any]) -> Iterator[Processes]:
    """Processes that end with the block: at once if it is left by an exception."""
    watched, lifeline = get_context("spawn").Pipe(duplex=False)
    with watched, lifeline, TemporaryDirectory(prefix="zinbtools-") as folder:
        path = Path(folder) / "function.pickle"
        with path.open("wb") as file:
            pickle.dump(function, file, pickle.HIGHEST_PROTOCOL)
        processes = Processes(n_workers, _Stored(path), watched)
        try:
            yield processes
        except BaseException:
            processes.starts_others = False
            lifeline.close()
            raise
        finally:
            processes.close()


def _start_worker(watched: Connection) -> None:
    """Leave Ctrl-C to the process that started this one, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(watched,), daemon=True).start()


def _end_with(watched: Connection) -> None:
    """Wait until the other end of the pipe is closed, by its owner or by its owner's death."""
    with suppress(EOFError, OSError):
        watched.poll(None)
    os._exit(1)


@contextmanager
def one_thread_for_children() -> Iterator[None]:
    """Processes started meanwhile find one thread in their environment, before they import anything."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
