"""Damaged files for the command line: one sentence, exit code 2, and nothing changed or left behind."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import anndata
import fuzz
import h5py
import numpy as np
import pytest

from zinbtools.cli import run as cli

# Bytes changed at random within an HDF5 file may hang the HDF5 library itself: tests/fuzz.py measures them.
STRUCTURAL = {
    kind: {name: change for name, change in changes.items() if name not in ("bytes", "zeros")}
    for kind, changes in fuzz.CHANGES.items()
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("zarr")
    return {kind: fuzz.original(kind, tmp_path_factory.mktemp(kind)) for kind in fuzz.CHANGES}


@pytest.mark.parametrize("words", fuzz.WORDS)
@pytest.mark.parametrize("kind", fuzz.CHANGES)
def test_what_is_not_damaged_gets_to_the_training(
    kind: str, words: list[str], originals: dict[str, Path]
) -> None:
    assert fuzz.complaint(originals[kind], words) == ""


@pytest.mark.parametrize("seed", range(60))
def test_damage_is_told_in_one_sentence(
    seed: int, originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "CHANGES", STRUCTURAL)
    path, names = fuzz.fuzzed(seed, originals, tmp_path)
    assert fuzz.complaint(path, fuzz.WORDS[seed % 3]) == "", names


def refusal(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["study", str(path), "--out", str(path.parent / "out")]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    return line


class _Runs:
    """Unpickled, it leaves a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("dtype", ["|O", "<f8"])
def test_a_pickle_in_a_store_is_not_run(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zarr = pytest.importorskip("zarr")
    path, mark = tmp_path / "counts.zarr", tmp_path / "it ran"
    zarr.open_group(path, mode="w", zarr_format=2)
    (path / "X").mkdir()
    (path / "X" / "0.0").write_bytes(pickle.dumps(_Runs(mark)))
    metadata = {
        "zarr_format": 2, "shape": [4, 3], "chunks": [4, 3], "dtype": dtype, "fill_value": 0, "order": "C",
        "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    (path / "X" / ".zarray").write_text(json.dumps(metadata))
    assert "asks for pickle" in refusal(path, capsys)
    assert not mark.exists()


def test_no_attribute_is_too_large(
    originals: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adata = anndata.read_h5ad(originals["h5ad"])
    adata.write_h5ad(tmp_path / "huge.h5ad")
    with h5py.File(tmp_path / "huge.h5ad", "r+") as file:
        file["X"].attrs["shape"] = np.array([2**60, 2**60])
    line = refusal(tmp_path / "huge.h5ad", capsys)
    assert line.startswith("zinbtools: error: cannot read")
    assert len(line) < 1000
