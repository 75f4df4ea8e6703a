"""Cross-fitting on few cells: how wide the interval of the difference is, and what it covers.

``python tests/benchmarks/folds.py --out records.jsonl --cells 300 --dropout 0 0.08``

Each population has parameters of its own, `N_SETS` data sets and fresh cells. On every data set pairs of
models are trained in ten folds, and on the first one also on one split with three restarts. Two truths: the
mean difference of the models that were trained, on fresh cells, and the mean of it over the data sets of the
population, which stands for the procedure. The first one's error is added to that of the interval. Finished
records are kept in ``--out``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import anndata as ad
import jsonl
import numpy as np
import pandas as pd
from scipy import sparse, stats

from zinbtools import simulate
from zinbtools._record.keys import Keys
from zinbtools.tl._asked import asked
from zinbtools.tl._comparison import Comparison, Method
from zinbtools.tl._marginal import evaluate_models
from zinbtools.tl._setup import Run, Sample, Seeds, prepare_folds, read_sample

N_SETS, N_FRESH, N_GENES = 5, 5000, 80
HOW: dict[str, Any] = {"alpha": 0.05, "rope": None, "n_samples": 50, "n_null": 2, "proposal": "laplace"}


def population(seed: int, n_cells: int, dropout: float) -> sparse.csr_array:
    """Counts of N_SETS data sets and of the fresh cells, of four cell types."""
    means = 10 ** np.random.default_rng(seed).uniform(-0.7, 1, N_GENES)
    base = simulate.gamma_poisson(N_SETS * n_cells + N_FRESH, N_GENES, means=means, rng=seed)
    counts = sparse.csr_array(base.X).astype(np.float32)
    kept = np.random.default_rng(seed + 1).random(counts.nnz) >= dropout
    counts.data *= kept
    counts.eliminate_zeros()
    return counts


def compared(counts: sparse.csr_array, fresh: sparse.csr_array, seed: int, folds: int) -> dict[str, Any]:
    """The comparison of a data set, and the difference of its models on fresh cells."""
    n_cells, together = counts.shape[0], sparse.vstack([counts, fresh], format="csr")
    adata = ad.AnnData(sparse.csr_matrix(together))
    settings, run = asked(adata, Keys()), Run.on("cpu", n_jobs=1)
    method = Method(n_restarts=1 if folds > 1 else 3, folds=folds, seed=seed, run=run, **HOW)
    sample, _ = read_sample(adata, settings)
    split = Seeds.spawn(seed).split
    start = process_time()
    few = Sample(sample.matrix[:n_cells], ad.AnnData(obs=adata.obs[:n_cells]), sample.genes)
    setups = prepare_folds(few, settings, split, run.device, n_folds=folds)
    labels = [setup.labels for setup in setups]
    everyone = [np.concatenate([part, np.full(fresh.shape[0], "fresh")]) for part in labels]
    as_few = replace(setups[0].settings, batches_by_size=False)  # epochs and minibatches of so few cells
    whole = prepare_folds(sample, as_few, split, run.device, n_folds=1)[0]
    found = method.compare_on([whole.on(part) for part in everyone])
    seconds = process_time() - start
    low, high = found.difference.interval()
    truth, error = on_fresh(found, n_cells)
    return {
        "difference": found.difference.mean,
        "se": found.difference.se,
        "df": found.difference.df,
        "half": float(high - low) / 2,
        "rope": found.rope,
        "position": found.position,
        "truth": truth,
        "truth_se": error,
        "sd_rows": found.difference.sd_rows,
        "sd_columns": found.difference.sd_columns,
        "cpu_seconds": seconds,
    }


def on_fresh(found: Comparison, n_cells: int) -> tuple[float, float]:
    """The mean difference of all pairs on the fresh cells, which are dealt to them, and its error."""
    pairs = [(fit, r) for fit, gains in zip(found.fits, found.gains, strict=True) for r in gains]
    shares = np.array_split(np.arange(n_cells, found.data.n_cells), len(pairs))
    wanted = [
        (fit, (name, r), cells)
        for (fit, r), cells in zip(pairs, shares, strict=True)
        for name in ("zinb", "nb")
    ]
    settings: dict[str, Any] = {"proposal": "laplace", "rng": 1, "n_jobs": 1, "executor": "threads"}
    estimates = evaluate_models(found.data, wanted, n_samples=16, **settings)
    values = [estimate.log_likelihood[0].numpy() for estimate in estimates]
    gains = [zinb - nb for zinb, nb in zip(values[::2], values[1::2], strict=True)]
    squares = sum(gain.var(ddof=1) / len(gain) for gain in gains)
    return float(np.mean([gain.mean() for gain in gains])), float(np.sqrt(squares)) / len(pairs)


def table(records: pd.DataFrame) -> pd.DataFrame:
    """Widths and coverage by number of cells and dropout."""
    rows = []
    for (cells, dropout, folds), some in records.groupby(["cells", "dropout", "folds"]):
        t = stats.t.isf(0.025, some["df"])
        expected = some.groupby("seed")["truth"].transform("mean")
        own = np.hypot(some["se"], some["truth_se"])
        rows.append(
            {
                "cells": cells,
                "dropout": dropout,
                "folds": folds,
                "sets": len(some),
                "median half-width": some["half"].median(),
                "median region": some["rope"].median(),
                "its models covered": f"{(abs(some['difference'] - some['truth']) <= t * own).mean():.0%}",
                "expectation covered": f"{(abs(some['difference'] - expected) <= t * own).mean():.0%}",
                "above": f"{(some['position'] == 'above').mean():.0%}",
                "inside": f"{(some['position'] == 'inside').mean():.0%}",
                "open": f"{(some['position'] == 'open').mean():.0%}",
                "CPU s": some["cpu_seconds"].median(),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", type=int, nargs="+", default=[300])
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.0, 0.08])
    parser.add_argument("--populations", type=int, default=10)
    parser.add_argument("--seed", type=int, default=100, help="of the first population")
    arguments = parser.parse_args()
    records = jsonl.read(arguments.out)
    done = {(r["cells"], r["dropout"], r["seed"], r["set"], r["folds"]) for r in records}
    for seed in range(arguments.seed, arguments.seed + arguments.populations):
        for n_cells in arguments.cells:
            for dropout in arguments.dropout:
                counts = population(seed, n_cells, dropout)
                fresh = counts[N_SETS * n_cells :]
                for k in range(N_SETS):
                    part = counts[k * n_cells : (k + 1) * n_cells]
                    genes = np.diff(part.tocsc().indptr) >= 5
                    for folds in (10, 1) if k == 0 else (10,):
                        key = {"cells": n_cells, "dropout": dropout, "seed": seed, "set": k, "folds": folds}
                        if tuple(key.values()) in done:
                            continue
                        found = compared(part[:, genes], fresh[:, genes], 10 * seed + k, folds)
                        records.append(key | found)
                        jsonl.add(arguments.out, records[-1])
    print(table(pd.DataFrame(records)).to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    main()
