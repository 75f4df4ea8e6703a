"""Jobs on a dask cluster, through the client's own executor."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, Protocol, runtime_checkable

from ._processes import Parcel, call
from ._software import refuse_other_software, software


@runtime_checkable
class DaskClient(Protocol):
    """What is used of a `dask.distributed.Client`, which need not be installed."""

    def scatter(self, data: Any, *, broadcast: bool, hash: bool) -> Any: ...

    def get_executor(self, **options: Any) -> Executor: ...

    def run(self, function: Callable[..., Any], *args: Any, on_error: str) -> Any: ...


class Cluster:
    """A dask cluster. Workers hold the function; the data that come with it travel once."""

    def __init__(self, client: DaskClient, function: Callable[..., Any]) -> None:
        from distributed import KilledWorker

        _refuse_other_workers(client)
        self.deaths = (CancelledError, KilledWorker)
        self._client, self._parcel = client, Parcel(function)
        self._executor = client.get_executor(pure=False)
        self._scatter()

    def _scatter(self) -> None:
        self._function = self._client.scatter(self._parcel, broadcast=True, hash=False)

    def submit(self, job: Parcel[Any]) -> Future[Parcel[Any]]:
        return self._executor.submit(call, self._function, job, software())

    def ready_again(self, error: BaseException) -> bool:
        if not isinstance(error, CancelledError):
            return False  # the scheduler has tried it again already
        self._scatter()  # the last worker that held it is gone
        return True


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
