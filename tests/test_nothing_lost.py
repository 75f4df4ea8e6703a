"""Full disks: the old results stay."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import h5py
import pytest

from zinbtools import simulate
from zinbtools.study import write_h5ad

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals of Linux")


# zinbtools study without its pictures, which take most of the time of a small one
STUDY = """
import sys
from zinbtools import cli
from zinbtools.study import _write
_write.pictures = lambda *_: []
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    path = tmp_path / "counts.h5ad"
    simulate.zisynth(n_obs=150).write_h5ad(path)
    return path


def start(counts: Path, out: Path, **options: object) -> subprocess.Popen[str]:
    words = ["study", str(counts), "--out", str(out), "--max-epochs", "1", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-c", STUDY, *words],
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
    out.mkdir()
    (out / "metrics.csv").write_text("of yesterday")
    before = digests(tmp_path)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    process = start(counts, out, preexec_fn=limit)
    _, told = process.communicate()
    lines = [line for line in told.splitlines() if "Warning" not in line]
    assert process.returncode == 2, told
    assert lines[-1].startswith("zinbtools: error: ")
    assert "Traceback" not in told
    assert digests(tmp_path) == before
    assert set(os.listdir(tmp_path)) == {"counts.h5ad", "out"}


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
