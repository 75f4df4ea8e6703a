"""Jobs in threads of this process: what torch is there, how they end, and how many there are."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from zinbtools import jobs
from zinbtools.jobs import cores
from zinbtools.jobs.threads import (
    MOST_THREADS,
    Unwanted,
    available_threads,
    end_if_unwanted,
    in_order,
    single_threaded,
    threads,
)

CPU = torch.device("cpu")


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two cores and as many threads of torch, on any machine."""
    monkeypatch.setattr("zinbtools.jobs.threads.usable_cores", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def waits_until_unwanted(ended: list[str]) -> None:
    """Go on until nobody waits for it."""
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            end_if_unwanted()
            time.sleep(0.001)
    except Unwanted:
        ended.append(threading.current_thread().name)
        raise


def state(_: object) -> dict[str, Any]:
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "inference": torch.is_inference_mode_enabled(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "thread": threading.get_ident(),
    }


@pytest.mark.usefixtures("two_cores")
def test_torch_is_in_a_thread_as_it_is_imported() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device("meta"), torch.autocast("cpu"):
            (found,) = dict(jobs.run(state, [0], n_jobs=2)).values()
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.get_num_threads() == 2
    assert found.pop("thread") != threading.get_ident()
    assert found == {
        "dtype": torch.float32,
        "device": CPU,
        "threads": 1,
        "inference": False,
        "gradients": True,
        "autocast": False,
    }


@pytest.mark.usefixtures("two_cores")
def test_threads_within_threads_are_one() -> None:
    with single_threaded():
        assert available_threads(CPU) == 2
        assert set(in_order(lambda _: available_threads(CPU), range(5), n_threads=2)) == {1}
        assert available_threads(CPU) == 2
    assert available_threads(torch.device("cuda")) == 1


@pytest.mark.parametrize(("n_cores", "of_torch", "expected"), [(3, 2, 2), (2, 5, 2), (99, 64, MOST_THREADS)])
def test_there_are_no_more_threads_than_cores_and_than_torch_may_have(
    n_cores: int, of_torch: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zinbtools.jobs.threads.usable_cores", lambda: n_cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: of_torch)
    assert available_threads(CPU) == expected


def test_an_error_ends_the_other_threads() -> None:
    ended: list[str] = []

    def job(number: int) -> None:
        if number == 1:
            raise ZeroDivisionError
        waits_until_unwanted(ended)

    with pytest.raises(ZeroDivisionError):
        list(jobs.run(job, range(9), n_jobs=2))
    assert len(ended) <= 2  # those that waited never started
    assert not [t for t in threading.enumerate() if t.name.startswith("zinbtools")]


@pytest.mark.skipif(os.name == "nt", reason="no POSIX signals")
def test_an_interrupt_ends_the_threads_and_what_was_done_is_kept(tmp_path: Path) -> None:
    ended: list[str] = []
    kept = jobs.Checkpoints(tmp_path, {})
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def job(number: int) -> int:
        if number > 0:
            while "job-0" not in kept:
                time.sleep(0.001)
            if number == 1:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            waits_until_unwanted(ended)
        return number

    keys = [f"job-{number}" for number in range(9)]
    try:
        with pytest.raises(KeyboardInterrupt):
            list(jobs.run(job, range(9), n_jobs=2, keys=keys, checkpoints=kept))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert kept.load("job-0") == 0
    assert 1 <= len(ended) <= 2
    assert not [t for t in threading.enumerate() if t.name.startswith("zinbtools")]


def test_a_pool_that_is_left_drops_what_waits() -> None:
    ended: list[str] = []
    with threads(1) as submit:
        futures = [submit(waits_until_unwanted, ended) for _ in range(3)]
        while not futures[0].running():
            time.sleep(0.001)
    assert len(ended) == 1
    assert [future.cancelled() for future in futures] == [False, True, True]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"": "max 100000"}, []), ({"a/b": "150000 100000", "a": "max 100000", "": "400000 100000"}, [1.5, 4])],
)
def test_quotas_of_all_groups_above_are_read(
    limits: dict[str, str], expected: list[float], tmp_path: Path
) -> None:
    own, mounted = tmp_path / "cgroup", tmp_path / "mounted"
    own.write_text("1:cpu:/other\n0::/a/b\n")
    for group, limit in limits.items():
        (mounted / group).mkdir(parents=True, exist_ok=True)
        (mounted / group / "cpu.max").write_text(f"{limit}\n")
    assert list(cores._quotas(own, mounted)) == expected
    assert list(cores._quotas(tmp_path / "absent", mounted)) == []


def test_a_quota_below_one_core_leaves_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for quotas, expected in (([0.5], 1), ([1.5], 1), ([], cores.usable_cores())):
        monkeypatch.setattr(cores, "_quotas", lambda quotas=quotas: quotas)
        assert cores.usable_cores() == expected
