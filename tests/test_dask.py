"""Jobs on a dask cluster of two processes."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import sample_jobs

from zinbtools import jobs
from zinbtools.jobs import cluster as _cluster

PACKAGE = Path(jobs.__file__).parents[1]

distributed = pytest.importorskip("distributed")


@contextmanager
def cluster_of(n_workers: int) -> Iterator[object]:
    """A client of a cluster of processes on this machine."""
    with (
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    with cluster_of(2) as client:
        yield client


def in_order(results: object) -> list[object]:
    return [result for _, result in sorted(results)]


def test_a_cluster_gets_shared_data_not_once_per_job(client: object) -> None:
    shared = sample_jobs.Shared(7)
    function = partial(sample_jobs.times, shared=shared)
    numbers = list(range(20))
    products, processes, unpickled = zip(*in_order(jobs.run(function, numbers, executor=client)), strict=True)
    assert list(products) == [7 * number for number in numbers]
    assert os.getpid() not in processes
    assert len(set(processes)) <= 2
    assert max(unpickled) <= 2  # under load dask may pass it on between workers once more


def test_workers_compute_on_one_thread(client: object) -> None:
    assert in_order(jobs.run(sample_jobs.threads, [0], executor=client)) == [(1, "1")]


def test_a_client_is_an_executor_on_the_cpu(client: object) -> None:
    jobs.check_workers(1, client, "cpu")
    with pytest.raises(ValueError, match="must be left out on device 'cuda'"):
        jobs.check_workers(1, client, "cuda")


def test_an_error_arrives_as_it_was_and_leaves_the_cluster_as_it_was(client: object) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        list(jobs.run(sample_jobs.inverse, [1, 0, 2], executor=client))
    assert in_order(jobs.run(sample_jobs.inverse, [1, 2], executor=client)) == [1, 0.5]


def test_finished_jobs_are_not_done_again(client: object, tmp_path: Path) -> None:
    kept = jobs.Checkpoints(tmp_path, {})
    kept.save("b", -1)
    for _ in range(2):
        assert dict(jobs.run(abs, [-5, -6], executor=client, keys="ab", checkpoints=kept)) == {0: 5, 1: -1}
    assert kept.load("a") == 5


def test_a_killed_worker_costs_a_retry(client: object, tmp_path: Path) -> None:
    log = partial(sample_jobs.logged, folder=tmp_path, deadly=2)
    assert in_order(jobs.run(log, range(4), executor=client)) == [0, 10, 20, 30]
    assert len(list(tmp_path.glob("2-*"))) == 2


def test_the_last_worker_that_held_the_data_may_die(tmp_path: Path) -> None:
    log = partial(sample_jobs.logged, folder=tmp_path, deadly=0)
    with cluster_of(1) as client:
        assert in_order(jobs.run(log, range(3), executor=client)) == [0, 10, 20]


def test_a_job_that_always_kills_its_worker_is_recorded(client: object) -> None:
    kills = partial(sample_jobs.killed_by, deadly=1)
    alive, died = in_order(jobs.run(kills, [0, 1], executor=client, deaths="yield"))
    assert alive == 0
    assert isinstance(died, jobs.Died)
    with pytest.raises(RuntimeError, match="a worker process died"):
        list(jobs.run(kills, [1], executor=client))


@pytest.mark.parametrize("error", [CancelledError, asyncio.CancelledError])
def test_a_result_that_was_lost_before_it_was_fetched_is_known_to_be_lost(error: type[BaseException]) -> None:
    class Lost:
        def __await__(self) -> Iterator[None]:
            raise error
            yield

    found: Future[object] = Future()
    asyncio.run(_cluster._pass_on(Lost(), found))
    assert isinstance(found.exception(timeout=1), CancelledError)


@contextmanager
def worker_with(folder: Path, client: object) -> Iterator[None]:
    """Another worker of the cluster, which finds its modules in the folder first."""
    words = [sys.executable, "-Bm", "distributed.cli.dask_worker", client.scheduler.address]
    n_before = len(client.scheduler_info()["workers"])
    worker = subprocess.Popen(
        [*words, "--no-nanny", "--nthreads=1", "--no-dashboard", "--local-directory", folder],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )
    try:
        client.wait_for_workers(n_before + 1, timeout=60)
        yield
    finally:
        worker.terminate()
        worker.wait()


@pytest.fixture
def other_sources(tmp_path: Path) -> Path:
    """A copy of the package that computes something else."""
    copy = shutil.copytree(PACKAGE, tmp_path / "zinbtools", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "_text.py").write_text("OTHER = True")
    return tmp_path


def test_a_worker_with_other_sources_is_refused(other_sources: Path) -> None:
    with (
        cluster_of(0) as client,
        worker_with(other_sources, client),
        pytest.raises(RuntimeError, match="the worker process .* has zinbtools .* where .* asks it has"),
    ):
        list(jobs.run(abs, [-1], executor=client))


def test_a_worker_that_nobody_asked_before_refuses_its_jobs(other_sources: Path) -> None:
    with (
        cluster_of(0) as client,
        client.get_executor(pure=False) as executor,
        worker_with(other_sources, client),
        pytest.raises(RuntimeError, match="the worker process .* has zinbtools"),
    ):
        list(jobs.run(abs, [-1], executor=executor))


def test_a_worker_without_the_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "zinbtools.py").write_text("raise ModuleNotFoundError(\"No module named 'zinbtools'\")")
    with (
        cluster_of(0) as client,
        worker_with(tmp_path, client),
        pytest.raises(RuntimeError, match=r"the dask worker tcp://\S+ cannot use zinbtools .*No module"),
    ):
        list(jobs.run(abs, [-1], executor=client))
