"""Fetching, from a server on this machine, and finding files in folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import scanpy as sc

from zinbtools.datasets import Dataset, File, from_files, zheng_ercc
from zinbtools.datasets._files import cache_folder, fetch, find
from zinbtools.datasets._registry import REGISTRY

CONTENT = b"what is up for fetching\n"
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
GIT = "git:" + hashlib.sha1(b"blob 24\0" + CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    before = sc.settings.datasetdir
    sc.settings.datasetdir = tmp_path / "cache"
    assert cache_folder() == tmp_path / "cache" / "zinbtools"
    yield cache_folder()
    sc.settings.datasetdir = before


@pytest.fixture
def home(tmp_path: Path) -> Iterator[str]:
    """Address of a folder with one file, ``x.txt``."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "x.txt").write_bytes(CONTENT)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def dataset(url: str, digest: str | None = None) -> Dataset:
    files = {"counts": File("kept.txt", url, digest)}
    return Dataset("toy", files, parse=lambda _: pytest.fail("not read"), title="", citation="")


@pytest.mark.parametrize("digest", [None, SHA256, GIT])
def test_fetched_once_and_kept(digest: str | None, home: str, cache: Path, tmp_path: Path) -> None:
    toy = dataset(f"{home}/x.txt", digest)
    assert fetch(toy) == {"counts": cache / "kept.txt"}
    assert (cache / "kept.txt").read_bytes() == CONTENT
    (tmp_path / "home" / "x.txt").unlink()
    assert fetch(toy) == {"counts": cache / "kept.txt"}


@pytest.mark.parametrize("digest", ["md5:" + "0" * 32, "git:" + "0" * 40])
def test_other_content_is_refused_and_not_kept(digest: str, home: str, cache: Path) -> None:
    with pytest.raises(ValueError, match=rf"what {home}/x\.txt gave is not the kept\.txt that is known"):
        fetch(dataset(f"{home}/x.txt", digest))
    assert not (cache / "kept.txt").exists()


def test_a_file_without_a_hash_must_stay_what_it_was(home: str, cache: Path, tmp_path: Path) -> None:
    toy = dataset(f"{home}/x.txt")
    kept = fetch(toy)["counts"]
    assert (cache / "kept.txt.sha256").read_text() == f"{SHA256}\n"
    kept.write_bytes(CONTENT[:5])
    assert fetch(toy)["counts"].read_bytes() == CONTENT
    kept.write_bytes(CONTENT[:5])
    (tmp_path / "home" / "x.txt").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"if the new one is right, remove kept\.txt\.sha256"):
        fetch(toy)


def test_a_page_that_is_gone(home: str, cache: Path) -> None:
    with pytest.raises(ConnectionError, match=r"kept\.txt of the data set 'toy' .*\(HTTPError\)"):
        fetch(dataset(f"{home}/gone.txt"))


def test_without_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("pooch.downloaders.HTTPDownloader.__call__", refuse)
    with pytest.raises(ConnectionError) as caught:
        zheng_ercc()
    message = str(caught.value)
    assert "zheng_gemcode_control.h5ad" in message
    assert REGISTRY["zheng_ercc"].files["counts"].url in message
    assert "from_files('zheng_ercc', folder)" in message
    assert "\n" not in message


def test_find_by_any_name(tmp_path: Path) -> None:
    (tmp_path / "expression.bin").touch()
    assert find(REGISTRY["cortex"], tmp_path) == {"counts": tmp_path / "expression.bin"}
    (tmp_path / "expression_mRNA_17-Aug-2014.txt").touch()  # its own name comes first
    assert find(REGISTRY["cortex"], tmp_path)["counts"].name == "expression_mRNA_17-Aug-2014.txt"
    assert find(REGISTRY["cortex"], tmp_path / "expression.bin")["counts"].name == "expression.bin"


def test_find_leaves_optional_files_out(tmp_path: Path) -> None:
    (tmp_path / "neuron_9k").mkdir()
    assert find(REGISTRY["brain_small"], tmp_path) == {"counts": tmp_path / "neuron_9k"}
    (tmp_path / "brain_small_metadata.pickle").touch()
    assert set(find(REGISTRY["brain_small"], tmp_path)) == {"counts", "labels"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'nowhere' does not exist; give the file retina\.loom"):
        from_files("retina", "nowhere")
    (tmp_path / "pbmc8k").mkdir()
    with pytest.raises(ValueError, match="lacks pbmc4k_filtered"):
        from_files("pbmc", tmp_path)
    (tmp_path / "one.tar.gz").touch()
    with pytest.raises(ValueError, match="is one file, and 'pbmc' has more; give a folder with the files"):
        from_files("pbmc", tmp_path / "one.tar.gz")
    with pytest.raises(KeyError, match="'cerebellum' is no data set; there are cortex, hemato"):
        from_files("cerebellum", tmp_path)


def test_the_registry_is_sound() -> None:
    assert all(name == entry.name for name, entry in REGISTRY.items())
    files = [file for entry in REGISTRY.values() for file in entry.files.values()]
    lengths = {"md5": 32, "sha256": 64, "git": 40}
    for file in files:
        assert file.url.startswith("https://")
        kind, _, digest = (file.hash or "").partition(":")
        assert file.hash is None or len(bytes.fromhex(digest)) * 2 == lengths[kind]
    # One name in the cache, one address.
    assert len({file.name for file in files}) == len({file.url for file in files})
