"""Reads per molecule, verdicts and genes of counts of which it is known whether they were copied.

``python tests/benchmarks/reads.py --data FOLDER --out records.jsonl [--only WORD ...]`` adds a line for each
measurement that is not there yet and prints it:

``level``
    Reads per molecule over the true ones, with the interval, by counts alone and around the NB's means.
``told``
    Counts of molecules that are said to be reads: what the NB of copied molecules gains.
``asked``
    Counts of which nothing is said, with and without a dropout of molecules, and macosko's spike-ins.
``power``
    Genes with and without a dropout of molecules that are called in the molecules; in their reads, where all
    is known of the copies, which bounds what reads can tell; and with copies by the reads.
``shapes``
    The same of genes whose copies have shapes of their own, around the NB's means, with one shape for all
    and with own shapes.
``causes``
    Causes of the zeros of genes: of UMIs and of the same UMIs copied by simulation; of simulated molecules of
    which none is lost, and of their reads, of which nothing is said; and of macosko's spike-ins.
``time``
    CPU seconds of the genes of reads, 1,000 genes in 2,000 cells.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import jsonl
import numpy as np
import rivals
from anndata import AnnData
from scipy import sparse

import zinbtools as zt
from zinbtools.stats import zero_inflation
from zinbtools.stats.cell_copies import Cells
from zinbtools.stats.count_models import Copies, fit_counts
from zinbtools.stats.reads import reads_per_molecule
from zinbtools.tl import _conditional

SHAPES = ("geometric", "negative binomial", "poisson", "lognormal", "pcr")
UMIS = {
    "cortex": "cortex_zeisel2015",
    "kang": "kang2018_pbmc_ifnb2800",
    "pbmc3k": "pbmc3k",
    "pbmc4k": "pbmc4k_hvg2000",
    "pbmc68k": "pbmc68k_reduced",
}
DROPOUTS = ("3% dropout", "8% dropout", "20% dropout", "8% dropout in a third", "20% dropout in one type",
            "dropout by quality", "theta by type, sd 0.9", "theta by cell, sd 0.9")  # fmt: skip
N_CELLS, N_GENES = 1500, 400
QUICK: dict[str, Any] = {"folds": 1, "n_restarts": 1, "n_samples": 10, "n_null": 5, "metrics": ("nll",)}

Measurement = Callable[[], dict[str, object]]


def counts_of(path: Path, layer: str | None = None, spike_ins: bool = False) -> AnnData:
    adata = anndata.read_h5ad(path)
    if "spike_in" in adata.var and not spike_ins:
        adata = adata[:, ~adata.var["spike_in"].to_numpy(dtype=bool)]
    counts = sparse.csr_matrix(adata.X if layer is None else adata.layers[layer]).astype(np.float32)
    return AnnData(counts)


def some_cells(adata: AnnData, n_cells: int) -> AnnData:
    random = np.random.default_rng(0)
    return adata[np.sort(random.choice(adata.n_obs, min(n_cells, adata.n_obs), replace=False))]


def most_variable(adata: AnnData, n_genes: int = N_GENES) -> AnnData:
    counts = adata.X.tocsr()
    of_genes = np.asarray(counts.multiply(counts).mean(0) - np.square(counts.mean(0))).ravel()
    chosen = np.sort(np.argsort(-of_genes)[:n_genes])
    found = adata[:, chosen]
    return found[np.asarray(found.X.sum(1)).ravel() > 0].copy()


def cortex_like(folder: Path, n_genes: int, variable: bool, **how: Any) -> AnnData:
    cortex = some_cells(counts_of(folder / "cortex_zeisel2015.h5ad"), 700 if not variable else N_CELLS)
    detected = np.asarray((cortex.X > 0).sum(0)).ravel()
    best = cortex[:, np.sort(np.argsort(-detected)[:n_genes])].copy()
    return zt.simulate.amplify(most_variable(cortex, n_genes) if variable else best, copies=15, rng=1, **how)


def shape(name: str) -> AnnData:
    molecules = zt.simulate.gamma_poisson(600, 500, means=np.geomspace(0.05, 20, 500), n_types=3, rng=4)
    return zt.simulate.amplify(molecules, copies=15, distribution=name, shape=0.3, cell_sd=0.4, rng=1)


def ziegenhain(folder: Path, protocol: str) -> AnnData:
    path = folder / f"ziegenhain2017_{protocol}_reads_and_umis.h5ad"
    adata = counts_of(path, "reads")
    adata.layers["molecules"] = counts_of(path, "umi").X
    return adata


def level(make: Callable[[], AnnData], fitted: bool = True) -> dict[str, object]:
    """Over the truth, if that is known."""
    adata = make()
    true, found = 1.0, {}
    if "molecules" in adata.layers:
        reads, molecules = (np.asarray(of.sum(1)).ravel() for of in (adata.X, adata.layers["molecules"]))
        true = float(reads.sum() / molecules.sum())
    if fitted:
        zt.tl.fit_nb_zinb(adata, models="nb", rng=0, n_restarts=1, n_jobs=1, progress=False)
    for name, options in {"alone": {}, "of_fit": {"of_fit": True}}.items():
        if name == "of_fit" and not fitted:
            continue
        start = time.process_time()
        zt.tl.reads_per_molecule(adata, **options)
        row = zt.get.reads_per_molecule_df(adata).iloc[0]
        ends = [round(float(row[column]) / true, 3) for column in ("reads_per_molecule", "low", "high")]
        found[name] = {"level": ends, "seconds": round(time.process_time() - start, 1)}
        if "molecules" in adata.layers:
            logs = np.log(adata.obs["reads_per_molecule"].to_numpy()), np.log(reads / molecules)
            found[name]["correlation"] = round(float(np.corrcoef(*logs)[0, 1]), 3)
    return {"true": true, **found}


def verdict(make: Callable[[], AnnData], counts: str = "auto", **options: Any) -> dict[str, object]:
    adata, start = make(), time.process_time()
    zt.tl.model_selection(adata, counts=counts, n_jobs=1, progress=False, **options)
    found = zt.get.verdict(adata)
    rows = found.rivals.set_index("model")
    columns = ["gain", "gain_low", "gain_high", "over_zinb", "zinb_gain", "zinb_low", "zinb_high"]
    copied = (
        rows.loc["nb-amplified", columns].astype(float).round(2).tolist()
        if "nb-amplified" in rows.index
        else []
    )
    return {
        "verdict": found.verdict,
        "explained_by": found.explained_by,
        "difference": round(float(rows["zinb_gain"].iloc[0]), 2),
        "rope": round(float(found.differences["rope"].iloc[0]), 2),
        "amplified": copied,
        "reads_per_molecule": adata.uns["zinbtools"]["model_selection"].get("reads_per_molecule"),
        "called": int((adata.var["zi_call"] == "zero-inflated").sum()),
        "seconds": round(time.process_time() - start),
    }


def with_dropout(pi: float, seed: int) -> AnnData:
    """Molecules of 300 genes in 900 cells of one type, lost in 90 of the genes."""
    base = zt.simulate.gamma_poisson(900, 300, means=np.geomspace(0.3, 8, 300), n_types=1, rng=seed)
    return zt.simulate.mixed(0.3, base=base, inflation=zt.simulate.Uniform(pi), rng=seed)


def power(pi: float, distribution: str, seed: int) -> dict[str, object]:
    """Around known depths of the molecules, and the totals of the reads."""
    lost = with_dropout(pi, seed)
    reads = zt.simulate.amplify(lost, copies=15, distribution=distribution, shape=0.3, rng=seed + 1)
    inflated = reads.var["is_zero_inflated"].to_numpy(dtype=bool)
    depth = np.asarray(lost.layers["true_counts"].sum(1)).ravel().astype(float)
    total = np.asarray(reads.X.sum(1)).ravel().astype(float)
    start = time.process_time()
    found = reads_per_molecule(Cells.around(sparse.csr_array(reads.X))).for_genes
    seconds = time.process_time() - start
    shape = {"geometric": 1.0, "negative binomial": 0.3, "poisson": 1e6}[distribution]
    mean = reads.obs["copies_per_molecule"].to_numpy()
    known = Copies(mean, np.full(len(mean), shape), 0.2)
    asked = {
        "molecules": (lost.X, depth, None),
        "known": (reads.X, depth * mean, known),
        "found": (reads.X, total, found),
    }
    called = {}
    for name, (counts, means, copies) in asked.items():
        fits = fit_counts(counts, means, families=["zinb"], negligible_dropout=0.01, copies=copies)
        pvals = zero_inflation.boundary_pval(zero_inflation.dropout_likelihood_ratio(fits))
        seen = np.asarray((counts > 0).sum(0)).ravel()
        chosen = zero_inflation.dropout_pval_adj(pvals, seen) <= 0.05
        called[name] = [int(chosen[inflated].sum()), int(chosen[~inflated].sum())]
    errors = np.log(found.mean / mean)
    return {**called, "error_of_cells": round(float(errors.std()), 3), "seconds": round(seconds, 1)}


def own_shapes(spread: float) -> dict[str, object]:
    """Shapes of ten groups of genes, log-normal about .5; a dropout of .2 in three genes of ten."""
    lost, groups = with_dropout(0.2, 51), []
    of_gene = np.arange(lost.n_vars) % 10
    for group, z in enumerate(np.random.default_rng(51).standard_normal(10)):
        how = {"distribution": "negative binomial", "shape": 0.5 * np.exp(spread * z)}
        groups.append(zt.simulate.amplify(lost[:, of_gene == group].copy(), copies=15, rng=52, **how))
    reads = anndata.concat(groups, axis=1, merge="same")
    inflated = reads.var["is_zero_inflated"].to_numpy(dtype=bool)
    zt.tl.fit_nb_zinb(reads, models="nb", rng=0, n_restarts=1, n_jobs=1, progress=False)
    called, least = {}, _conditional.LEAST_SPREAD
    for name, above in {"one": np.inf, "own": least}.items():
        _conditional.LEAST_SPREAD = above
        zt.tl.zi_scores(reads, counts="reads")
        chosen = (reads.var["zi_call"] == "zero-inflated").to_numpy()
        called[name] = [int(chosen[inflated].sum()), int(chosen[~inflated].sum())]
    _conditional.LEAST_SPREAD = least
    zt.tl.reads_per_molecule(reads, of_fit=True)
    return {**called, "shape_sd": round(float(zt.get.reads_per_molecule_df(reads)["shape_sd"].iloc[0]), 2)}


def copied_umis(path: Path) -> AnnData:
    adata = most_variable(some_cells(counts_of(path), 1000), 300)
    return zt.simulate.amplify(adata, copies=15, rng=1)


def copied_types(name: str) -> AnnData:
    seed = SHAPES.index(name)
    base = zt.simulate.gamma_poisson(900, 300, means=np.geomspace(0.3, 8, 300), n_types=4, rng=80 + seed)
    return zt.simulate.amplify(base, copies=15, distribution=name, shape=0.3, rng=seed)


def causes(make: Callable[[], AnnData], counts: str) -> dict[str, object]:
    """How many genes have each cause: as molecules, and as they are."""
    adata, found = make(), {}
    parts = {"found": (adata, counts), "as_molecules": (adata.copy(), "molecules")}
    if "molecules" in adata.layers:
        molecules = AnnData(adata.layers["molecules"].copy())
        parts["molecules"] = (molecules, "molecules")
    for name, (part, said) in parts.items():
        part = part[:, np.asarray((part.X > 0).sum(0)).ravel() > 0].copy()
        zt.tl.fit_nb_zinb(part, models="nb", rng=0, n_restarts=1, n_jobs=1, progress=False)
        zt.tl.explain_zeros(part, counts=said, progress=False)
        found[name] = {key: int(n) for key, n in part.var["zero_cause"].value_counts().items() if n}
    return found


def seconds_of_genes() -> dict[str, object]:
    molecules = zt.simulate.gamma_poisson(2000, 1000, means=np.geomspace(0.05, 10, 1000), n_types=3, rng=4)
    reads = zt.simulate.amplify(molecules, copies=15, rng=1)
    zt.tl.fit_nb_zinb(reads, models="nb", max_epochs=10, n_jobs=1, progress=False)
    zt.tl.zi_scores(reads[:, :].copy(), counts="reads")  # compiled
    start = time.process_time()
    zt.tl.zi_scores(reads, counts="reads")
    return {"seconds": round(time.process_time() - start, 1)}


def measurements(folder: Path) -> Iterator[tuple[str, Measurement]]:
    for name in SHAPES:
        yield f"level {name}", partial(level, partial(shape, name))
        make = partial(cortex_like, folder, 2000, False, distribution=name, shape=0.3)
        yield f"level cortex-like {name}", partial(level, make)
    yield "level cortex-like variable", partial(level, partial(cortex_like, folder, N_GENES, True))
    for name in ("celseq2", "scrbseq"):
        yield f"level {name}", partial(level, partial(ziegenhain, folder, name), fitted=False)
    for name, file in UMIS.items():
        path = folder / f"{file}.h5ad"

        def variable(path: Path = path) -> AnnData:
            return most_variable(some_cells(counts_of(path), N_CELLS))

        yield f"level molecules {name}", partial(level, variable)
        yield f"told {name}", partial(verdict, variable, "reads", **QUICK)
    for name in ("celseq2", "scrbseq"):

        def molecules(name: str = name) -> AnnData:
            adata = ziegenhain(folder, name)
            best = np.argsort(-np.asarray((adata.X > 0).sum(0)).ravel())[:1500]
            return AnnData(adata.layers["molecules"][:, np.sort(best)].copy())

        yield f"told {name}", partial(verdict, molecules, "reads", **QUICK)
    for seed in range(3):
        spike_ins = partial(counts_of, folder / "ercc_macosko2015_dropseq.h5ad", spike_ins=True)
        yield f"asked macosko {seed}", partial(verdict, spike_ins, rng=seed)
    for name, make in rivals.families(None).items():
        if name.startswith(DROPOUTS):
            for seed in range(3):
                random = np.random.default_rng([2000 + seed, len(name)])
                yield f"asked {name} {seed}", partial(verdict, partial(make, random), folds=1, n_restarts=3)
    for distribution in ("geometric", "poisson", "negative binomial"):
        for pi in (0.1, 0.2, 0.3):
            for seed in (11, 12, 13):
                yield f"power {distribution} {pi} {seed}", partial(power, pi, distribution, seed)
    for spread in (0.0, 0.9):
        yield f"shapes {spread}", partial(own_shapes, spread)
    for name in ("cortex", "kang"):
        yield f"causes {name}", partial(causes, partial(copied_umis, folder / f"{UMIS[name]}.h5ad"), "reads")
    for name in SHAPES:
        yield f"causes {name}", partial(causes, partial(copied_types, name), "auto")
    yield "causes macosko", partial(causes, spike_ins, "auto")
    yield "time", seconds_of_genes


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    known = {record["name"] for record in jsonl.read(options.out)}
    for name, measure in measurements(options.data):
        if name in known or (options.only and not any(name.startswith(word) for word in options.only)):
            continue
        record = {"name": name, **measure()}
        jsonl.add(options.out, record)
        print(record, flush=True)


if __name__ == "__main__":
    main()
