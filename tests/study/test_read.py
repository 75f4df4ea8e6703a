"""Files that a stranger made: nothing runs, nothing of this machine gets into the results, nothing hangs."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from compare import assert_same_anndata

from zinbtools import simulate
from zinbtools._files.memory import within_memory
from zinbtools.study import _formats, read

Change = Callable[[h5py.File], None]


@pytest.fixture
def h5ad(tmp_path: Path) -> Path:
    simulate.zisynth(n_obs=20).write_h5ad(tmp_path / "x.h5ad")
    (tmp_path / "secret").write_bytes(b"0123456789")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(3)
    return tmp_path / "x.h5ad"


def changed(path: Path, change: Change) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def folder_of(file: h5py.File) -> Path:
    return Path(file.filename).parent


def external_storage(file: h5py.File) -> None:
    secret = folder_of(file) / "secret"
    file["uns"].create_dataset("x", shape=(10,), dtype="u1", external=[(str(secret), 0, 10)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(str(folder_of(file) / "other.h5"), "x", (3,))
    file["obs"].create_virtual_dataset("x", layout)


def external_link(file: h5py.File) -> None:
    file["uns"].create_group("deep")["x"] = h5py.ExternalLink(str(folder_of(file) / "other.h5"), "/x")


def circle_of_links(file: h5py.File) -> None:
    file["uns/x"], file["uns/y"] = h5py.SoftLink("/uns/y"), h5py.SoftLink("/uns/x")


def unknown_filter(file: h5py.File) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((4,))
    settings.set_filter(64_999, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file["uns"].id, b"x", h5py.h5t.NATIVE_INT32, space, settings)


def references(file: h5py.File) -> None:
    file["uns"].create_dataset("x", data=np.array([file["X"].ref], dtype=h5py.ref_dtype))


def ladder(file: h5py.File) -> None:
    """Two ways at each of 40 steps: 2**40 places."""
    step = file["uns"]
    for _ in range(40):
        following = step.create_group("0")
        step["1"] = following
        step = following


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (external_link, "'/uns/deep/x' is a link to another file"),
        (external_storage, "'/uns/x' keeps its numbers in another file"),
        (virtual, "'/obs/x' is a virtual data set"),
        (lambda file: file.__setitem__("uns/x", h5py.SoftLink("/nowhere")), "leads nowhere"),
        (circle_of_links, "leads nowhere"),
        (lambda file: file.__setitem__("uns/x", h5py.SoftLink("/uns")), "leads back to a group"),
        (lambda file: file.__setitem__("uns/x", file["/"]), "leads back to a group"),
        (unknown_filter, "'/uns/x' is compressed with HDF5 filter 64999, which is not installed"),
        (references, "'/uns/x' holds references"),
        (ladder, "more than 1,000 groups and arrays"),
    ],
)
def test_an_h5ad_holds_all_that_is_read_of_it(
    change: Change, words: str, h5ad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zinbtools._files.hdf5._MOST_PLACES", 1_000)
    with pytest.raises(ValueError, match=r"cannot read \S+x\.h5ad as h5ad: ") as caught:
        read(changed(h5ad, change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_links_within_the_file_are_followed(h5ad: Path) -> None:
    def link(file: h5py.File) -> None:
        file["layers/hard"], file["layers/soft"] = file["X"], h5py.SoftLink("/X")

    adata = read(changed(h5ad, link))
    assert (adata.layers["hard"] != adata.X).nnz == (adata.layers["soft"] != adata.X).nnz == 0


def test_the_suffix_may_be_in_capitals(h5ad: Path) -> None:
    assert_same_anndata(read(h5ad.rename(h5ad.with_suffix(".H5AD"))), simulate.zisynth(n_obs=20))


# zarr


class _Runs:
    """Unpickled, it leaves a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


@pytest.fixture
def store(tmp_path: Path, mark: Path) -> Path:
    """A zarr store whose matrix is a pickle that runs something."""
    zarr = pytest.importorskip("zarr")
    version = {"zarr_format": 2} if hasattr(zarr.Group, "create_array") else {}
    path = tmp_path / "x.zarr"
    zarr.open_group(path, mode="w", **version)
    (path / "X").mkdir()
    (path / "X" / "0.0").write_bytes(pickle.dumps(_Runs(mark)))
    metadata = {
        "zarr_format": 2, "shape": [1, 1], "chunks": [1, 1], "dtype": "|O", "fill_value": 0, "order": "C",
        "compressor": None, "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}],
    }  # fmt: skip
    (path / "X" / ".zarray").write_text(json.dumps(metadata))
    return path


def rewritten(store: Path, change: Callable[[str], str | bytes]) -> None:
    file = store / "X" / ".zarray"
    content = change(file.read_text())
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def consolidated(store: Path) -> None:
    metadata = json.loads((store / "X" / ".zarray").read_text())
    (store / "X" / ".zarray").unlink()
    (store / ".zmetadata").write_text(json.dumps({"metadata": {"X/.zarray": metadata}}))


def third_format(store: Path) -> None:
    codec: dict[str, Any] = {"name": "numcodecs.pickle", "configuration": {}}
    outer = {"name": "sharding_indexed", "configuration": {"codecs": [codec]}}
    node = {"node_type": "array", "codecs": [outer]}
    rewritten(store, lambda _: "{}")
    (store / "zarr.json").write_text(json.dumps({"consolidated_metadata": {"metadata": {"X": node}}}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda store: None, "asks for pickle"),
        (
            lambda store: rewritten(store, lambda text: text.replace("pickle", r"p\u0069ckle")),
            "asks for pickle",
        ),
        (lambda store: rewritten(store, lambda text: text.encode("utf-16")), "asks for pickle"),
        (
            lambda store: rewritten(store, lambda text: text.replace('"pickle"', '"pickle", "id": "zlib"')),
            "pickle",
        ),
        (consolidated, "asks for pickle"),
        (third_format, "asks for pickle"),
        (lambda store: rewritten(store, lambda text: text[:-1]), "is no JSON"),
        (lambda store: rewritten(store, lambda text: "[" * 100_000), "is no JSON"),
        (
            lambda store: (store / "X").rename(store.parent / "X") and (store / "X").symlink_to("../X"),
            "is a link",
        ),
        (lambda store: (store / "Y").symlink_to("/etc/hosts"), "is a link"),
        (lambda store: (store / "Y").symlink_to("."), "is a link"),
        (lambda store: os.mkfifo(store / "0.0"), "is neither a file nor a folder"),
    ],
)
def test_a_store_that_asks_for_pickle_in_any_spelling_is_refused(
    change: Callable[[Path], Any], words: str, store: Path, mark: Path
) -> None:
    change(store)
    with pytest.raises(ValueError, match=rf"cannot read \S+x\.zarr as zarr: .*{words}"):
        read(store)
    assert not mark.exists()


def test_nothing_depends_on_the_guard_alone(store: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, pickles = (pytest.importorskip(f"numcodecs.{name}") for name in ("registry", "pickles"))
    monkeypatch.setattr(pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    monkeypatch.setattr(_formats, "check_zarr", lambda _: None)
    registry.codec_registry["another name"] = pickles.Pickle
    for name in ("pickle", "another name"):
        rewritten(store, lambda text, name=name: text.replace('{"id": "pickle"}', f'{{"id": "{name}"}}'))
        with pytest.raises(ValueError, match="cannot read"):
            read(store)
        rewritten(store, lambda text, name=name: text.replace(name, "pickle"))
    assert not mark.exists()
    assert registry.codec_registry["pickle"] is registry.codec_registry.pop("another name")


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_a_store_behind_a_link_is_read(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    simulate.zisynth(n_obs=20).write_zarr(tmp_path / "far.zarr")
    (tmp_path / "x.zarr").symlink_to("far.zarr")
    assert read(tmp_path / "x.zarr").shape == (20, 50)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_memory_that_is_not_there_is_refused_and_the_limit_goes_again() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    with within_memory():
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        assert limit != resource.RLIM_INFINITY
        with pytest.raises(MemoryError):
            np.zeros(limit, dtype=np.uint8)
        np.zeros(1000)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
