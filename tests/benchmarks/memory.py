"""The peak memory of every verb of `zt.tl` on many cells whose counts are in memory.

    python tests/benchmarks/memory.py --folder SOMEWHERE_WITH_1_GB

simulates counts, fits both models to them once, measures each verb in a process of its own, and writes a
section of docs/benchmarks.md. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
from scale import commit
from tables import Record

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
TITLE = "## Memory of every verb"
N_CELLS = 200_000
MB = 1e6
EVERY = 0.1  # seconds from one look at the memory of all processes to the next
OF_COUNTS, BESIDE = 1.5, 500 * MB  # what a verb may take

_BRIEF: dict[str, Any] = {"max_epochs": 1, "progress": False}
_FIT = _BRIEF | {"n_draws": 1, "layers": ()}
_ONCE = _FIT | {"n_restarts": 1, "folds": 1, "n_samples": 2, "n_null": 2}
_NEW = {"key_added": "new"}

# Epochs, restarts, draws and samples are few: what one takes is given back before the next. Of those verbs
# that have ``n_jobs``, each is measured with one, two threads and two processes.
VERBS: dict[str, tuple[str, dict[str, Any]]] = {
    "fit_nb_zinb": ("fit_nb_zinb", _FIT | _NEW),
    "marginal_ll": ("marginal_ll", {"n_samples": 5, "progress": False}),
    "ppc": ("ppc", {"n_samples": 2, "n_null": 1, "progress": False}),
    "ppc, residuals": ("ppc", {"checks": "pit", "progress": False}),
    "zi_scores": ("zi_scores", {"progress": False}),
    "zi_scores, predictive": ("zi_scores", {"method": "predictive", "n_samples": 2}),
    "zi_scores, reconstruction": ("zi_scores", {"method": "reconstruction", "n_samples": 2}),
    "zero_test": ("zero_test", {"families": ["nb", "zinb"]}),
    "explain_zeros": ("explain_zeros", {"progress": False}),
    "zi_replication": ("zi_replication", {"progress": False}),
    "reads_per_molecule": ("reads_per_molecule", {}),
    "reads_per_molecule, of a fit": ("reads_per_molecule", {"of_fit": True}),
    "embed": ("embed", {}),
    "consequences": ("consequences", {}),
    "power": ("power", {}),
    "model_selection": ("model_selection", _ONCE | _NEW),
    "model_selection, all cells": ("model_selection", _ONCE | _NEW | {"cells": "all"}),
    "tune": ("tune", _BRIEF | _NEW | {"max_evals": 1, "n_samples": 2}),
}
SIDE_BY_SIDE = ("fit_nb_zinb", "marginal_ll", "tune")


def prepare(path: Path) -> None:
    """Fit both models, and test the genes; what a verb needs is in the file afterwards."""
    import zinbtools as zt

    adata = ad.read_h5ad(path)
    zt.tl.fit_nb_zinb(adata, n_restarts=2, **_FIT)
    adata.write_h5ad(path)


def measure_here(path: Path, verb: str, n_jobs: int, executor: str) -> Record:
    """Run a verb in this process, and say what it has used."""
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
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(path: Path, job: Record) -> Record:
    """In a process of its own; what it and its children hold together is looked at meanwhile."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, __file__, "--folder", str(path), "--job", json.dumps(job)],
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        text=True,
    )
    together = 0.0
    while process.poll() is None:
        together = max(together, sum(map(_share, _tree(process.pid))))
        time.sleep(EVERY)
    assert process.stdout is not None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    record = job | json.loads(process.stdout.read().splitlines()[-1]) | {"together": together} | commit()
    print(record, flush=True)
    return record


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has ended
            continue
        for child in map(int, children):
            yield from _tree(child)


def _share(pid: int) -> float:
    """Bytes of a process, of pages that several have its share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--n-cells", type=int, default=N_CELLS)
    parser.add_argument("--only", nargs="+", default=list(VERBS))
    parser.add_argument("--job", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(measure_here(arguments.folder, **arguments.job)))
        return
    path = arguments.folder / f"{arguments.n_cells}_fit.h5ad"
    for verb in arguments.only:
        for n_jobs, executor in [(1, "threads")] + (
            [(2, "threads"), (2, "processes")] if verb in SIDE_BY_SIDE else []
        ):
            r = measure(path, {"verb": verb, "n_jobs": n_jobs, "executor": executor})
            print(
                verb,
                n_jobs,
                executor,
                *(f"{k}={r[k] / 1e6:.0f}" for k in ("counts", "imported", "loaded", "peak", "together")),
                f"s={r['seconds']:.0f}",
                "bound",
                1.5 * r["counts"] / 1e6 + 500,
                flush=True,
            )


if __name__ == "__main__":
    main()
