"""Files that are almost AnnData, for the command line; as a script, it runs many of them.

``python tests/fuzz.py --number 2000`` gives every file to ``zinbtools study`` in this process, up to where
the training would start, and tells what went wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from zinbtools.cli import run as cli
from zinbtools.tl import _trained

REACHED = "the training was reached"
Change = Callable[[np.random.Generator, Path], None]


def original(kind: str, folder: Path) -> Path:
    """A small and valid file with something in every place."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (40, 8)) + np.eye(40, 8, dtype=int) + (np.arange(8) == 0)
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.layers["counts"] = sparse.csc_matrix(counts)
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(40) % 2, "a", "b"))
    adata.obs["age"] = rng.normal(50, 9, 40)
    adata.obs["note"] = [f"cell {i}" for i in range(40)]
    adata.var["long"] = rng.random(8) > 0.5
    adata.obsm["X_pca"] = rng.normal(size=(40, 3))
    adata.uns["settings"] = {"k": 3, "names": np.array(["u", "v"]), "table": pd.DataFrame({"a": [1, 2]})}
    path = folder / f"counts.{kind}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (adata.write_h5ad if kind == "h5ad" else adata.write_zarr)(path)
    return path


def _truncate(rng: np.random.Generator, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(len(data)))])


def _flip_bytes(rng: np.random.Generator, path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in rng.integers(len(data), size=int(2 ** rng.integers(0, 8))):
        data[place] = rng.integers(256)
    path.write_bytes(bytes(data))


def _zero_a_stretch(rng: np.random.Generator, path: Path) -> None:
    data = bytearray(path.read_bytes())
    start, size = int(rng.integers(len(data))), int(2 ** rng.integers(1, 11))
    data[start : start + size] = bytes(len(data[start : start + size]))
    path.write_bytes(bytes(data))


def _nodes(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def _of_tree(change: Callable[[np.random.Generator, h5py.File, str], None]) -> Change:
    """A change of one node of an HDF5 file."""

    def changed(rng: np.random.Generator, path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(rng, file, str(rng.choice(_nodes(file))))

    return changed


def _remove(rng: np.random.Generator, file: h5py.File, name: str) -> None:
    del file[name]


def _swap_kind(rng: np.random.Generator, file: h5py.File, name: str) -> None:
    """A group where an array was, or the other way round."""
    was_group, attributes = isinstance(file[name], h5py.Group), dict(file[name].attrs)
    del file[name]
    node = file.create_dataset(name, data=np.arange(3)) if was_group else file.create_group(name)
    if rng.random() < 0.5:
        node.attrs.update(attributes)


def _other_values(rng: np.random.Generator, file: h5py.File, name: str) -> None:
    """An array of other numbers, another shape or another type."""
    if isinstance(file[name], h5py.Group):
        return _swap_kind(rng, file, name)
    old, attributes = file[name], dict(file[name].attrs)
    shape = old.shape
    del file[name]
    options: list[object] = [
        np.full(shape, -1),
        np.full(shape, np.nan),
        np.full(shape, 2**40),
        np.full(shape, b"text"),
        np.zeros((2, *shape), dtype=int),
        np.zeros(0),
        np.float64(1e300),
        h5py.Empty("f4"),
        rng.integers(-(2**31), 2**31, shape),
        rng.random(shape) * 100,
        np.zeros(shape, dtype=[("a", "i4"), ("b", "f8")]),
        np.zeros(shape, dtype="V16"),
    ]
    file[name] = options[int(rng.integers(len(options)))]
    file[name].attrs.update(attributes)
    return None


def _other_attribute(rng: np.random.Generator, file: h5py.File, name: str) -> None:
    """An attribute that is wrong, missing, of another type, or huge."""
    node = file if rng.random() < 0.2 else file[name]
    names = list(node.attrs)
    if not names:
        node.attrs["encoding-type"] = "csr_matrix"
        return
    chosen = str(rng.choice(names))
    values: list[object] = [
        "csr_matrix", "dataframe", "array", "anndata", "dict", "awkward-array", "nothing that exists",
        "0.9.9", "", 7, -1, [3, -5], [2**62, 2**62], [10**9, 10**9], np.nan, "x" * 60_000, b"\xff\xfe\x00",
        np.zeros(5_000),
    ]  # fmt: skip
    if rng.random() < 0.2:
        del node.attrs[chosen]
    else:
        node.attrs[chosen] = values[int(rng.integers(len(values)))]


def _link_to_itself(rng: np.random.Generator, file: h5py.File, name: str) -> None:
    """A group that holds itself, or a link to nowhere."""
    group = file[name] if isinstance(file[name], h5py.Group) else file[name].parent
    kinds = (group, h5py.SoftLink("/nowhere"), h5py.ExternalLink("absent.h5", "/x"))
    group["again"] = kinds[int(rng.integers(3))]


def _huge(rng: np.random.Generator, file: h5py.File, name: str) -> None:
    """An array that says it is larger than any memory, without a number on disk."""
    attributes = dict(file[name].attrs)
    del file[name]
    size = (2**34, 2**8) if rng.random() < 0.5 else (2**45,)
    file.create_dataset(name, shape=size, dtype="f8", chunks=True).attrs.update(attributes)


def _zarr_file(rng: np.random.Generator, path: Path) -> Path:
    return Path(rng.choice(sorted(map(str, (p for p in path.rglob("*") if p.is_file())))))


def _in_zarr(change: Change) -> Change:
    return lambda rng, path: change(rng, _zarr_file(rng, path))


def _zarr_remove(rng: np.random.Generator, path: Path) -> None:
    chosen = _zarr_file(rng, path)
    if rng.random() < 0.5:
        chosen.unlink()
    elif chosen.parent != path:
        shutil.rmtree(chosen.parent)


def _zarr_metadata(rng: np.random.Generator, path: Path) -> None:
    """Another value somewhere in the JSON of a node."""
    files = sorted(
        p for p in path.rglob("*") if p.name in ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
    )
    chosen = files[int(rng.integers(len(files)))]
    tree = json.loads(chosen.read_text())
    node, values = tree, [None, -1, 10**18, "x" * 10_000, [], {}, "nothing", [2**40, 2**40], 0.5, "pickle"]
    while isinstance(node, dict) and node:
        key = str(rng.choice(sorted(node)))
        if not isinstance(node[key], dict) or rng.random() < 0.3:
            node[key] = values[int(rng.integers(len(values)))]
            break
        node = node[key]
    chosen.write_text(json.dumps(tree))


CHANGES: dict[str, dict[str, Change]] = {
    "h5ad": {
        "truncated": _truncate,
        "bytes": _flip_bytes,
        "zeros": _zero_a_stretch,
        "removed": _of_tree(_remove),
        "kind": _of_tree(_swap_kind),
        "values": _of_tree(_other_values),
        "attribute": _of_tree(_other_attribute),
        "link": _of_tree(_link_to_itself),
        "huge": _of_tree(_huge),
    },
    "zarr": {
        "truncated": _in_zarr(_truncate),
        "bytes": _in_zarr(_flip_bytes),
        "removed": _zarr_remove,
        "metadata": _zarr_metadata,
    },
}


def fuzzed(seed: int, originals: dict[str, Path], folder: Path) -> tuple[Path, list[str]]:
    """A file with one or two changes, and their names."""
    rng = np.random.default_rng(seed)
    kind = "h5ad" if rng.random() < 0.7 else "zarr"
    path = folder / originals[kind].name
    (shutil.copy if kind == "h5ad" else shutil.copytree)(originals[kind], path)
    names = list(rng.choice(sorted(CHANGES[kind]), size=int(rng.integers(1, 3))))
    for name in names:
        with contextlib.suppress(Exception):  # the second change may find nothing to change
            CHANGES[kind][name](rng, path)
    return path, [kind, *map(str, names)]


def digest(path: Path) -> str:
    """Of a file, or of all files in a folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return sha256(b"".join(str(p).encode() + p.read_bytes() for p in files)).hexdigest()


def complaint(path: Path, words: list[str]) -> str:
    """What is wrong with how the command line takes a file; nothing, if all is well."""
    before, out, printed = digest(path), path.parent / "out", io.StringIO()

    def stop(*_: object, **__: object) -> None:
        raise RuntimeError(REACHED)

    try:
        with (
            mock.patch.object(_trained, "train_restarts", stop),
            contextlib.redirect_stderr(printed),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            code = cli.main(["study", str(path), *words, "--out", str(out), "--quiet"])
    except BaseException:
        return traceback.format_exc()
    lines = [line for line in printed.getvalue().splitlines() if "Warning" not in line]
    if code == 1 and lines[-1].endswith(REACHED):
        return ""
    if code != 2 or len(lines) != 1 or not lines[0].startswith("zinbtools: error: "):
        return f"exit code {code}: {printed.getvalue()[:2000]}"
    if len(lines[0]) > 1000:
        return f"a sentence of {len(lines[0])} characters: {lines[0][:300]}"
    if set(path.parent.iterdir()) != {path}:
        return f"left behind: {sorted(set(path.parent.iterdir()) - {path})}"
    if digest(path) != before:
        return "the input was changed"
    return ""


WORDS: list[list[str]] = [[], ["--layer", "counts"], ["--batch-key", "batch", "--n-top-genes", "5"]]


def survey(seeds: range) -> None:
    """One line for every file; a file that takes 20 seconds of computation ends the process."""
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as home:
        originals = {kind: original(kind, Path(home)) for kind in CHANGES}
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                path, names = fuzzed(seed, originals, Path(folder))
                print(json.dumps([seed, names]), end=" ", flush=True)
                signal.setitimer(signal.ITIMER_PROF, 20)
                found = complaint(path, WORDS[seed % len(WORDS)])
                signal.setitimer(signal.ITIMER_PROF, 0)
                print(json.dumps(found), flush=True)


def main() -> None:
    """Many files, each process going on where one before it died, and how they fared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seed, end = arguments.first, arguments.first + arguments.number
    if arguments.here:
        survey(range(seed, end))
        return
    counted: Counter[str] = Counter()
    while seed < end:
        words = ["--here", "--first", str(seed), "--number", str(end - seed)]
        command = [sys.executable, __file__, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                seed += 1
                fate = "well" if line.endswith('""\n') else "bad" if line.endswith("\n") else "died"
                counted[fate] += 1
                if fate != "well":
                    print(f"{fate}: {line.rstrip()}", flush=True)
        print(dict(counted), f"the process ended with {process.returncode}", flush=True)


if __name__ == "__main__":
    main()
