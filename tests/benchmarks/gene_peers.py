"""Fits and tests gene by gene: zinbtools beside packages that fit NBs or ZINBs, the same counts, in turn.

    python tests/benchmarks/environments.py FOLDER --python python3.12 --only genes
    python tests/benchmarks/gene_peers.py --python FOLDER/genes/bin/python --out gene_peers.jsonl \\
        --write docs/benchmarks.md

measures what is not in ``--out`` yet, every measurement in a process of its own, ours, theirs, ours, theirs,
and writes the section of the page. Linux only. The counts are read from ``ZINBTOOLS_DATA``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import data
import jsonl
import numpy as np
from against_scvi import THREAD_SETTINGS
from report import machine
from scale import commit
from scipy import sparse, stats
from tables import Record, Turns, by_turn, chosen, number, ratio, section, spread, table, values, with_section

HERE = Path(__file__).parent
DATA = ("pbmc4k", "cortex")
N_GENES, AT_LEAST = 2_000, 20  # of a data set, the most variable; cells that a gene is seen in
PEERS = {  # whether the package knows an offset, and what it fits
    "statsmodels": (True, ("nb", "zinb")),
    "pydeseq2": (True, ("nb",)),
    "delnx": (True, ("nb",)),
    "tensorzinb": (False, ("nb", "zinb")),
}
TESTS = ("formula", "zero_test")  # ours, beside M3Drop's
HIGHER = 1e-3  # nats


def prepare(name: str, n_genes: int, folder: Path) -> dict[str, str]:
    """Write all counts of a data set, and those of genes that are spread over its means with the depths."""
    adata = data.load(name, N_GENES)
    counts = adata.X.toarray()
    seen = np.flatnonzero((counts > 0).sum(axis=0) >= AT_LEAST)
    order = seen[np.argsort(counts[:, seen].mean(axis=0), kind="stable")]
    genes = order[np.linspace(0, len(order) - 1, n_genes).astype(int)]
    depth = counts.sum(axis=1, dtype=np.float64)
    paths = {"counts": str(folder / f"{name}.npz"), "file": str(folder / f"{name}.h5ad")}
    np.savez(paths["counts"], counts=counts[:, genes].astype(np.int64), depth=depth / depth.mean())
    whole = ad.AnnData(sparse.csr_matrix(counts[:, seen]))
    whole.var_names = adata.var_names[seen]
    whole.write_h5ad(paths["file"])
    return paths


def jobs(arguments: argparse.Namespace) -> Iterator[Record]:
    """All measurements, each of ours before the one of theirs that it stands beside."""
    for turn in range(arguments.turns):
        for name in arguments.data:
            place = {"turn": turn, "data": name}
            for peer in arguments.peers:
                offset, families = PEERS[peer]
                for family in families:
                    of_fit = {"measurement": "fit", **place, "peer": peer, "family": family, "offset": offset}
                    for side, package in (("ours", "zinbtools"), ("theirs", peer)):
                        yield {**of_fit, "side": side, "package": package, "n_genes": arguments.genes}
            for package in (*TESTS, "m3drop"):
                side = "theirs" if package == "m3drop" else "ours"
                yield {"measurement": "test", **place, "side": side, "package": package}
    for side in ("ours", "theirs"):
        yield {"measurement": "versions", "side": side}


def run(job: Record, python: str) -> Record:
    """Measure in a process of its own, on one thread."""
    settings = dict.fromkeys((*THREAD_SETTINGS, "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    paths = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [python, str(HERE / "gene_fits.py"), json.dumps(job)],
        env=os.environ | settings | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{job}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def text(records: list[Record]) -> str:
    """The section."""
    versions = {side: chosen(records, measurement="versions", side=side)[-1] for side in ("ours", "theirs")}
    known = ("measurement", "side", "date", "commit")
    names = dict.fromkeys(name for side in versions.values() for name in side if name not in known)
    of_packages = table(
        ["", "zinbtools' side", "the others' side"],
        [(name, *(versions[side].get(name, "") for side in versions)) for name in names],
    )
    fits, tests = (chosen(records, measurement=of) for of in ("fit", "test"))
    n_genes = ", ".join(sorted({str(r["n_genes"]) for r in fits}))
    introduction = INTRODUCTION.format(genes=n_genes, at_least=AT_LEAST, most=f"{N_GENES:,}")
    parts = [f"Machine: {machine()}.\n", of_packages, seconds(fits), LIKELIHOOD, likelihoods(fits)]
    parts += [CALLS, calls(fits), DROPOUTS, dropout_tests(tests)]
    return section(f"{TITLE}\n\n{introduction}", "\n".join(parts), [*fits, *tests])


def pairs(fits: list[Record]) -> Iterator[tuple[list[str], dict[int, Record], dict[int, Record]]]:
    """The runs of ours and of theirs, by turn, of each row of a table."""
    for name in dict.fromkeys(r["data"] for r in fits):
        for peer, (_, families) in PEERS.items():
            for family in families:
                where = {"data": name, "peer": peer, "family": family}
                ours, theirs = (by_turn(fits, side=side, **where) for side in ("ours", "theirs"))
                if ours and theirs:
                    yield [name, family.upper(), peer], ours, theirs


def seconds(fits: list[Record]) -> str:
    """CPU milliseconds of a gene."""
    rows = []
    for names, *runs in pairs(fits):
        ours, theirs = (_each(side, "seconds") for side in runs)
        rows.append([*names, spread(ours), spread(theirs), ratio(ours, theirs), spread(_first(runs[1]))])
    head = ["data", "model", "peer", "zinbtools, ms", "peer, ms", "ratio", "the peer's first call, s more"]
    return table(head, rows)


def _each(runs: dict[int, Record], key: str) -> Turns:
    return {turn: 1e3 * run[key] / run["n_genes"] for turn, run in runs.items()}


def _first(runs: dict[int, Record]) -> Turns:
    return {turn: max(run["first"] - run["seconds"], 0.0) for turn, run in runs.items()}


def likelihoods(fits: list[Record]) -> str:
    """By how much ours are above theirs; those of the first turn, as every turn has the same."""
    rows, all_higher, n_fits = [], 0, 0
    for names, ours, theirs in pairs(fits):
        more = _of(ours) - _of(theirs)
        found = more[~np.isnan(more)]
        higher, lower = (found < -HIGHER).sum(), (found > HIGHER).sum()
        figures = [f"{of(found):.2g}" for of in (np.median, np.min, np.max)]
        rows.append([*names, *figures, higher, lower, len(more) - len(found)])
        all_higher, n_fits = all_higher + higher, n_fits + len(found)
    head = ["data", "model", "peer", "median", "smallest", "largest"]
    found_in_all = (
        f"Of the peers' {n_fits:,} fits, {all_higher} are higher than zinbtools' by more than {HIGHER:g}.\n"
    )
    return table([*head, "peer higher", "zinbtools higher", "no fit"], rows) + "\n" + found_in_all


def _of(runs: dict[int, Record]) -> np.ndarray:
    return np.array(runs[min(runs)]["log_likelihood"], dtype=float)


def calls(fits: list[Record]) -> str:
    """Genes whose likelihood ratio of ZINB and NB says that there are more zeros."""
    rows = []
    for name in dict.fromkeys(r["data"] for r in fits):
        for peer, (_, families) in PEERS.items():
            by_side = []
            for side in ("ours", "theirs"):
                where = {"data": name, "peer": peer, "side": side}
                found = {family: by_turn(fits, family=family, **where) for family in families}
                if len(families) == 2 and all(found.values()):
                    gain = _of(found["zinb"]) - _of(found["nb"])
                    by_side.append(_called(np.where(gain > 0, stats.chi2.sf(2 * gain, 1) / 2, 1.0)))
            if len(by_side) == 2:
                rows.append([name, peer, *_shared(*by_side)])
    return table(["data", "peer", "zinbtools", "peer", "both"], rows)


def dropout_tests(tests: list[Record]) -> str:
    """Seconds and calls of the tests of zeros."""
    rows = []
    for name in dict.fromkeys(r["data"] for r in tests):
        theirs = by_turn(tests, data=name, package="m3drop")
        for package, label in (("formula", "`genes.py`'s NBDrop"), ("zero_test", "`zt.tl.zero_test`")):
            ours = by_turn(tests, data=name, package=package)
            if not ours or not theirs:
                continue
            spent = [values(side, "seconds") for side in (ours, theirs)]
            p, q = (np.array(side[min(side)]["pval"]) for side in (ours, theirs))
            largest = f"{np.max(np.abs(p - q)):.2g}"
            same = number(float(stats.spearmanr(p, q).statistic))
            shared = _shared(_called(p), _called(q))
            rows.append([name, len(p), label, *map(spread, spent), ratio(*spent), *shared, largest, same])
    head = ["data", "genes", "zinbtools'", "s", "M3Drop, s", "ratio", "calls", "M3Drop's calls", "both"]
    return table([*head, "largest difference of p", "rank correlation of p"], rows)


def _called(pval: np.ndarray) -> np.ndarray:
    return stats.false_discovery_control(pval) <= 0.05


def _shared(ours: np.ndarray, theirs: np.ndarray) -> list[int]:
    return [int(of.sum()) for of in (ours, theirs, ours & theirs)]


TITLE = "## Gene by gene"
INTRODUCTION = """NB and ZINB of every gene, mean by library size and one dispersion and dropout probability
each, by zinbtools' `fit_counts`, on which `tl.zero_test` and `tl.zi_scores` rest, and by packages that have
such a model: statsmodels (`NegativeBinomial` and `ZeroInflatedNegativeBinomialP`, up to 1,000 iterations
instead of 35), pydeseq2 (dispersions of single genes, before shrinkage; `min_mu=1e-6`), delnx (`nb_fit`
without shrinkage and adjustment) and tensorzinb-plusplus, which knows no offset: beside it, zinbtools has
none either. The same {genes} genes, spread evenly over the means of the {most} most variable that {at_least}
or more cells have, on one core; every measurement in a process of its own, in turn. Times are CPU
milliseconds per gene of a second call, as the machine was shared with other jobs, and ratios those within a
turn; what the first call takes more is compilation and imports. zinbtools fits the NB along with a ZINB.
`tests/benchmarks/gene_peers.py` measured this.
"""
LIKELIHOOD = f"""Log likelihood of each gene, nats, zinbtools' less the peer's, both computed from the
estimates by one formula in double precision; and how many genes are higher by more than {HIGHER:g}. Where a
peer's estimates are not numbers, or impossible, there is no fit.
"""
CALLS = """Genes that the likelihood ratio of ZINB and NB calls at a false discovery rate of 5 %; what has no
fit is not called:
"""
DROPOUTS = """M3Drop's own package tests the zeros of all genes against an NB whose size is a smooth function
of the mean (`RunFeatureSelectionCPU`, from file to file). `genes.py` has its formula, and `tl.zero_test`
(here with `negligible_dropout=0`) asks the same of each gene's own NB; both read the same file. CPU seconds
of a second call:
"""


def main() -> None:
    """Measure what is missing, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--python", help="interpreter that has the peers; without it nothing is measured")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--genes", type=int, default=100)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--out", type=Path, default=Path("gene_peers.jsonl"))
    parser.add_argument("--write", type=Path, help="the page that has the section")
    arguments = parser.parse_args()
    records = jsonl.read(arguments.out)
    if arguments.python:
        measure(arguments, records)
    if arguments.write:
        page = with_section(arguments.write.read_text("utf-8"), TITLE, text(records))
        arguments.write.write_text(page, "utf-8")


def measure(arguments: argparse.Namespace, records: list[Record]) -> None:
    """Append what is not among the records yet."""
    pythons = {"ours": sys.executable, "theirs": os.path.abspath(arguments.python)}
    with tempfile.TemporaryDirectory() as folder:
        prepared: dict[str, Any] = {}
        for job in jobs(arguments):
            if any(job.items() <= record.items() for record in records):
                continue
            if "data" in job and job["data"] not in prepared:
                prepared[job["data"]] = prepare(job["data"], arguments.genes, Path(folder))
            found = run(job | prepared.get(job.get("data"), {}), pythons[job["side"]])
            record = job | found | commit()
            print(*job.values(), {k: v for k, v in found.items() if isinstance(v, float)}, flush=True)
            records.append(record)
            jsonl.add(arguments.out, record)


if __name__ == "__main__":
    main()
