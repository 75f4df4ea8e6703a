"""Held-out log likelihood on the real data sets, beside what scvi-tools reaches with the same architecture.

    python tests/benchmarks/heldout.py [--seeds 3] [--data zheng cortex pbmc4k mousegut]

One layer of 128, 10 latent dimensions, latent library, 100 importance samples; the split and the genes of
``reference/scvi_heldout.csv``. Prints one row per data set, model and seed, then the medians.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import zinbtools as zt

SHARED = Path(os.environ.get("ZINBTOOLS_DATA", Path(__file__).parents[3] / "shared"))
FILES = {
    "zheng": "ercc_zheng2017_gemcode",
    "cortex": "cortex_zeisel2015",
    "pbmc4k": "pbmc4k_hvg2000",
    "mousegut": "mousegut_smartseq2_reads",
}


def load(name: str) -> ad.AnnData:
    """Counts of the genes that the reference used, with its split in ``obs["split"]``."""
    adata = ad.read_h5ad(SHARED / "data" / f"{FILES[name]}.h5ad")
    counts = adata.X.toarray()
    genes = {
        "zheng": lambda: (counts > 0).mean(0) > 0.21,
        "cortex": lambda: np.argsort(-counts.std(0))[:558],
    }.get(name, lambda: np.argsort(-counts.var(0))[:1200])()
    adata = adata[:, genes].copy()
    order = np.random.default_rng(0).permutation(adata.n_obs)
    k = adata.n_obs // 10
    split = np.full(adata.n_obs, "train", dtype=object)
    split[order[:k]], split[order[k : 2 * k]] = "test", "validation"
    adata.obs["split"] = split
    return adata


def measure(name: str, seeds: int) -> Iterator[dict[str, object]]:
    """Fit both models with each seed; one record per model."""
    adata = load(name)
    for seed in range(seeds):
        for model in ("nb", "zinb"):
            start = time.process_time()
            zt.tl.fit_nb_zinb(adata, models=[model], split="split", rng=seed, progress=False, layers=())
            seconds = time.process_time() - start
            zt.tl.marginal_ll(adata, n_samples=100)
            metrics = zt.get.metrics_df(adata)
            nll = metrics[metrics.metric == "nll"].iloc[0]
            elbo = metrics[(metrics.metric == "elbo") & (metrics.split == "validation")].iloc[0]
            epochs = zt.get.history_df(adata).epoch.max() + 1
            yield {
                "data": name,
                "model": model,
                "seed": seed,
                "epochs": epochs,
                "cpu_s": round(seconds, 1),
                "validation_elbo": round(elbo.value, 2),
                "test_nll": round(nll.value, 2),
                "mc_se": round(nll.se, 3),
            }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", choices=FILES, default=list(FILES))
    options = parser.parse_args()
    records = []
    for name in options.data:
        for record in measure(name, options.seeds):
            print(*record.values(), sep="\t", flush=True)
            records.append(record)
    table = pd.DataFrame(records)
    print(
        table.groupby(["data", "model"], sort=False)[
            ["test_nll", "validation_elbo", "cpu_s", "epochs"]
        ].median()
    )


if __name__ == "__main__":
    main()
