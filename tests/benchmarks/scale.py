"""Counts on disk beside counts in memory, from ten thousand to a million cells.

    python tests/benchmarks/scale.py --folder SOMEWHERE_WITH_20_GB

simulates counts in blocks, measures each fit in a process of its own, and writes a section of
docs/benchmarks.md. Linux only.

    python tests/benchmarks/scale.py --folder SOMEWHERE --verdict 20000 1000000

prints what the default verdict takes on files of so many cells, by all threads.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import sparse_dataset, write_elem
from numpy.typing import NDArray
from scipy import sparse
from tables import Record, number, section, spread, table, values, with_section

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
TITLE = "## Larger than memory"
N_GENES = 2_000
SIZES = (10_000, 100_000, 1_000_000)
AT_ONCE = 10_000  # cells


def simulate(path: Path, n_cells: int) -> None:
    """Gamma-Poisson counts of twenty cell types, some 7 % of them positive, written block by block."""
    rng = np.random.default_rng(0)
    profiles = rng.lognormal(-1.0, 1.5, (20, N_GENES)) * rng.lognormal(0, 0.7, (20, N_GENES))
    profiles *= 220 / profiles.sum(axis=1, keepdims=True)
    kinds = rng.integers(20, size=n_cells)
    with h5py.File(path, "w") as file:
        for place, frame in {
            "obs": pd.DataFrame(index=pd.RangeIndex(n_cells).astype(str)),
            "var": pd.DataFrame(index=pd.RangeIndex(N_GENES).astype(str)),
        }.items():
            write_elem(file, place, frame)
        for start in range(0, n_cells, AT_ONCE):
            block = _block(rng, profiles[kinds[start : start + AT_ONCE]])
            if start:
                sparse_dataset(file["X"]).append(block)
            else:
                write_elem(file, "X", block, dataset_kwargs={"chunks": (2**17,)})
        for name, group in {"encoding-type": "anndata", "encoding-version": "0.1.0"}.items():
            file.attrs[name] = group


def _block(rng: np.random.Generator, mean: NDArray[np.float64]) -> sparse.csr_matrix:
    mean = mean * rng.lognormal(0, 0.4, (len(mean), 1)) * rng.standard_gamma(2.0, mean.shape) / 2.0
    counts = rng.poisson(mean).astype(np.float32)
    counts[:, 0] += counts.sum(axis=1) == 0
    return sparse.csr_matrix(counts)


def fit(path: Path, n_cells: int, place: str) -> Record:
    """One epoch of the NB model on a file, backed or read, and what it took."""
    import zinbtools as zt
    from zinbtools.model import training

    adata = ad.read_h5ad(path, backed="r+" if place == "blocks" else None)
    assert adata.n_obs == n_cells
    epochs: list[tuple[float, float]] = []
    train = training._Loop._train_epoch

    def timed(self: Any, epoch: int) -> list[float]:
        wall, busy = time.perf_counter(), time.process_time()
        found = train(self, epoch)
        epochs.append((time.perf_counter() - wall, time.process_time() - busy))
        return found

    training._Loop._train_epoch = timed
    wall, busy = time.perf_counter(), time.process_time()
    zt.tl.fit_nb_zinb(adata, models="nb", max_epochs=1, layers=(), progress=False)
    fitted = time.perf_counter() - wall, time.process_time() - busy
    if place == "blocks":
        adata.write_h5ad()
        adata.file.close()
        with h5py.File(path) as file:
            assert file["obsm/X_nb"].shape == (n_cells, 10)
            assert np.isfinite(file["obsm/X_nb"][:]).all()
    n_train = int((adata.obs["zinbtools_split"] == "train").sum())
    return {
        "epoch_rate": n_train / sum(wall for wall, _ in epochs),
        "epoch_rate_cpu": n_train / sum(busy for _, busy in epochs),
        "microseconds_per_cell": 1e6 * fitted[0] / n_cells,
        "microseconds_per_cell_cpu": 1e6 * fitted[1] / n_cells,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def verbs(path: Path, n_cells: int, place: str) -> Record:
    """What follows a fit, on the file that has it."""
    import zinbtools as zt

    adata = ad.read_h5ad(path, backed="r+" if place == "blocks" else None)
    found: Record = {}
    for name, call in {
        "marginal_ll": lambda: zt.tl.marginal_ll(adata, n_samples=5),
        "ppc": lambda: zt.tl.ppc(adata, n_samples=3, n_null=2),
        "zi_scores": lambda: zt.tl.zi_scores(adata),
        "zero_test": lambda: zt.tl.zero_test(adata, families=["nb", "zinb"]),
    }.items():
        start = time.perf_counter()
        call()
        found[f"{name}_seconds"] = time.perf_counter() - start
        found[f"{name}_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def disk(path: Path, n_cells: int, place: str) -> Record:
    """Cells per second of reading the file from end to end, first from the disk and then from its cache."""
    rates = []
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for _ in range(2):
            start = time.perf_counter()
            file.seek(0)
            while file.read(2**24):
                pass
            rates.append(n_cells / (time.perf_counter() - start))
    return {"disk_rate": rates[0], "cache_rate": rates[1], "megabytes": path.stat().st_size / 2**20}


def verdict(path: Path, n_cells: int, place: str) -> Record:
    """The default verdict."""
    import zinbtools as zt

    adata = ad.read_h5ad(path, backed="r+" if place == "blocks" else None)
    wall, busy = time.perf_counter(), time.process_time()
    zt.tl.model_selection(adata, progress=False)
    return {
        "seconds": time.perf_counter() - wall,
        "seconds_cpu": time.process_time() - busy,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "sentence": zt.get.verdict(adata).sentence,
    }


MEASUREMENTS = {"fit": fit, "verbs": verbs, "disk": disk, "verdict": verdict}


def measure(job: Record) -> Record:
    """In a process of its own, of one thread but for a verdict."""
    limited = (
        () if job["what"] == "verdict" else ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    )
    threads = dict.fromkeys(limited, "1")
    done = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps(job)],
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    record = job | json.loads(done.stdout.splitlines()[-1]) | commit()
    print(record, flush=True)
    return record


def commit() -> Record:
    """When, and of which commit, a record is; "dirty" where anything but a page differs from that commit."""
    named = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs")
    return {"date": f"{datetime.date.today()}", "commit": f"{named}-dirty" if changed else named}


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=HERE, text=True).strip()


def simulated(folder: Path, n_cells: int) -> Path:
    """A file of so many cells, which is made where there is none."""
    path = folder / f"{n_cells}.h5ad"
    if not path.exists():
        simulate(path, n_cells)
    return path


def jobs(folder: Path, turns: int) -> Iterator[Record]:
    """All measurements, blocks and memory in turn."""
    for n_cells in SIZES:
        path = simulated(folder, n_cells)
        job = {"path": str(path), "n_cells": n_cells}
        yield job | {"what": "disk", "place": "blocks", "turn": 0}
        for turn in range(turns):
            for place in ("blocks", "memory"):
                yield job | {"what": "fit", "place": place, "turn": turn}
    yield job | {"what": "verbs", "place": "blocks", "turn": 0}


def text(records: list[Record]) -> str:
    """The section."""

    def of(what: str, n_cells: int, place: str, key: str) -> dict[int, float]:
        runs = {
            r["turn"]: r for r in records if (r["what"], r["n_cells"], r["place"]) == (what, n_cells, place)
        }
        return values(runs, key)

    rows, shares = [], {}
    for n in SIZES:
        rates = {place: of("fit", n, place, "epoch_rate") for place in ("blocks", "memory")}
        if not rates["blocks"]:
            continue
        shares[n] = {turn: rates["blocks"][turn] / rates["memory"][turn] for turn in rates["memory"]}
        costs = [of("fit", n, "blocks", key) for key in ("microseconds_per_cell", "peak_mb")]
        (raw,) = of("disk", n, "blocks", "disk_rate").values()
        rows.append(
            [
                f"{n:,}",
                *(spread(rates[place]) for place in ("blocks", "memory")),
                spread(shares[n]),
                number(raw),
                *map(spread, costs),
                spread(of("fit", n, "memory", "peak_mb")),
            ]
        )
    head = [
        "cells",
        "cells/s, blocks",
        "cells/s, memory",
        "blocks / memory",
        "cells/s, disk alone",
        "us per cell, all of a fit",
        "peak MB, blocks",
        "peak MB, memory",
    ]
    body = table(head, rows)
    after = [r for r in records if r["what"] == "verbs"]
    if after:
        names = [key.removesuffix("_seconds") for key in after[0] if key.endswith("_seconds")]
        lines = [
            [name, number(after[0][f"{name}_seconds"]), number(after[0][f"{name}_peak_mb"])] for name in names
        ]
        body += (
            f"\nThen, with {after[0]['n_cells']:,} cells in blocks, one after the other in one process:\n\n"
        )
        body += table(["verb", "seconds", "peak MB so far"], lines)
    return section(f"{TITLE}\n\n{INTRODUCTION}", body, records)


INTRODUCTION = f"""Simulated counts of {N_GENES:,} genes, 8 % of them positive, as compressed rows in an h5ad
file. `fit_nb_zinb` trains the NB model for one epoch on one thread, from the backed file in blocks, or
after all of it was read into memory; the turns alternate. Cells per second are those of the epoch, that is,
training alone; the microseconds are those of everything that a fit does, checks, validation, metrics and
latent states included, divided by the cells. The disk alone is the file read from end to end, dropped from
the cache before. No layer of all cells and genes is written. `tests/benchmarks/scale.py` measured this.
"""


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the files go; 2 GB (default: a temporary folder)")
    parser.add_argument("--records", type=Path, help="keep records here, and go on from those that are there")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--verdict", type=int, nargs="+", default=(), help="of files of so many cells, instead"
    )
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        job = arguments.job
        print(json.dumps(MEASUREMENTS[job["what"]](Path(job["path"]), job["n_cells"], job["place"])))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for n_cells in arguments.verdict:
            measure(
                {
                    "what": "verdict",
                    "path": str(simulated(folder, n_cells)),
                    "n_cells": n_cells,
                    "place": "blocks",
                }
            )
        if arguments.verdict:
            return
        kept = arguments.records or folder / "records.jsonl"
        records = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
        for job in jobs(folder, arguments.turns):
            if not any(job.items() <= record.items() for record in records):
                records.append(measure(job))
                kept.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    PAGE.write_text(with_section(PAGE.read_text("utf-8"), TITLE, text(records)), encoding="utf-8")


if __name__ == "__main__":
    main()
