"""Held-out log likelihood on the real data sets, beside what scvi-tools reaches with the same architecture.

    python tests/benchmarks/heldout.py [--seeds 3] [--data zheng cortex pbmc4k mousegut]

One layer of 128, 10 latent dimensions, latent library, 100 importance samples; the split and the genes of
``reference/scvi_heldout.csv``. Prints one row per data set, model and seed, then the medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import pandas as pd
from data import load

import zinbtools as zt

# Genes kept, those that vary most; those of zheng are chosen by detection.
N_GENES = {"zheng": None, "cortex": 558, "pbmc4k": 1200, "mousegut": 1200}


def measure(name: str, seeds: int) -> Iterator[dict[str, object]]:
    """Fit both models with each seed; one record per model."""
    adata = load(name, N_GENES[name])
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
    parser.add_argument("--data", nargs="+", choices=N_GENES, default=list(N_GENES))
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
