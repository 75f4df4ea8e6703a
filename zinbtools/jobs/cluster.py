"""Jobs on a dask cluster, through its client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol, runtime_checkable

from .processes import Parcel, call
from .software import refuse_other_software, software

_MOST_LOSSES = 4  # of a job with a worker, which another job may have killed


@runtime_checkable
class DaskClient(Protocol):
    """Protocol of a `dask.distributed.Client`: what is used of it. Dask need not be installed."""

    loop: Any

    def scatter(self, data: Any, *, broadcast: bool, hash: bool) -> Any: ...

    def submit(self, function: Callable[..., Any], *args: Any, pure: bool) -> Any: ...

    def run(self, function: Callable[..., Any], *args: Any, on_error: str) -> Any: ...


class Cluster:
    """A dask cluster. Workers hold the function; the data that come with it travel once."""

    def __init__(self, client: DaskClient, function: Callable[..., Any]) -> None:
        from distributed import KilledWorker

        _refuse_other_workers(client)
        self.deaths = (CancelledError, KilledWorker)
        self._client, self._parcel = client, Parcel(function)
        self._scatter()

    def _scatter(self) -> None:
        self._function = self._client.scatter(self._parcel, broadcast=True, hash=False)

    def submit(self, job: Parcel[Any]) -> Future[Parcel[Any]]:
        task = self._client.submit(call, self._function, job, software(), pure=False)
        found: Future[Parcel[Any]] = Future()
        found.add_done_callback(lambda future: task.cancel() if future.cancelled() else None)
        self._client.loop.add_callback(_pass_on, task, found)
        return found

    def ready_again(self, error: BaseException, n_before: int) -> bool:
        if not isinstance(error, CancelledError) or n_before == _MOST_LOSSES:
            return False  # the scheduler itself has tried it again already, or it has been lost too often
        self._scatter()  # the last worker that held it is gone
        return True


async def _pass_on(task: Any, found: Future[Any]) -> None:
    """Let a future have what becomes of a task of dask, in the client's own loop.

    The executor of dask's client does so too, but nobody hears of a result that was lost with its worker
    before it was fetched: here that is a CancelledError, and the job is done again.
    """
    try:
        result = await task
    except BaseException as error:  # whatever it is, somebody waits for it
        if found.set_running_or_notify_cancel():
            found.set_exception(CancelledError() if isinstance(error, asyncio.CancelledError) else error)
    else:
        if found.set_running_or_notify_cancel():
            found.set_result(result)


def _refuse_other_workers(client: DaskClient) -> None:
    """RuntimeError for a worker with other software; those that join later refuse their jobs themselves."""
    answers = client.run(refuse_other_software, software(), on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, RuntimeError):
            raise answer
        # one that cannot load the question says so in an Exception of no kind; one that is gone in an OSError
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            raise RuntimeError(
                f"the dask worker {worker} cannot use zinbtools ({answer}); install on all workers what the "
                "process that asks them has."
            )
