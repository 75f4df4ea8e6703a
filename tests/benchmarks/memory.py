"""The peak memory of every verb of `zt.tl` on many cells whose counts are in memory.

    python tests/benchmarks/memory.py --folder SOMEWHERE_WITH_1_GB

simulates counts, fits both models to them once, measures each verb in a process of its own, and writes a
section of docs/benchmarks.md. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import anndata as ad
from scale import commit, simulated
from tables import Record, by_turn, number, section, spread, table, with_section

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
TITLE = "## Memory of every verb"
N_CELLS, N_CELLS_BEFORE = 200_000, 4_000
MB = 1e6
EVERY = 0.1  # seconds from one look at the memory of all processes to the next
OF_COUNTS, BESIDE = 1.5, 500 * MB  # what a verb may take

_BRIEF: dict[str, Any] = {"max_epochs": 1, "progress": False}
_FIT = _BRIEF | {"n_draws": 1, "layers": ()}
_ONCE = _FIT | {"n_restarts": 1, "folds": 1, "n_samples": 2, "n_null": 2}
_NEW = {"key_added": "new"}
_QUIET = {"progress": False}

# Epochs, restarts, draws and samples are few: what one takes is given back before the next.
VERBS: dict[str, tuple[str, dict[str, Any]]] = {
    "fit_nb_zinb": ("fit_nb_zinb", _FIT | _NEW | {"models": "nb", "n_restarts": 2}),
    "marginal_ll": ("marginal_ll", _QUIET | {"n_samples": 5}),
    "ppc": ("ppc", _QUIET | {"n_samples": 2, "n_null": 1}),
    "ppc, residuals": ("ppc", _QUIET | {"checks": "pit"}),
    "zi_scores": ("zi_scores", _QUIET),
    "zi_scores, predictive": ("zi_scores", _QUIET | {"method": "predictive", "n_samples": 2}),
    "zi_scores, reconstruction": ("zi_scores", _QUIET | {"method": "reconstruction", "n_samples": 2}),
    "zero_test": ("zero_test", {"families": ["nb", "zinb"]}),
    "explain_zeros": ("explain_zeros", _QUIET),
    "zi_replication": ("zi_replication", _QUIET),
    "reads_per_molecule": ("reads_per_molecule", {}),
    "reads_per_molecule, of a fit": ("reads_per_molecule", {"of_fit": True}),
    "embed": ("embed", {}),
    "consequences": ("consequences", {}),
    "power": ("power", {}),
    "model_selection": ("model_selection", _ONCE | _NEW),
    "model_selection, all cells": ("model_selection", _ONCE | _NEW | {"cells": "all"}),
    "tune": ("tune", _BRIEF | _NEW | {"models": "nb", "max_evals": 1, "n_samples": 2}),
}
WORKERS = (1, "threads"), (2, "threads"), (2, "processes")
SIDE_BY_SIDE = "fit_nb_zinb", "marginal_ll", "tune"  # which are measured with each of these


def fitted(folder: Path, n_cells: int) -> Path:
    """A file of so many cells with all that a verb needs: both models, and tests of genes."""
    path = folder / f"{n_cells}_fitted.h5ad"
    if not path.exists():
        import zinbtools as zt

        adata = ad.read_h5ad(simulated(folder, n_cells))
        zt.tl.fit_nb_zinb(adata, n_restarts=2, **_FIT)
        zt.tl.zi_scores(adata, split="test", progress=False)
        adata.write_h5ad(path)
    return path


def measure_here(path: Path, verb: str, n_jobs: int, executor: str) -> Record:
    """Run a verb in this process, and say what it has used, bytes."""
    import zinbtools as zt

    name, settings = VERBS[verb]
    call: Callable[..., None] = getattr(zt.tl, name)
    imported = _peak()
    adata = ad.read_h5ad(path)
    counts = sum(part.nbytes for part in (adata.X.data, adata.X.indices, adata.X.indptr))
    loaded = _peak()
    if verb in SIDE_BY_SIDE:
        settings = settings | {"n_jobs": n_jobs, "executor": executor}
    start = time.perf_counter()
    call(adata, **settings)
    seconds = time.perf_counter() - start
    return {"counts": counts, "imported": imported, "loaded": loaded, "peak": _peak(), "seconds": seconds}


def _peak() -> float:
    return _bytes(Path("/proc/self/status"), "VmHWM")  # ru_maxrss has what was before the exec in it


def measure(path: Path, job: Record) -> Record:
    """In a process of its own; what it and its children hold together is looked at meanwhile."""
    asked = {name: of for name, of in job.items() if name != "turn"}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, __file__, "--path", str(path), "--job", json.dumps(asked)],
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        text=True,
    )
    together = 0.0
    while process.poll() is None:
        together = max(together, _together(process.pid))
        time.sleep(EVERY)
    assert process.stdout is not None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return job | json.loads(process.stdout.read().splitlines()[-1]) | {"together": together} | commit()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has ended
            continue
        for child in map(int, children):
            yield from _tree(child)


def _together(pid: int) -> float:
    """Bytes that processes have of their own, and those of files, of which the process with most has all."""
    paths = [Path(f"/proc/{process}/smaps_rollup") for process in _tree(pid)]
    own = [_bytes(path, "Anonymous") for path in paths]
    return sum(own) + max(_bytes(path, "Rss") - part for path, part in zip(paths, own, strict=True))


def _bytes(path: Path, what: str) -> float:
    try:
        lines = path.read_text().splitlines()
    except OSError:  # the process has ended
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def jobs(verbs: Sequence[str]) -> list[Record]:
    """What is measured in each turn."""
    return [
        {"verb": verb, "n_jobs": n_jobs, "executor": executor}
        for verb in verbs
        for n_jobs, executor in (WORKERS if verb in SIDE_BY_SIDE else WORKERS[:1])
    ]


def text(records: list[Record]) -> str:
    """The section."""
    rows, missing = [], []
    bound = (OF_COUNTS * records[0]["counts"] + BESIDE) / MB
    for job in jobs(list(VERBS)):
        name = job["verb"] if job["n_jobs"] == 1 else "{verb}, {n_jobs} {executor}".format(**job)
        runs = by_turn(records, **job)
        if not runs:
            missing.append(name)
            continue
        is_apart = job["executor"] == "processes"
        peaks = {t: run["together" if is_apart else "peak"] / MB for t, run in runs.items()}
        beyond = {t: peaks[t] - run["loaded"] / MB for t, run in runs.items()}
        seconds = {t: round(run["seconds"]) for t, run in runs.items()}
        rows.append(
            [
                name,
                *map(spread, (peaks, beyond)),
                "yes" if median(peaks.values()) <= bound else "no",
                spread(seconds),
            ]
        )
    head = ["verb", "peak, MB", "beyond what is loaded, MB", "within the bound", "seconds"]
    counts, imported, loaded = (number(records[0][key] / MB) for key in ("counts", "imported", "loaded"))
    most = number(bound)
    before = f"""The counts are {counts} MB, so that the bound is {most} MB. Before a verb begins {loaded} MB
are in use: {imported} by packages, and the rest by the counts, the names of the cells and the fit.
"""
    left = f"\nNot measured: {'; '.join(missing)}.\n" if missing else ""
    return section(f"{TITLE}\n\n{INTRODUCTION}\n{before}{left}", table(head, rows), records)


INTRODUCTION = f"""Each verb of `zt.tl` on {N_CELLS:,} cells and 2,000 genes, in memory as compressed rows in
float32, in a process of its own that has read the file: the most that it has in use (`VmHWM`), packages
and counts included, beside one and a half times the counts and 500 MB. Nothing is installed but the package
and what it needs: anndata loads dask and xarray too where they are, which takes 20 to 40 MB more. No layers
are written, and the kernels have been compiled before. Epochs, restarts, draws and samples are few, as what
one takes is given back before the next: one epoch, one or two draws. With worker processes it is what all of
them have in use, files that they share, that of the counts among them, counted once. `meta` and `replicated`
see no counts, and `import_scvi` reads them as a fit does. A number without a range is of one run.
`tests/benchmarks/memory.py` measured this.
"""


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where files go, and the records, which are gone on from")
    parser.add_argument("--only", nargs="+", choices=VERBS, default=list(VERBS), help="these verbs")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(measure_here(arguments.path, **arguments.job)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        few, many = (fitted(folder, n_cells) for n_cells in (N_CELLS_BEFORE, N_CELLS))
        kept = folder / "memory.jsonl"
        records = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
        for turn, asked in itertools.product(range(arguments.turns), jobs(arguments.only)):
            job = asked | {"turn": turn}
            if not any(job.items() <= record.items() for record in records):
                measure(few, job)  # so that all is compiled
                records.append(measure(many, job))
                print(records[-1], flush=True)
                kept.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    PAGE.write_text(with_section(PAGE.read_text("utf-8"), TITLE, text(records)), encoding="utf-8")


if __name__ == "__main__":
    main()
