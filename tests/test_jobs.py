"""Jobs in this process, in workers and on executors: results, errors, deaths and interrupts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_jobs
import torch
from anndata import AnnData

import zinbtools as zt
from zinbtools import jobs
from zinbtools.jobs import processes as _processes

NUMBERS = [3, 1, 2, 5, 4, 6]


def in_order(results: object) -> list[object]:
    return [result for _, result in sorted(results)]


def test_jobs_here_run_one_by_one_as_they_are_asked_for() -> None:
    done = []
    results = jobs.run(done.append, iter(NUMBERS))
    assert [next(results), next(results)] == [(0, None), (1, None)]
    assert done == NUMBERS[:2]


def test_workers_get_shared_data_once() -> None:
    before = dict(os.environ)
    shared = sample_jobs.Shared(7)
    times = partial(sample_jobs.times, shared=shared)
    results = in_order(jobs.run(times, NUMBERS, n_jobs=2, executor="processes"))
    products, processes, unpickled = zip(*results, strict=True)
    assert list(products) == [7 * number for number in NUMBERS]
    assert os.getpid() not in processes
    assert len(set(processes)) <= 2
    assert set(unpickled) == {1}
    assert dict(os.environ) == before


def test_workers_compute_on_one_thread() -> None:
    assert in_order(jobs.run(sample_jobs.threads, [0], n_jobs=2, executor="processes")) == [(1, "1")]


def test_a_given_executor_is_used_and_left_open() -> None:
    with ThreadPoolExecutor(2) as threads:
        run = partial(sample_jobs.times, shared=sample_jobs.Shared(2))
        results = in_order(jobs.run(run, NUMBERS, n_jobs=5, executor=threads))
        assert [product for product, *_ in results] == [2 * number for number in NUMBERS]
        assert {process for _, process, _ in results} == {os.getpid()}
        assert threads.submit(abs, -1).result() == 1


@pytest.mark.parametrize(("n_jobs", "executor"), [(1, "threads"), (2, "threads"), (2, "processes")])
def test_an_error_arrives_as_it_was(n_jobs: int, executor: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        list(jobs.run(sample_jobs.inverse, [1, 0, 2], n_jobs=n_jobs, executor=executor))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_worker_is_told_in_a_sentence() -> None:
    with pytest.raises(RuntimeError, match="a worker process died .* smaller n_jobs") as caught:
        list(jobs.run(sample_jobs.killed, [0], n_jobs=2, executor="processes"))
    assert str(caught.value).count(".") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_worker_costs_one_retry_and_nothing_else(tmp_path: Path) -> None:
    log = partial(sample_jobs.logged, folder=tmp_path, deadly=2)
    with jobs.workers(log, n_jobs=2, executor="processes") as crew:
        assert in_order(crew.run(range(6))) == [10 * number for number in range(6)]
        assert starts(tmp_path) == [0, 1, 2, 2, 3, 4, 5]
        assert in_order(crew.run([7, 8])) == [70, 80]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_job_that_always_kills_its_worker_is_recorded(tmp_path: Path) -> None:
    kept = jobs.Checkpoints(tmp_path / "kept", {})
    one_kills = partial(sample_jobs.killed_by, deadly=1)
    results = in_order(
        jobs.run(
            one_kills, [0, 1, 2], n_jobs=2, executor="processes", keys="abc", checkpoints=kept, deaths="yield"
        )
    )
    assert results[::2] == [0, 2]
    assert isinstance(results[1], jobs.Died)
    assert "a worker process died" in results[1].message
    resumed = in_order(jobs.run(one_kills, [0, 1, 2], keys="abc", checkpoints=kept, deaths="yield"))
    assert resumed == results


def starts(folder: Path) -> list[int]:
    """The jobs that were begun, once for each time."""
    return sorted(int(path.name.split("-")[0]) for path in folder.iterdir())


INTERRUPTED = """
import sys
from functools import partial
from pathlib import Path
import sample_jobs
from zinbtools import jobs
if __name__ == "__main__":
    sleep = partial(sample_jobs.sleep, folder=Path(sys.argv[1]))
    list(jobs.run(sleep, [600.0] * 4, n_jobs=2, executor="processes"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no POSIX signals")
@pytest.mark.parametrize("sent", ["SIGINT", "SIGKILL"])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, sent: str) -> None:
    (tmp_path / "script.py").write_text(INTERRUPTED)
    folder = tmp_path / "workers"
    folder.mkdir()
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(jobs.__file__).parents[2])])
    script = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", folder],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=sample_jobs.heed_interrupts,
    )
    wait_until(lambda: len(list(folder.iterdir())) == 2)
    workers = [int(file.name) for file in folder.iterdir()]
    assert all(map(alive, workers))
    script.send_signal(getattr(signal, sent))
    _, printed = script.communicate(timeout=30)
    wait_until(lambda: not any(map(alive, workers)))
    if sent == "SIGINT":
        assert printed.splitlines()[-1] == "KeyboardInterrupt"


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")  # one that nobody has asked for its status is dead too
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_no_more_processes_start_than_there_are_jobs() -> None:
    before = len(multiprocessing.active_children())
    with jobs.workers(time.sleep, n_jobs=10**20, executor="processes") as crew:
        for n_jobs, n_processes in ((1, 1), (3, 3), (2, 3)):
            assert in_order(crew.run([0.2] * n_jobs)) == [None] * n_jobs
            assert len(multiprocessing.active_children()) - before == n_processes


SCRIPT = """
from zinbtools import jobs
{guard}print(sorted(jobs.run(abs, [-3, 4], n_jobs=2, executor="processes")))
"""


def python(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(jobs.__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *words], input=stdin, env=environment, capture_output=True, text=True
    )


def test_a_script_from_stdin_does_its_jobs_itself() -> None:
    done = python("-", stdin=SCRIPT.format(guard="if __name__ == '__main__': "))
    assert done.stdout == "[(0, 3), (1, 4)]\n"
    assert "n_jobs=2 is taken as 1: worker processes read the script" in done.stderr
    assert "<stdin> is no file; save it in one." in done.stderr


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard=""))
    done = python(script)
    assert done.stdout == ""
    assert "a worker process ended before it could take a job" in done.stderr.splitlines()[-1]
    assert "lacks `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
    script.write_text(SCRIPT.format(guard="if __name__ == '__main__': "))
    assert python(script).stdout == "[(0, 3), (1, 4)]\n"


def test_a_daemon_does_its_jobs_itself() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        results, told = pool.apply(sample_jobs.absolutes, [[-3, 4]])
    assert results == {0: 3, 1: 4}
    assert len(told) == 1
    assert told[0].startswith("n_jobs=2 is taken as 1: this process is a daemon")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_stopped_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def go_on(message: str, *_: object, **__: object) -> None:
        told.append(message)
        os.kill(int(message.split()[3]), signal.SIGCONT)

    monkeypatch.setattr(_processes, "_PATIENCE", 0.05)
    monkeypatch.setattr(_processes, "warn", go_on)
    assert in_order(jobs.run(sample_jobs.stopped, [7], n_jobs=2, executor="processes")) == [7]
    assert len(told) == 1
    assert "is stopped, and its job waits; `kill -CONT " in told[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_an_interrupt_ends_a_stopped_worker_too() -> None:
    def interrupted() -> None:
        with _processes.spawned(1, sample_jobs.stopped) as processes:
            processes.submit(_processes.Parcel(7))
            wait_until(lambda: processes._workers[0]._is_stopped())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not multiprocessing.active_children()


def test_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as thread:
        list(jobs.run(sample_jobs.threads, [0], executor=thread))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"n_jobs": 0}, ValueError, "n_jobs must be a whole number of at least 1 .*, found 0"),
        ({"n_jobs": 1.5}, ValueError, "n_jobs must be a whole number of at least 1 .*, found 1.5"),
        (
            {"executor": 2},
            TypeError,
            r"executor must be one of 'threads', 'processes', a concurrent\.futures\.Executor or a dask.*2",
        ),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        zt.tl.marginal_ll(AnnData(np.ones((2, 2))), **arguments)


def test_workers_on_a_gpu_are_refused() -> None:
    with pytest.raises(
        ValueError, match="n_jobs and executor must be left out on device 'cuda', found n_jobs=2"
    ):
        jobs.check_workers(2, "threads", "cuda")
    with pytest.raises(ValueError, match="n_jobs and executor must be left out on device 'cuda'"):
        jobs.check_workers(1, Executor(), "cuda")


def test_one_job_at_a_time_needs_no_workers_on_any_device() -> None:
    jobs.check_workers(1, "threads", "cuda")
    jobs.check_workers("auto", "threads", "cuda")
