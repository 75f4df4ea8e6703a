"""Independent jobs: in threads, in worker processes, on an executor or on a dask cluster.

`run` does one round of jobs; `workers` keeps the workers for several rounds. With `Checkpoints` every
finished job is on disk at once under a name that the caller gives it, its key, and is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from itertools import repeat
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from .._words.warn import warn
from .checkpoints import Checkpoints, Died
from .cluster import Cluster, DaskClient
from .processes import NeverStarted, Parcel, call, one_thread_for_children, spawned, why_not_here
from .software import software

Job = TypeVar("Job")
Result = TypeVar("Result")
Where: TypeAlias = Literal["threads", "processes"] | Executor | DaskClient

_DEATH = (
    "a worker process died before its job was done: it may have run out of memory (try a smaller n_jobs)."
)
_NEVER_STARTED = (
    "a worker process ended before it could take a job: the script that started it lacks "
    "`if __name__ == '__main__':`, or fails where it is imported (its own messages stand above)."
)


def run(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    n_jobs: int = 1,
    executor: Where = "threads",
    keys: Iterable[str] | None = None,
    checkpoints: Checkpoints[Result] | None = None,
    deaths: Literal["raise", "yield"] = "raise",
) -> Iterator[tuple[int, Any]]:
    """Call a function on every job; yield each job's place and result as soon as it is there.

    Threads share the interpreter, and gain where most of a job is compiled code that lets go of it.

    Worker processes are spawned, on every system: a script that starts them needs the usual
    ``if __name__ == "__main__":``. Where none can be (a script from stdin, a daemon), the jobs run in this
    process, with a warning. Each computes on one thread. They end with the iteration, also when it is
    interrupted or given up, and when this process is killed. What was finished by then stays in
    ``checkpoints``.

    A job whose worker dies is done once more; other jobs do not notice. (A dask cluster does so by itself, as
    often as its ``allowed-failures`` says. An executor that breaks as a whole, as a
    `concurrent.futures.ProcessPoolExecutor` does, cannot be asked again.)

    Parameters
    ----------
    function
        What is pickled with it reaches a worker process once, not once per job: bind the data that all jobs
        share with `functools.partial`. A dask cluster gets it once too, any other executor with every job.
        The result must depend on the job alone.
    jobs
        Its arguments.
    n_jobs
        Threads or processes, of which no more start than there are jobs; 1 runs the jobs in this thread, one
        after the other.
    executor
        Where to run them: in ``"threads"`` of this process, in ``"processes"``, on an `Executor`, or on a
        `dask.distributed.Client`.
    keys
        With ``checkpoints``, the name of each job; see `Checkpoints` for what makes a good one.
    checkpoints
        Where results are stored as soon as this process has them, and looked up first.
    deaths
        What becomes of a job whose worker died twice: ``"raise"`` ends all with a RuntimeError, ``"yield"``
        gives a `Died` in place of the result and stores it like one, so that a resumed run meets it again.

    Raises
    ------
    RuntimeError
        If a worker died twice over the same job, or has other software than this process. An exception in a
        job is raised as it is, and ends the others.

    Examples
    --------
    >>> dict(run(abs, [-3, 4]))
    {0: 3, 1: 4}
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as threads:
    ...     sorted(run(abs, [-3, 4], executor=threads))
    [(0, 3), (1, 4)]
    """
    with workers(function, n_jobs=n_jobs, executor=executor) as crew:
        yield from crew.run(jobs, keys=keys, checkpoints=checkpoints, deaths=deaths)


@contextmanager
def workers(
    function: Callable[[Job], Result], *, n_jobs: int = 1, executor: Where = "threads"
) -> Iterator[Workers[Job, Result]]:
    """Start workers for several rounds of jobs; parameters as for `run`.

    Examples
    --------
    >>> with workers(abs) as crew:
    ...     [dict(crew.run(numbers)) for numbers in ([-1], [2, -3])]
    [{0: 1}, {0: 2, 1: 3}]
    """
    if isinstance(executor, Executor):
        yield Workers(function, _Given(executor, function))
    elif not isinstance(executor, str):
        yield Workers(function, Cluster(executor, function))
    elif n_jobs == 1 or (executor == "processes" and _must_be_alone(n_jobs)):
        yield Workers(function, None)
    elif executor == "threads":
        from .threads import single_threaded, threads  # which load torch

        with single_threaded(), threads(n_jobs) as submit:
            yield Workers(function, _Threads(function, submit))
    else:
        with spawned(n_jobs, function) as processes:
            yield Workers(function, processes)


def _must_be_alone(n_jobs: int) -> bool:
    """Tell whether no process can be started here, and warn of it."""
    why = why_not_here()
    if why is not None:
        warn(f"n_jobs={n_jobs} is taken as 1: {why}.")
    return why is not None


class Workers(Generic[Job, Result]):
    """Run rounds of jobs for one function; `workers` makes them."""

    def __init__(self, function: Callable[[Job], Result], backend: _Backend | None) -> None:
        self._function, self._backend = function, backend

    def run(
        self,
        jobs: Iterable[Job],
        *,
        keys: Iterable[str] | None = None,
        checkpoints: Checkpoints[Result] | None = None,
        deaths: Literal["raise", "yield"] = "raise",
    ) -> Iterator[tuple[int, Any]]:
        """Run one round; parameters and results are those of `run`."""
        if (keys is None) != (checkpoints is None):
            raise TypeError("keys and checkpoints go together: give both or neither.")
        named = zip(jobs, repeat("") if keys is None else keys, strict=keys is not None)
        shelf = _Shelf(checkpoints)
        if self._backend is None:
            for place, (job, key) in enumerate(named):
                yield place, shelf.load(key) if key in shelf else shelf.keep(key, self._function(job))
        else:
            yield from self._run_elsewhere(self._backend, named, shelf, deaths)

    def _run_elsewhere(
        self, backend: _Backend, named: Iterable[tuple[Job, str]], shelf: _Shelf, deaths: str
    ) -> Iterator[tuple[int, Any]]:
        found: list[tuple[int, str]] = []
        asked: dict[Future[Parcel[Any]], _Asked] = {}
        try:
            for place, (job, key) in enumerate(named):
                if key in shelf:
                    found.append((place, key))
                else:
                    parcel = Parcel(job)
                    asked[backend.submit(parcel)] = _Asked(place, key, parcel)
            yield from ((place, shelf.load(key)) for place, key in found)
            while asked:
                done, _ = wait(asked, return_when=FIRST_COMPLETED)
                finished = []
                for future in sorted(done, key=_failed):  # what is good is stored before an error ends all
                    known = asked.pop(future)
                    try:
                        result = future.result().content
                    except backend.deaths as error:
                        if backend.ready_again(error, known.n_deaths):
                            again = known._replace(n_deaths=known.n_deaths + 1)
                            asked[backend.submit(known.parcel)] = again
                            continue
                        if isinstance(error, NeverStarted):
                            raise RuntimeError(_NEVER_STARTED) from error
                        result = Died(_DEATH)
                        if deaths == "raise":
                            raise RuntimeError(result.message) from error
                    finished.append((known.place, shelf.keep(known.key, result)))
                yield from finished
        finally:
            for future in asked:
                future.cancel()


def check_workers(n_jobs: int | Literal["auto"], executor: Where, device: str) -> None:
    """Refuse workers where the jobs do not compute on the CPU."""
    if device != "cpu" and (n_jobs not in ("auto", 1) or executor != "threads"):
        raise ValueError(
            f"n_jobs and executor must be left out on device {device!r}, found n_jobs={n_jobs!r}: "
            "workers compute on the CPU; use device='cpu' for them."
        )


class _Asked(NamedTuple):
    """A job that was handed out, and how often its worker has died."""

    place: int
    key: str
    parcel: Parcel[Any]
    n_deaths: int = 0


def _failed(future: Future[Any]) -> bool:
    return future.cancelled() or future.exception() is not None


class _Shelf:
    """Keep results in checkpoints, if there are any."""

    def __init__(self, checkpoints: Checkpoints[Any] | None) -> None:
        self._checkpoints = checkpoints

    def __contains__(self, key: str) -> bool:
        return self._checkpoints is not None and key in self._checkpoints

    def load(self, key: str) -> Any:
        return None if self._checkpoints is None else self._checkpoints.load(key)

    def keep(self, key: str, result: Result) -> Result:
        if self._checkpoints is not None:
            self._checkpoints.save(key, result)
        return result


class _Backend(Protocol):
    """What does jobs elsewhere: threads, an executor, a cluster, processes."""

    @property
    def deaths(self) -> tuple[type[BaseException], ...]:
        """Errors of a future whose worker died."""
        ...

    def submit(self, job: Parcel[Any]) -> Future[Parcel[Any]]: ...

    def ready_again(self, error: BaseException, n_before: int) -> bool:
        """Whether a job that ended in one of ``deaths`` may be handed in again; it has ``n_before`` times."""
        ...


class _Threads:
    """Threads of this process, which take jobs and give results as they are."""

    deaths = ()

    def __init__(self, function: Callable[..., Any], submit: Callable[..., Future[Any]]) -> None:
        self._function, self._submit = function, submit

    def submit(self, job: Parcel[Any]) -> Future[Parcel[Any]]:
        return self._submit(self._compute, job)

    def _compute(self, job: Parcel[Any]) -> Parcel[Any]:
        return Parcel(self._function(job.content))

    def ready_again(self, error: BaseException, n_before: int) -> bool:
        return False


class _Given:
    """An executor that the caller keeps."""

    deaths = (BrokenExecutor,)

    def __init__(self, executor: Executor, function: Callable[..., Any]) -> None:
        self._executor, self._function = executor, Parcel(function)

    def submit(self, job: Parcel[Any]) -> Future[Parcel[Any]]:
        with one_thread_for_children():  # it may start its processes now
            return self._executor.submit(call, self._function, job, software())

    def ready_again(self, error: BaseException, n_before: int) -> bool:
        return False
