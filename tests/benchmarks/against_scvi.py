"""zinbtools against scvi-tools: the same matrices, split, architecture and threads, in turn.

    python tests/benchmarks/environments.py FOLDER --python python3.12 --only scvi
    python tests/benchmarks/against_scvi.py --scvi-python FOLDER/scvi/bin/python

runs every measurement in a process of its own, ours, theirs, ours, theirs, and writes docs/benchmarks.md.
``--only`` and ``--data`` choose some of them, ``--compiled`` has epochs of scvi-tools' compiled module too;
what they do not measure anew stays as it was measured last, so that a long run can be done in parts. Linux
only; nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import report
import scale
from tables import Record, with_rest

HERE = Path(__file__).parent
SIDES = ("ours", "theirs")
MODELS = ("nb", "zinb")
DATA = ("zheng", "cortex", "pbmc4k", "pbmc3k", "simulated")
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
IMPORTS = {
    "ours": ("import zinbtools", "from zinbtools.tl import fit_nb_zinb"),
    "theirs": ("import scvi",),
}
CELLS = (1_000, 5_000, 20_000, 50_000, 200_000)
GENES = (50, 200, 1_000, 5_000)


@dataclass
class Bench:
    """Starts the measurements and remembers what they found, on disk too."""

    pythons: dict[str, str]
    cache: Path
    beside: str = ""  # the other side, with its version
    records: list[Record] = field(default_factory=list)

    def run(self, measurement: str, side: str, threads: int = 1, **settings: Any) -> Record:
        """Measure once, in a fresh process; an older record of the same thing makes room."""
        job = {"measurement": measurement, "side": side, "threads": threads, **settings}
        if "data" in job:
            self.prepare(job["data"].partition("/")[0])
        start = time.perf_counter()
        if measurement == "import":
            found = self._import(side, job)
        else:
            worker = [str(HERE / "worker.py"), json.dumps(job | {"cache": str(self.cache)})]
            found = json.loads(self._python(side, threads, worker).splitlines()[-1])
        took = time.perf_counter() - start
        record = job | found | scale.commit() | {"beside": self.beside}
        # the first turn makes room for all its turns
        settled = ("epochs", "seconds", "n_fits") + (("turn",) if job.get("turn", 0) <= 0 else ())
        same = {key: value for key, value in job.items() if key not in settled}
        self.records = [r for r in self.records if {key: r.get(key) for key in same} != same]
        self.records.append(record)
        self.file.write_text("".join(json.dumps(r) + "\n" for r in self.records))
        short = {key: round(v, 4) for key, v in found.items() if isinstance(v, float)}
        print(f"{took:6.1f} s", *(f"{value}" for value in job.values()), short, flush=True)
        return record

    def prepare(self, name: str) -> None:
        """Put the counts in the cache; in a process of its own, so that this one stays small."""
        code = "import sys, pathlib, data; data.prepare(sys.argv[1], pathlib.Path(sys.argv[2]))"
        if not (self.cache / f"{name}.npz").exists():
            self._python("ours", 1, ["-c", code, name, str(self.cache)])

    @property
    def file(self) -> Path:
        """What was measured, a record a line."""
        return self.cache / "records.jsonl"

    def _import(self, side: str, job: dict[str, Any]) -> Record:
        start = time.perf_counter()
        self._python(side, job["threads"], ["-c", job["statement"]])
        return {"seconds": time.perf_counter() - start}

    def _python(self, side: str, threads: int, arguments: list[str]) -> str:
        settings = dict.fromkeys(THREAD_SETTINGS, str(threads))
        environment = os.environ | settings | {"PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [self.pythons[side], *arguments], env=environment, cwd=self.cache, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{side} failed with {arguments[-1]}:\n{done.stderr[-3000:]}")
        return done.stdout


def epoch(bench: Bench, options: argparse.Namespace) -> None:
    """Seconds per epoch."""
    for turn in range(options.runs):
        for threads in options.threads:
            for name in options.data:
                for model in MODELS:
                    for side in (*SIDES, "compiled") if options.compiled else SIDES:
                        bench.run(
                            "epoch", side, threads, data=name, model=model, turn=turn, seconds=options.seconds
                        )


def converge(bench: Bench, options: argparse.Namespace) -> None:
    """Time to the validation ELBOs, the last and the best, of an scvi-tools fit that stops early."""
    for turn in range(options.runs):
        for name in _some(options, "zheng", "cortex", "pbmc4k"):
            for model in MODELS:
                job: dict[str, Any] = {"data": name, "model": model, "turn": turn}
                fits = {side: bench.run("converge", side, **job) for side in SIDES}
                elbo = fits["theirs"]["validation_elbo"]
                for target, aim in {"last": elbo[-1], "best": max(elbo)}.items():
                    epochs = report.first_epoch(fits["ours"]["validation_elbo"], aim)
                    bench.run("reach", "ours", **job, target=target, epochs=epochs)


def restarts(bench: Bench, options: argparse.Namespace) -> None:
    """A hundred restarts of both models, whether they are as good as single fits, and their spread."""
    theirs = -(-5 // options.runs)
    for name in _some(options, "zheng"):
        for threads in options.threads:
            for turn in range(options.runs):
                bench.run("study", "ours", threads, data=name, turn=turn, n_fits=options.restarts)
                bench.run("study", "theirs", threads, data=name, turn=turn, n_fits=theirs)
        bench.run("singles", "ours", data=name, n_fits=20)
    for name in _some(options, "zheng", "cortex", "pbmc4k"):
        bench.run("spread", "ours", data=name, n_fits=10)


def memory(bench: Bench, options: argparse.Namespace) -> None:
    """Peak memory."""
    for turn in range(options.runs):
        for name in _some(options, "simulated"):
            for model in MODELS:
                for side in SIDES:
                    bench.run("memory", side, data=name, model=model, turn=turn)


def imports(bench: Bench, options: argparse.Namespace) -> None:
    """Time of the import statements."""
    for turn in range(-1, max(3, options.runs)):  # the first, -1, reads the disk and does not count
        for side in SIDES:
            for statement in IMPORTS[side]:
                bench.run("import", side, statement=statement, turn=turn)


def growth(bench: Bench, options: argparse.Namespace) -> None:
    """Seconds per epoch as cells and genes grow."""
    sizes = [(n, 2_000) for n in CELLS] + [(10_000, n) for n in GENES]
    for n_obs, n_vars in sizes if _some(options, "simulated") else ():
        for side in SIDES:
            name = f"simulated/{n_obs}x{n_vars}"
            bench.run("epoch", side, data=name, model="nb", turn=0, seconds=options.seconds)


MEASUREMENTS = {
    "epoch": epoch,
    "import": imports,
    "memory": memory,
    "growth": growth,
    "restarts": restarts,
    "converge": converge,
}


def _some(options: argparse.Namespace, *names: str) -> list[str]:
    return [name for name in names if name in options.data]


def _read(file: Path) -> Iterable[Record]:
    return map(json.loads, file.read_text().splitlines()) if file.exists() else ()


def main() -> None:
    """Measure, and write the report after each kind of measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scvi-python", required=True, help="interpreter that has scvi-tools")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--compiled", action="store_true", help="epochs with torch.compile; needs g++")
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3.0, help="that an epoch is measured over, at least")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "zinbtools-benchmarks"))
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "docs" / "benchmarks.md")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    # not resolved: the links in an environment say which environment it is
    theirs = os.path.abspath(options.scvi_python)
    pythons = {"ours": sys.executable, "theirs": theirs, "compiled": theirs}
    bench = Bench(pythons, options.cache.resolve())
    bench.records = list(_read(bench.file))
    print(f"load average before the start: {os.getloadavg()[0]:.2f}, which should be near 0")
    for side in SIDES:
        found = bench.run("versions", side)
    bench.beside = f"scvi-tools {found['scvi-tools']}"
    for name, measure in MEASUREMENTS.items():
        if name in options.only:
            measure(bench, options)
            options.out.write_text(with_rest(report.page(bench.records), options.out, scale.TITLE))
    print(options.out.read_text())


if __name__ == "__main__":
    main()
