"""From a file of counts to the report: how long `zinbtools study` takes, on what, and how that grows.

    python tests/benchmarks/answer.py --folder SOMEWHERE --records answers.jsonl --turns 3

runs the command in processes of its own, by all threads, and keeps a record of each run; ``--only`` and
``--growth`` run parts of it.

    python tests/benchmarks/answer.py --records answers.jsonl --write docs/benchmarks.md

puts the tables into the page, and the picture beside it. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import linear_regression, median

import anndata as ad
import jsonl
import matplotlib.pyplot as plt
import numpy as np
from data import SHARED
from report import machine
from scale import commit, simulated
from tables import Record, by_turn, number, section, spread, table, values, with_section

FILES = {
    "pbmc3k": "pbmc3k",
    "pbmc4k": "pbmc4k_hvg2000",
    "cortex": "cortex_zeisel2015",
    "kang": "kang2018_pbmc_ifnb2800",
}
MOST_GENES = 2_000  # of pbmc3k and cortex, the most variable
SIMULATED = (20_000, 200_000)
CELLS = (1_000, 4_000, 20_000, 80_000, 200_000, 1_000_000)
GENES, OF_CELLS = (50, 200, 1_000, 5_000, 20_000), 4_000
STAGES = {
    "training": r"NB|ZINB",
    "held-out likelihoods": r"held-out",
    "predictive checks": r"predictive",
}
# what the progress says of a stage that is over: its name, and how long it took
OVER = re.compile(r"^\d\d:\d\d:\d\d (.+?): .*100 %, (?:(\d+):)?(\d+):(\d\d) so far$", re.MULTILINE)


def study(path: Path, cache: Path, n_top_genes: int | None) -> Record:
    """Run the command; its time, that of its children and the stages that its progress tells of."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "zinbtools.cli", "study", str(path), "--out", f"{folder}/study"]
        if n_top_genes is not None:
            command += ["--n-top-genes", str(n_top_genes)]
        before, start = os.times(), time.perf_counter()
        done = subprocess.run(
            command,
            env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
            capture_output=True,
            text=True,
        )
        wall, after = time.perf_counter() - start, os.times()
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        verdict = json.loads(Path(folder, "study", "summary.json").read_text("utf-8"))["verdict"]["answer"]
    told = {name: 0.0 for name in STAGES}
    for name, hours, minutes, seconds in OVER.findall(done.stdout):
        for stage, start_of in STAGES.items():
            if re.match(start_of, name):
                told[stage] += 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
    cpu = sum(getattr(after, of) - getattr(before, of) for of in ("children_user", "children_system"))
    return {"seconds": wall, "seconds_cpu": cpu, "verdict": verdict, **told}


def cut(folder: Path, n_genes: int) -> Path:
    """Simulated counts of a few thousand cells and so many genes: blocks of 2,000, and the first of one."""
    path = folder / f"{OF_CELLS}_{n_genes}.h5ad"
    if not path.exists():
        whole = ad.read_h5ad(simulated(folder, OF_CELLS))
        parts = []
        for block in range(math.ceil(n_genes / whole.n_vars)):
            part = whole[np.random.default_rng(block).permutation(OF_CELLS)] if block else whole
            part = part[:, : n_genes - block * whole.n_vars].copy()
            part.obs_names, part.var_names = whole.obs_names, [f"{block}_{name}" for name in part.var_names]
            parts.append(part)
        ad.concat(parts, axis=1).write_h5ad(path)
    return path


def jobs(folder: Path, arguments: argparse.Namespace) -> Iterator[Record]:
    """All runs that are asked for: of real and simulated files, cold and warm, or of many sizes, warm."""

    def is_asked(*names: str | int) -> bool:
        return not arguments.only or bool({str(name) for name in names} & set(arguments.only))

    if arguments.growth:
        for n in filter(is_asked, CELLS):
            yield job(simulated(folder, n), "warm", 0, cells=n, genes=2_000)
        for n in filter(is_asked, GENES):
            yield job(cut(folder, n), "warm", 0, cells=OF_CELLS, genes=n)
        return
    for turn in range(arguments.turns):
        for state in ("cold", "warm"):
            for name in filter(is_asked, FILES):
                few = MOST_GENES if name in ("pbmc3k", "cortex") else None
                yield job(SHARED / "data" / f"{FILES[name]}.h5ad", state, turn, data=name, top=few)
            for n in SIMULATED:
                if is_asked(name := f"{n:,} cells", n):
                    yield job(simulated(folder, n), state, turn, data=name)


def job(path: Path, state: str, turn: int, top: int | None = None, **names: str | int) -> Record:
    """Give what is to be run, and what to call it."""
    return names | {"path": str(path), "state": state, "turn": turn, "top": top}


def text(records: list[Record]) -> str:
    """The section."""
    answers = [r for r in records if "data" in r]
    rows = []
    for name in dict.fromkeys(r["data"] for r in answers):
        cold, warm = (by_turn(answers, data=name, state=state) for state in ("cold", "warm"))
        first, later = values(cold, "seconds"), values(warm, "seconds")
        more = {turn: first[turn] - later[turn] for turn in first.keys() & later.keys()}
        middle = {stage: median(values(warm, stage).values()) for stage in STAGES} if warm else {}
        rest = median(later.values()) - sum(middle.values()) if warm else math.nan
        rows.append([name, *map(spread, (later, first, more)), *map(number, middle.values()), number(rest)])
    head = ["data", "later call, s", "first call, s", "more", *STAGES, "all else"]
    return section(
        f"{TITLE}\n\n{INTRODUCTION}\nMachine: {machine()}.\n", table(head, rows) + growth(records), records
    )


def growth(records: list[Record]) -> str:
    """Times by the number of cells and of genes, and their slopes."""
    lines = []
    for size, other, fixed in (("cells", "genes", 2_000), ("genes", "cells", OF_CELLS)):
        found = _of_sizes(records, size, other, fixed)
        if len(found) < 2:
            continue
        n, seconds = [r[size] for r in found], [r["seconds"] for r in found]
        slope = linear_regression([math.log(x) for x in n], [math.log(s) for s in seconds]).slope
        cpu = [number(r["seconds_cpu"]) for r in found]
        rows = zip((f"{x:,}" for x in n), map(number, seconds), cpu, strict=True)
        lines.append(table([f"{size}, of {fixed:,} {other}", "s", "CPU s"], rows))
        lines.append(f"Slope of the logarithms: {slope:.2f}.\n")
    return "\n" + GROWTH + "\n" + "\n".join(lines) if lines else ""


def _of_sizes(records: list[Record], size: str, other: str, fixed: int) -> list[Record]:
    found = [record for record in records if record.get(other) == fixed and size in record]
    return sorted(found, key=lambda record: record[size])


TITLE = "## From a file to the report"
INTRODUCTION = """`zinbtools study FILE` with its defaults, which is the verdict with all that it rests on,
the genes and the report: seconds from the start of the process to its end, by all threads. The first call
finds no compiled code on the machine (an empty `NUMBA_CACHE_DIR`). The stages are those of the later call, as
its progress tells them; all else is what is asked of single genes, imports, reading, the plots and the files.
A number without a range is of one run. `tests/benchmarks/answer.py` measured this.
"""
GROWTH = """![Seconds by cells and genes](_static/growth.svg)

The later call by the number of cells and of genes: simulated counts of twenty cell types. Above 20,000 cells
the verdict draws some, and more where these leave it open ([how](scaling.md)).
"""


def draw(records: list[Record], path: Path) -> None:
    """Seconds by cells and by genes, on logarithmic axes."""
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.8), sharey=True, layout="constrained")
    for ax, (size, other, fixed) in zip(
        axes, (("cells", "genes", 2_000), ("genes", "cells", OF_CELLS)), strict=True
    ):
        found = _of_sizes(records, size, other, fixed)
        ax.loglog([r[size] for r in found], [r["seconds"] for r in found], "o-", color="#1b6ca8")
        ax.set_xlabel(f"{size} (of {fixed:,} {other})")
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("file to report (s)")
    with plt.rc_context({"svg.hashsalt": path.name}):  # so that the same records give the same file
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, or write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where simulated files go; 2 GB")
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--growth", action="store_true", help="of many sizes, instead")
    parser.add_argument("--only", nargs="+", default=[], help="data sets, or numbers of cells or genes")
    parser.add_argument("--write", type=Path, help="the page, instead")
    arguments = parser.parse_args()
    kept = arguments.records
    records = jsonl.read(kept)
    if arguments.write is not None:
        page = with_section(arguments.write.read_text("utf-8"), TITLE, text(records))
        arguments.write.write_text(page, "utf-8")
        if any("cells" in record for record in records):
            draw(records, arguments.write.parent / "_static" / "growth.svg")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, warm = arguments.folder or Path(temporary), Path(temporary, "cache")
        for asked in jobs(folder, arguments):
            if any(asked.items() <= record.items() for record in records):
                continue
            is_cold = asked["state"] == "cold"
            cache = Path(temporary, "cold") if is_cold else warm
            if not is_cold and not warm.exists():
                study(Path(asked["path"]), warm, asked["top"])
            record = asked | study(Path(asked["path"]), cache, asked["top"])
            if is_cold:
                shutil.rmtree(warm, ignore_errors=True)
                cache.rename(warm)  # what was compiled is that of the later calls
            record |= commit()
            print(record, flush=True)
            records.append(record)
            jsonl.add(kept, record)


if __name__ == "__main__":
    main()
