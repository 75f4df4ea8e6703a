"""Full disks, and signals: the old results stay, and nothing is left behind."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import pytest

from zinbtools import simulate
from zinbtools.study import staged, write_h5ad

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals of Linux")


# zinbtools study without its pictures, which take most of the time of a small one
STUDY = """
import sys
from zinbtools.cli import run as cli
from zinbtools.study import _write
if __name__ == "__main__":
    _write.pictures = lambda *_: []
    sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    path = tmp_path / "counts.h5ad"
    simulate.zisynth(n_obs=150).write_h5ad(path)
    return path


def start(counts: Path, out: Path, *words: str, epochs: int = 1, **options: Any) -> subprocess.Popen[str]:
    usual = ["study", str(counts), "--out", str(out), "--max-epochs", str(epochs), "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-c", STUDY, *usual, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("size", [0, 1_000, 100_000, 200_000, 300_000])
def test_a_full_disk_leaves_the_old_results(size: int, counts: Path, tmp_path: Path) -> None:
    """No file may grow beyond ``size`` bytes, as on a disk with no more room."""
    out = tmp_path / "out"
    with staged(out) as folder:
        (folder / "metrics.csv").write_text("of yesterday")
    before = digests(tmp_path)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    process = start(counts, out, "--restarts", "2", preexec_fn=limit)
    printed, told = process.communicate()
    lines = [line for line in told.splitlines() if "Warning" not in line]
    assert process.returncode == 2, told
    assert lines[-1].startswith("zinbtools: error: --out: c")
    assert "Traceback" not in told
    kept = list(out.glob("study-not-in-place-*"))
    assert all(str(folder) in lines[-1] for folder in kept)
    assert len(kept) == (size > 1000)
    assert ("held-out NLL" in printed) == (size > 1000)
    assert {name: of for name, of in digests(tmp_path).items() if "not-in-place" not in name} == before
    assert not list(out.glob(".zinbtools*"))


@pytest.mark.parametrize("where", ["threads", "processes"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing(
    number: signal.Signals, where: str, counts: Path, tmp_path: Path
) -> None:
    """At once, or, where it was killed, after the next run; its workers end too."""
    out, kept, temporary = (tmp_path / name for name in ("out", "kept", "tmp"))
    temporary.mkdir()
    words = ["--n-jobs", "2", "--restarts", "8", "--resume", str(kept)]
    words += ["--processes"] * (where == "processes")
    environment = os.environ | {"TMPDIR": str(temporary)}
    heed = partial(signal.signal, number, signal.SIG_DFL) if number != signal.SIGKILL else None
    # whoever runs the tests may have them ignore it, as nohup does
    process = start(counts, out, *words, epochs=200, env=environment, preexec_fn=heed)
    while not list(kept.glob("*.npz")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert bool(list(temporary.glob("zinbtools-*"))) == (where == "processes")
    for _ in range(3):  # the second while it cleans up
        process.send_signal(number)
    _, told = process.communicate()
    if number == signal.SIGKILL:
        assert process.returncode == -number
        process = start(counts, out, "--layer", "absent", "--resume", str(kept), env=environment)
        process.communicate()
        assert process.returncode != 0
    else:
        assert process.returncode == 128 + number
        how = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
        sentence = f"zinbtools: {how}; nothing was written to {out}; the same command goes on from {kept}"
        assert sentence in told.splitlines()
    assert not [name for name in os.listdir(temporary) if name.startswith("zinbtools-")]
    assert not list(kept.glob(".*"))
    assert not list(out.glob(".*"))


def test_nohup_is_obeyed(counts: Path, tmp_path: Path) -> None:
    process = start(
        counts,
        tmp_path / "out",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    while process.poll() is None:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("redirection", ["2>&1 | head -1", ">/dev/full 2>&1", ">&- 2>&-"])
def test_what_becomes_of_the_words_does_not_matter(redirection: str, counts: Path, tmp_path: Path) -> None:
    """In a shell whose encoding knows few characters, started by a notebook."""
    words = ["study", str(counts), "--out", str(tmp_path / "out"), "--max-epochs", "1", "--restarts", "1"]
    command = f"set -o pipefail; {shlex.join([sys.executable, '-m', 'zinbtools.cli', *words])} {redirection}"
    environment = os.environ | {
        "PYTHONIOENCODING": "ascii",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "annotated.h5ad").exists()


def test_what_is_written_is_what_anndata_writes(tmp_path: Path) -> None:
    adata = simulate.zisynth(n_obs=20)
    adata.obs["word"] = ["one", "two"] * 10
    adata.uns["nothing"] = None
    write_h5ad(adata, tmp_path / "ours.h5ad")
    adata.write_h5ad(tmp_path / "theirs.h5ad")
    ours, theirs = (contents(tmp_path / f"{whose}.h5ad") for whose in ("ours", "theirs"))
    assert ours == theirs


def contents(path: Path) -> dict[str, str]:
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: found.update(
                {name: f"{dict(item.attrs)} {item[()] if isinstance(item, h5py.Dataset) else ''}"}
            )
        )
    return found
