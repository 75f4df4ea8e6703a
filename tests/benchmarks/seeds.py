"""The default verdict on real counts, seed by seed: the seed sets the split of the cells and the networks.

``python tests/benchmarks/seeds.py --data FOLDER --out records.jsonl [--only NAME ...]`` adds a line for each
data set and seed that is not there yet, and prints the table of docs/verdict_calibration.md.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from pathlib import Path

import anndata
import jsonl
import numpy as np
from anndata import AnnData
from scipy import sparse

import zinbtools as zt

# file, and how many of the most variable genes
SETS = {
    "cortex": ("cortex_zeisel2015", 558),
    "pbmc4k": ("pbmc4k_hvg2000", 500),
    "pbmc3k": ("pbmc3k", 500),
    "kang": ("kang2018_pbmc_ifnb2800", 400),
    "zheng": ("ercc_zheng2017_gemcode", None),
    "macosko": ("ercc_macosko2015_dropseq", None),
    "pbmc68k": ("pbmc68k_reduced", 400),
    "rnamix": ("rnamix_celseq2_mixology", 400),
    "celseq2 umi": ("ziegenhain2017_celseq2_reads_and_umis", 400),
    "scrbseq umi": ("ziegenhain2017_scrbseq_reads_and_umis", 400),
    "mousegut reads": ("mousegut_smartseq2_reads", 400),
}


def counts(folder: Path, name: str) -> AnnData:
    """The most variable genes that are in five cells or more, in cells with a count of these."""
    file, n_genes = SETS[name]
    adata = anndata.read_h5ad(folder / f"{file}.h5ad")
    if n_genes is not None:
        X = sparse.csr_array(adata.X).astype(np.float64)
        mean = np.asarray(X.mean(0)).ravel()
        variance = np.asarray(X.multiply(X).mean(0)).ravel() - mean**2
        detected = np.asarray((X > 0).sum(0)).ravel() >= 5
        adata = adata[:, np.sort(np.argsort(-variance * detected)[:n_genes])].copy()
    cells, genes = (np.asarray((adata.X > 0).sum(axis)).ravel() > 0 for axis in (1, 0))
    return adata[cells, genes].copy()


def measured(adata: AnnData, seed: int) -> dict[str, object]:
    zt.tl.model_selection(adata, rng=seed, progress=False)
    found = zt.get.verdict(adata)
    row = found.differences.iloc[0]
    return {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "verdict": found.verdict,
        "by": found.explained_by,
        **{name: float(row[name]) for name in ("difference", "low", "high", "rope")},
        "called": int((adata.var["zi_call"] == "zero-inflated").sum()),
    }


def table(records: list[dict]) -> str:
    rows = ["| data | cells x genes | verdicts | differences | region |", "| --- | --- | --- | --- | --- |"]
    for name in SETS:
        some = sorted((r for r in records if r["name"] == name), key=lambda r: r["seed"])
        if not some:
            continue
        words = Counter(r["verdict"] + (f" ({r['by']})" if r["by"] else "") for r in some).most_common()
        said = ", ".join(f"{word}: {n}" for word, n in words)
        gains = ", ".join(f"{r['difference']:.2f}" for r in some)
        size = f"{some[0]['cells']:,} x {some[0]['genes']:,}"
        rows.append(f"| {name} | {size} | {said} | {gains} | ±{some[0]['rope']:.2f} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(SETS), choices=list(SETS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    there = {(record["name"], record["seed"]) for record in jsonl.read(arguments.out)}
    for seed in range(arguments.seeds):
        for name in arguments.only:
            if (name, seed) not in there:
                record = {"name": name, "seed": seed, **measured(counts(arguments.data, name), seed)}
                jsonl.add(arguments.out, record)
                print(record, flush=True)
    print(table(jsonl.read(arguments.out)))


if __name__ == "__main__":
    main()
