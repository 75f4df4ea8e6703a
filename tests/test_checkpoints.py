"""Finished jobs on disk: what is kept, what is refused, and runs that are killed and go on."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_jobs

from zinbtools import jobs
from zinbtools.jobs import Checkpoints, Died
from zinbtools.jobs.software import software


def assert_same(found: object, expected: object) -> None:
    np.testing.assert_equal(found, expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype


@pytest.mark.parametrize(
    "result",
    [
        None,
        True,
        2**70,
        0.1 + 0.2,
        math.nan,
        -math.inf,
        5e-324,
        "µ and \n",
        [],
        {"a": [1, {"b": None}], "": "x"},
        np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1],
        np.array(np.nan),
        np.array([], dtype=np.int8),
        {"w": np.zeros(2), "v": [np.ones(1), np.array(["a", "bc"])]},
        Died("a worker process died."),
    ],
)
def test_results_come_back_exactly(result: object, tmp_path: Path) -> None:
    Checkpoints(tmp_path, {}).save("job", result)
    kept = Checkpoints(tmp_path, {})
    assert "job" in kept
    assert "other" not in kept
    found = kept.load("job")
    assert type(found) is type(result)
    assert_same(found, result)


def test_other_types_are_packed(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {}, pack=lambda c: [c.real, c.imag], unpack=lambda parts: complex(*parts))
    kept.save("job", 1 - 2j)
    assert kept.load("job") == 1 - 2j


@pytest.mark.parametrize("result", [1j, {1: 2}, [object()], np.array([None]), {"__array__": "array0"}])
def test_what_cannot_be_kept_is_refused(result: object, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    with pytest.raises(TypeError, match="a checkpoint holds numbers, .* found .*; give Checkpoints a pack"):
        kept.save("job", result)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    kept.save("job", np.zeros(1))
    path = tmp_path / "job.npz"
    members = dict(np.load(path)) | {"array0": np.array([Path()], dtype=object)}
    np.savez(path, **members)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        kept.load("job")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def make_text(path: Path) -> None:
    path.write_text("{}")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, empty, make_one_array, make_text, make_folder])
def test_a_damaged_file_is_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    kept.save("job", np.zeros(100))
    damage(tmp_path / "job.npz")
    with pytest.raises(ValueError, match=r"job\.npz cannot be used .*; remove it, and its job is done again"):
        kept.load("job")


def test_a_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    kept.save("job", {"loss": 0.5, "weights": np.arange(3)})
    path = tmp_path / "job.npz"
    whole = path.read_bytes()
    bits = range(0, 8 * len(whole), 19)
    n_found = 0
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert_same(kept.load("job"), {"loss": 0.5, "weights": np.arange(3)})
        except ValueError as error:
            n_found += "remove it, and its job is done again" in str(error)
    assert n_found > len(bits) / 2  # the rest are dates and other things that nobody reads


def test_a_file_of_another_job_or_run_is_refused(tmp_path: Path) -> None:
    kept, other = Checkpoints(tmp_path / "kept", {"seed": 0}), Checkpoints(tmp_path / "other", {"seed": 1})
    for run in (kept, other):
        run.save("nb-1", 1)
    (tmp_path / "kept" / "zinb-1.npz").write_bytes((tmp_path / "kept" / "nb-1.npz").read_bytes())
    with pytest.raises(
        ValueError, match=r"zinb-1\.npz cannot be used \(it is of the job 'nb-1'\); remove it"
    ):
        kept.load("zinb-1")
    (tmp_path / "kept" / "nb-1.npz").write_bytes((tmp_path / "other" / "nb-1.npz").read_bytes())
    with pytest.raises(ValueError, match=r"nb-1\.npz cannot be used \(it is of another run\); remove it"):
        kept.load("nb-1")


@pytest.mark.parametrize("key", ["", "A", "a/b", "../x", ".a", "a" * 101, "nb 3"])
def test_keys_are_plain_words(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key must be up to 100 of a-z"):
        Checkpoints(tmp_path, {}).save(key, 1)


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    identity = {"seed": 0, "split": (0.8, 0.1), "data": jobs.fingerprint([np.arange(3)])}
    Checkpoints(tmp_path / "run", identity)
    Checkpoints(tmp_path / "run", identity)
    with pytest.raises(ValueError, match="another run, whose seed was 0 where it now is 1; give the same"):
        Checkpoints(tmp_path / "run", {**identity, "seed": 1})
    with pytest.raises(ValueError, match="another run, whose extra was None where it now is 1"):
        Checkpoints(tmp_path / "run", {**identity, "extra": 1})


@pytest.mark.parametrize("linked", [True, False])
def test_of_two_runs_that_begin_at_once_one_has_the_folder(
    linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find the folder empty; the other one is quicker."""
    link = os.link

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link if linked else no_link)
        Checkpoints(tmp_path, {"seed": 1}).save("job", 1)
        os.link(source, target)

    def no_link(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(ValueError, match="another run, whose seed was 1 where it now is 0"):
        Checkpoints(tmp_path, {"seed": 0})
    assert Checkpoints(tmp_path, {"seed": 1}).load("job") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job.npz", "run.json"]


@pytest.mark.parametrize("seeds", [range(4), [0] * 4])
def test_runs_that_begin_together_share_a_folder_only_if_they_are_the_same(
    seeds: Iterable[int], tmp_path: Path
) -> None:
    together = threading.Barrier(4)

    def let_in(folder: Path, seed: int) -> bool:
        together.wait()
        try:
            Checkpoints(folder, {"seed": seed}).save(f"job-{seed}", seed)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        for number in range(10):
            found = list(threads.map(let_in, [tmp_path / str(number)] * 4, seeds))
            assert sum(found) == (1 if len(set(seeds)) > 1 else 4)


def test_a_file_that_is_being_written_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path, {})
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(path.name for path in tmp_path.glob(".*")))
    kept.save("job", 1)
    owner = rf"{re.escape(socket.gethostname())}-[0-9a-f]{{8}}-{os.getpid()}-[0-9a-f]{{8}}"
    assert re.fullmatch(rf"\.job\.npz\.zinbtools\.{owner}\.part", seen[0])


def test_other_software_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoints(tmp_path, {})
    now = {**software(), "zinbtools": "0.1.0 of sources 0123456789ab"}
    monkeypatch.setattr("zinbtools.jobs.checkpoints.software", lambda: now)
    with pytest.raises(ValueError, match=r"whose zinbtools was .* where it now is '0\.1\.0 of sources 0123"):
        Checkpoints(tmp_path, {})


def test_other_folders_and_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds other files; give a new or an empty folder"):
        Checkpoints(tmp_path, {})
    with pytest.raises(ValueError, match="resume must be a folder, found the file"):
        Checkpoints(tmp_path / "thesis.txt", {})
    for content in ("{", "[]"):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(ValueError, match="run.json cannot be read"):
            Checkpoints(tmp_path, {})


def test_fingerprints_tell_types_shapes_and_values_apart() -> None:
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.ones(4), None, np.arange(4)[::2]]
    prints = [jobs.fingerprint([array]) for array in arrays]
    assert len(set(prints)) == len(arrays)
    assert jobs.fingerprint([np.array([0, 2])]) == prints[-1]
    assert jobs.fingerprint([]) != prints[4]


WORKERS = [(1, "threads"), (2, "threads"), (2, "processes")]


@pytest.mark.parametrize(("n_jobs", "executor"), WORKERS)
def test_finished_jobs_are_not_done_again(n_jobs: int, executor: Any, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    starts.mkdir()
    kept = Checkpoints(tmp_path / "kept", {})
    kept.save("job-1", -1)
    log = partial(sample_jobs.logged, folder=starts, seconds=0.0)
    keys = [f"job-{number}" for number in range(3)]
    for _ in range(2):
        results = dict(jobs.run(log, range(3), n_jobs=n_jobs, executor=executor, keys=keys, checkpoints=kept))
        assert results == {0: 0, 1: -1, 2: 20}
    assert sorted(path.name for path in starts.iterdir()) == ["0-0", "2-0"]


def test_jobs_and_keys_must_be_as_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(jobs.run(abs, [1, 2], keys=["a"], checkpoints=Checkpoints(tmp_path, {})))
    with pytest.raises(TypeError, match="keys and checkpoints go together"):
        list(jobs.run(abs, [1, 2], keys=["a", "b"]))


@pytest.mark.parametrize(("n_jobs", "executor"), WORKERS)
def test_what_was_done_before_an_error_is_kept(n_jobs: int, executor: Any, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    fail = partial(sample_jobs.fails_after, path=tmp_path / "a.npz")
    with pytest.raises(ZeroDivisionError):
        list(jobs.run(fail, [1, 0], n_jobs=n_jobs, executor=executor, keys="ab", checkpoints=kept))
    assert "b" not in kept
    assert kept.load("a") == 1


KILLED = """
import sys
import numpy as np
import sample_jobs
from zinbtools import jobs
if __name__ == "__main__":
    kept = jobs.Checkpoints(sys.argv[1], {"seed": 0})
    keys = [f"job-{seed}" for seed in range(40)]
    with jobs.workers(sample_jobs.draws, n_jobs=int(sys.argv[2]), executor=sys.argv[3]) as crew:
        list(crew.run(range(40), keys=keys, checkpoints=kept))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGINT"])
@pytest.mark.parametrize(("n_jobs", "executor"), WORKERS)
def test_a_run_stopped_three_times_and_resumed_gives_what_it_would_have_given(
    n_jobs: int, executor: str, sent: str, tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(KILLED)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(jobs.__file__).parents[2])])
    folder = tmp_path / "kept"

    def start() -> subprocess.Popen[bytes]:
        words = [sys.executable, tmp_path / "script.py", folder, str(n_jobs), executor]
        return subprocess.Popen(
            words,
            env=os.environ | {"PYTHONPATH": path},
            stderr=subprocess.DEVNULL,
            preexec_fn=sample_jobs.heed_interrupts,
        )

    ages: dict[Path, int] = {}
    rng = np.random.default_rng()  # a new moment in every run of the test
    for _ in range(3):
        script = start()
        n_before = len(list(folder.glob("*.npz"))) if folder.exists() else 0
        end = time.monotonic() + 60
        while not folder.exists() or len(list(folder.glob("*.npz"))) <= n_before:
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        script.send_signal(getattr(signal, sent))
        script.wait(timeout=60)
        ages |= {path: path.stat().st_mtime_ns for path in folder.glob("*.npz") if path not in ages}
    assert 3 <= len(ages) < 40
    assert start().wait(timeout=60) == 0
    assert all(path.stat().st_mtime_ns == age for path, age in ages.items())
    kept = Checkpoints(folder, {"seed": 0})
    for seed in range(40):
        assert_same(kept.load(f"job-{seed}"), sample_jobs.draws(seed))
