"""Independent jobs: in this process, in worker processes, or on any `concurrent.futures.Executor`."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")
Content = TypeVar("Content")

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def run(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    n_jobs: int = 1,
    executor: Executor | None = None,
) -> Iterator[tuple[int, Result]]:
    """Call a function on every job; yield each job's place and result as soon as it is there.

    Worker processes are spawned, on every system: a script that starts them needs the usual
    ``if __name__ == "__main__":``. Each computes on one thread. They end with the iteration, also when it is
    interrupted or given up, and when this process is killed.

    Parameters
    ----------
    function
        What is pickled with it reaches a worker process once, not once per job: bind the data that all jobs
        share with `functools.partial`. A given executor gets it with every job.
    jobs
        Its arguments.
    n_jobs
        Worker processes; 1 runs the jobs in this process, one after the other.
    executor
        Where to run them instead.

    Raises
    ------
    RuntimeError
        If a worker died. An exception in a job is raised as it is, and ends the others.

    Examples
    --------
    >>> dict(run(abs, [-3, 4]))
    {0: 3, 1: 4}
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as threads:
    ...     sorted(run(abs, [-3, 4], executor=threads))
    [(0, 3), (1, 4)]
    """
    if executor is None and n_jobs == 1:
        yield from ((place, function(job)) for place, job in enumerate(jobs))
        return
    places: dict[Future[_Parcel[Result]], int] = {}
    with ExitStack() as stack:
        parcel: _Parcel[Callable[[Job], Result]] | _Stored = _Parcel(function)
        if executor is None:
            executor, parcel = stack.enter_context(_spawned(n_jobs, function))
        try:
            with _one_thread_for_children():
                for place, job in enumerate(jobs):
                    places[executor.submit(_call, parcel, _Parcel(job))] = place
            for future in as_completed(list(places)):
                yield places.pop(future), future.result().content
        except BrokenExecutor as error:
            raise RuntimeError(
                "a worker process died before its job was done: it may have run out of memory (try a smaller "
                "n_jobs), or the script that started it lacks `if __name__ == '__main__':`."
            ) from error
        finally:
            for future in places:
                future.cancel()


def check_workers(n_jobs: int, executor: Executor | None, device: str = "cpu") -> None:
    """Refuse what `run` cannot use; ``device`` is where the jobs compute."""
    if not isinstance(n_jobs, Integral) or n_jobs < 1:
        raise ValueError(f"n_jobs must be a whole number of at least 1, found {n_jobs!r}.")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(
            f"executor must be a concurrent.futures.Executor, found {executor!r}; "
            "n_jobs gives the number of worker processes."
        )
    if device != "cpu" and (n_jobs > 1 or executor is not None):
        raise ValueError(
            f"n_jobs and executor must be left out on device {device!r}, found n_jobs={n_jobs}: "
            "workers compute on the CPU; use device='cpu' for them."
        )


@dataclass(frozen=True)
class _Parcel(Generic[Content]):
    """Something pickled in the plain way by whoever pickles it.

    Left to themselves, torch and multiprocessing would pass tensors as shared memory and open files, of which
    containers have little.
    """

    content: Content

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpack, (pickle.dumps(self.content, pickle.HIGHEST_PROTOCOL),)


def _unpack(data: bytes) -> _Parcel[Any]:
    return _Parcel(pickle.loads(data))


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


def _call(function: _Parcel[Callable[[Job], Result]] | _Stored, job: _Parcel[Job]) -> _Parcel[Result]:
    """What a worker does."""
    call, argument = function.content, job.content
    with _one_thread():
        return _Parcel(call(argument))


def _one_thread() -> AbstractContextManager[None]:
    """For torch, which takes seconds to load, only where the job has loaded it."""
    if "torch" not in sys.modules:
        return nullcontext()
    from ._threads import single_threaded

    return single_threaded()


@contextmanager
def _spawned(n_workers: int, function: Callable[..., Any]) -> Iterator[tuple[Executor, _Stored]]:
    """Worker processes, and the function in a file for them: a pipe would make them start one by one."""
    context = get_context("spawn")
    watched, lifeline = context.Pipe(duplex=False)
    with watched, lifeline, TemporaryDirectory(prefix="zinbtools-") as folder:
        path = Path(folder) / "function.pickle"
        with path.open("wb") as file:
            pickle.dump(function, file, pickle.HIGHEST_PROTOCOL)
        pool = ProcessPoolExecutor(
            n_workers, mp_context=context, initializer=_start_worker, initargs=(watched,)
        )
        try:
            yield pool, _Stored(path)
        except BaseException:
            lifeline.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


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
def _one_thread_for_children() -> Iterator[None]:
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
