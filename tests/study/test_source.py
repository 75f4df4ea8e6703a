"""What the counts were read from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from zinbtools.study import source_of

NAMES = ["matrix.mtx.gz", "features.tsv", "barcodes.tsv.gz"]


def by_hand(folder: Path, *names: str) -> str:
    """What the commands of docs/files.md print."""
    listing = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True)
    whole = subprocess.run(["sha256sum"], input=listing.stdout, capture_output=True, check=True)
    return whole.stdout.decode().split()[0]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
@pytest.mark.parametrize("given", [".", "matrix.mtx.gz"])
def test_of_a_matrix_the_three_files_are_taken(given: str, tmp_path: Path) -> None:
    folder = tmp_path / "filtered"
    folder.mkdir()
    for name in [*NAMES, "other.txt"]:
        (folder / name).write_text(name)
    found = source_of(folder / given)
    assert found.sha256 == by_hand(folder, *sorted(NAMES))
    assert (found.name, found.n_files) == (folder.name if given == "." else given, 3)
    assert found.n_bytes == sum(map(len, NAMES))
    assert str(found) == f"{found.name} (3 files, {found.n_bytes} bytes)"


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_of_a_store_all_files_are_taken(tmp_path: Path) -> None:
    store = tmp_path / "x.zarr"
    for name in ("X/0", "X.z", ".zgroup", "a b/c"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text(name)
    found = source_of(store)
    assert found.sha256 == by_hand(store, ".zgroup", "X.z", "X/0", "a b/c")
    assert found.n_files == 4
    (store / "X" / "0").write_text("Y/0")
    assert source_of(store).sha256 != found.sha256


def test_the_name_of_this_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert source_of(Path()).name == tmp_path.name
