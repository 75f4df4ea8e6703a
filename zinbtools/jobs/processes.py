"""Worker processes of which one can die without the others."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from mmap import ACCESS_COPY, mmap
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from queue import SimpleQueue
from tempfile import gettempdir
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from .._files.leftovers import own_folder
from .._words.warn import warn
from .software import refuse_other_software, software

Job = TypeVar("Job")
Result = TypeVar("Result")
Content = TypeVar("Content")

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_environment = Lock()
_ALIGNED = 64  # bytes
_PATIENCE = 60.0  # seconds after which a process that has not answered is looked at


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
    """Something in a file, that a process reads once.

    Its arrays stay in the file, mapped into memory: all processes have the same pages of those that none
    changes.
    """

    path: Path

    @classmethod
    def at(cls, path: Path, content: Any) -> _Stored:
        """Store something."""
        arrays: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(content, pickle.HIGHEST_PROTOCOL, buffer_callback=arrays.append)
        bounds, at = [], 0
        with path.open("wb") as file:
            for array in arrays:
                at += file.write(bytes(-at % _ALIGNED))
                bounds.append((at, at + array.raw().nbytes))
                at += file.write(array.raw())
            head = pickle.dumps((pickled, bounds))
            file.write(head + len(head).to_bytes(8, "little"))
        return cls(path)

    @property
    def content(self) -> Any:
        return _load(self.path)


@lru_cache(maxsize=1)
def _load(path: Path) -> Any:
    with path.open("rb") as file:
        mapped = memoryview(mmap(file.fileno(), 0, access=ACCESS_COPY))
    end = len(mapped) - 8
    pickled, bounds = pickle.loads(mapped[end - int.from_bytes(mapped[end:], "little") : end])
    return pickle.loads(pickled, buffers=[mapped[slice(*of_array)] for of_array in bounds])


def call(
    function: Parcel[Callable[[Job], Result]] | _Stored, job: Parcel[Job], expected: Mapping[str, str]
) -> Parcel[Result]:
    """Do a job in a worker, if its software is what is expected."""
    refuse_other_software(expected)
    with _torch_at_rest():  # inference mode would leave its mark on tensors
        compute, argument = function.content, job.content
    with _torch_at_rest():
        return Parcel(compute(argument))


def _torch_at_rest() -> AbstractContextManager[None]:
    """Give `single_threaded` if torch is loaded, perhaps by the job itself; loading it takes seconds."""
    if "torch" not in sys.modules:
        return nullcontext()
    from .threads import single_threaded

    return single_threaded()


class NeverStarted(BrokenExecutor):
    """A worker process died before it could take a job."""


class _Worker:
    """A spawned process in a pool of its own."""

    def __init__(self, watched: Connection) -> None:
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(watched,)
        )
        with _environment, one_thread_for_children():
            self._pid = self._pool.submit(os.getpid)  # the process starts with its first job

    def compute(self, function: _Stored, job: Parcel[Any]) -> Parcel[Any]:
        """Return the result of a job; `NeverStarted` or another `BrokenExecutor` if the process died."""
        try:
            future: Future[Parcel[Any]] = self._pool.submit(call, function, job, software())
            self._wait(future)
            return future.result()
        except BrokenExecutor as error:
            if self._pid.exception() is not None:
                raise NeverStarted from error
            raise

    def _wait(self, future: Future[Any]) -> None:
        """Wait until a job is done; warn if the process is stopped meanwhile."""
        told = False
        while not wait([future], timeout=_PATIENCE).done:
            if not told and self._is_stopped():
                told, pid = True, self._pid.result()
                warn(
                    f"the worker process {pid} is stopped, and its job waits; `kill -CONT {pid}` lets it go "
                    f"on, `kill -KILL {pid}` lets another process do the job."
                )

    def _is_stopped(self) -> bool:
        """Ask Linux whether a signal or a debugger has stopped it; False elsewhere."""
        if not self._pid.done() or self._pid.exception() is not None:
            return False
        try:
            stat = Path(f"/proc/{self._pid.result()}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in "Tt"

    def wake(self) -> None:
        """Let it go on if it is stopped, so that it can end."""
        if self._is_stopped():
            os.kill(self._pid.result(), signal.SIGCONT)

    def close(self) -> None:
        self._pool.shutdown()


class Processes:
    """Spawned processes, each in a pool of its own, so that one that dies takes no other job with it.

    A process starts when there is a job for it. A future fails with a `BrokenExecutor` if its process died;
    another one has taken its place then.

    Parameters
    ----------
    n_workers
        How many at most.
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
        self._n_workers, self._function, self._watched = n_workers, function, watched
        self.starts_others = True
        self._workers: list[_Worker] = []
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._asked: set[Future[Parcel[Any]]] = set()
        # a thread for each: it waits for its process, and starts another where that one died
        self._threads = ThreadPoolExecutor(n_workers)

    def submit(self, job: Parcel[Any]) -> Future[Parcel[Any]]:
        if len(self._workers) < min(self._n_workers, len(self._asked) + 1):
            self._workers.append(_Worker(self._watched))
            self._idle.put(self._workers[-1])
        future = self._threads.submit(self._compute, job)
        self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future

    def ready_again(self, error: BaseException, n_before: int) -> bool:
        return n_before == 0

    def _compute(self, job: Parcel[Any]) -> Parcel[Any]:
        worker = self._idle.get()
        try:
            return worker.compute(self._function, job)
        except BrokenExecutor:
            worker.close()
            if self.starts_others:
                place = self._workers.index(worker)
                worker = self._workers[place] = _Worker(self._watched)
            raise
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Wait for what is running, drop what is not, and end the processes."""
        self.starts_others = False
        for worker in self._workers:
            worker.wake()
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().close()


def why_not_here() -> str | None:
    """Say why this process cannot start others; None if it can."""
    if current_process().daemon:
        return (
            "this process is a daemon, as workers of multiprocessing.Pool and Celery are; it may start none"
        )
    script = get_preparation_data("").get("init_main_from_path")
    if script is not None and not Path(script).exists():
        return (
            f"worker processes read the script that starts them again, and {Path(script).name} is no file; "
            "save it in one"
        )
    return None


@contextmanager
def spawned(n_workers: int, function: Callable[..., Any]) -> Iterator[Processes]:
    """Start processes that end with the block: at once if it is left by an exception."""
    watched, lifeline = get_context("spawn").Pipe(duplex=False)
    with watched, lifeline, own_folder(Path(gettempdir()), "zinbtools-") as folder:
        processes = Processes(n_workers, _Stored.at(folder / "function.pickle", function), watched)
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
    """Give processes that are started in the block one thread, from before they import anything."""
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
