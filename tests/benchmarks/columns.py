"""Innocent columns of ``obs``: are genes with dropout said to follow one, and is the right one found?

``python tests/benchmarks/columns.py --out records.jsonl --sets 15`` adds a line for each data set that is not
there yet, and prints the table of docs/rivals.md. Seeds are other than those with which the method was made.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from pathlib import Path

import jsonl
import numpy as np
import pandas as pd
from anndata import AnnData
from rivals import N_GENES, made, types  # beside this file
from scipy.cluster.vq import kmeans2

import zinbtools as zt

FAMILIES = "no dropout", "dropout", "dropout, and genes that follow a column"
N_TOLD = 10  # genes that follow a column of their own
FIRST_SEED = 5000


def random_columns(random: np.random.Generator, totals: np.ndarray) -> dict[str, np.ndarray]:
    """20 columns of words and 20 of numbers that have nothing to do with dropout."""
    n, found = len(totals), {}
    for k in range(20):
        n_levels = int(random.integers(2, 31))
        found[f"words {k}"] = random.choice(n_levels, n, p=random.dirichlet(np.ones(n_levels))).astype(str)
    depth = np.log(totals)
    depth = (depth - depth.mean()) / depth.std()
    for k in range(8):
        found[f"normal {k}"] = random.normal(size=n)
    for k in range(4):
        found[f"heavy-tailed {k}"] = random.standard_cauchy(n)
    for k in range(2):
        found[f"one cell {k}"] = (np.arange(n) == random.integers(n)).astype(float)
    for k, share in enumerate((0.2, 0.4, 0.5, 0.6, 0.7, 0.8)):
        found[f"like the depth {k}"] = share * depth + np.sqrt(1 - share**2) * random.normal(size=n)
    return found


def columns_of_types(
    random: np.random.Generator, kind: np.ndarray, counts: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns that follow the cell types, which the network has to see by itself."""
    n = len(kind)
    wrong = np.where(random.random(n) < 0.3, random.integers(0, 5, n), kind)
    profiles = np.log1p(counts / counts.sum(1, keepdims=True) * 1e3)
    values, axes = np.linalg.svd(profiles - profiles.mean(0), full_matrices=False)[1:]
    scores = (profiles - profiles.mean(0)) @ axes[:10].T
    clusters = kmeans2(scores, 8, minit="++", seed=int(random.integers(2**31)))[1]
    return {
        "types": kind.astype(str),
        "types, 30 % wrong": wrong.astype(str),
        "types, two together": (kind // 2).astype(str),
        "score of types": random.normal(size=5)[kind] + random.normal(0, 0.5, n),
        "clusters of the counts": clusters.astype(str),
    }


def follow(random: np.random.Generator, on: np.ndarray, genes: np.ndarray) -> dict[str, np.ndarray]:
    """Let each gene follow a column: off in some of its levels, or 10 times as low."""
    found = {}
    for k, gene in enumerate(genes):
        levels = random.integers(0, (2, 4)[k % 2], len(on))
        on[:, gene] = np.where(levels == 0, (0.0, 0.1)[k // 2 % 2], 1.0)
        found[f"followed {k}"] = levels.astype(str)
    return found


def data_set(family: str, random: np.random.Generator) -> tuple[AnnData, pd.DataFrame]:
    """Counts, with what is true of each gene: whether it has dropout, and which column it follows."""
    kind, mu = types(random)
    theta = np.exp(random.normal(0.7, 0.6, N_GENES))
    order = random.permutation(N_GENES)
    dropout = np.zeros(N_GENES)
    if family != "no dropout":
        some = order[: int(0.3 * N_GENES)]
        dropout[some] = random.uniform(0.05, 0.4, len(some))
    on, told = np.ones(mu.shape), np.empty(0, dtype=int)
    if family == FAMILIES[2]:
        told = order[-N_TOLD:]
        mu[:, told] = np.maximum(mu[:, told], 2.0)
    followed = follow(random, on, told)
    adata = made(random, np.maximum(mu * on, 1e-12), theta, np.broadcast_to(dropout, mu.shape))
    cells = adata.obs_names.astype(int)
    counts = adata.X.toarray()
    innocent = random_columns(random, counts.sum(1))
    innocent |= columns_of_types(random, kind[cells], counts)
    for name, values in innocent.items():
        adata.obs[name] = values
    for name, values in followed.items():
        adata.obs[name] = values[cells]
    genes = adata.var_names.astype(int)
    names = dict(zip(told, followed, strict=True))
    return adata, pd.DataFrame(
        {"dropout": dropout[genes], "follows": [names.get(gene, "") for gene in genes]}, index=adata.var_names
    )


def measured(family: str, seed: int) -> dict[str, object]:
    """What is said of the genes of one data set."""
    adata, truth = data_set(family, np.random.default_rng([seed, len(family)]))
    zt.tl.fit_nb_zinb(adata, models=("nb",), rng=seed, progress=False)
    zt.tl.zi_scores(adata, rng=seed)
    called = adata.var["zi_call"] == "zero-inflated"
    by = adata.var["zi_explained_by"].astype(str).where(called, "")
    follows = truth["follows"]
    right = (follows != "") & (by == [f"obs[{name!r}]" for name in follows])
    wrong = (by != "") & ~right
    return {
        "called": int((called & (truth["dropout"] > 0)).sum()),
        "named": int((wrong & (truth["dropout"] > 0)).sum()),
        "false": int((called & (truth["dropout"] == 0) & (follows == "")).sum()),
        "followers_called": int((called & (follows != "")).sum()),
        "followers_right": int(right.sum()),
        "followers_wrong": int((wrong & (follows != "")).sum()),
        "by": dict(Counter(name[5:-2].rstrip(" 0123456789") for name in by[wrong])),
    }


def table(records: pd.DataFrame) -> str:
    """One row per family."""
    rows = [
        "| counts | sets | genes with dropout called | of these said to follow a column | "
        "followers called | their column named | another named |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, some in records.groupby("family", sort=False):
        n = some[["called", "named", "followers_called", "followers_right", "followers_wrong"]].sum()
        share = f" ({n['named'] / n['called']:.1%})" if n["called"] else ""
        rows.append(
            f"| {name} | {len(some)} | {n['called']:,} | {n['named']}{share} | {n['followers_called']} | "
            f"{n['followers_right']} | {n['followers_wrong']} |"
        )
    return "\n".join(rows) + "\n"


def main() -> None:
    """Measure what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=15)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--only", nargs="*", default=FAMILIES)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    there = {(record["family"], record["set"]) for record in jsonl.read(arguments.out)}
    for k in range(arguments.sets):
        for family in arguments.only:
            if (family, k) not in there:
                record = {"family": family, "set": k, **measured(family, arguments.first_seed + k)}
                jsonl.add(arguments.out, record)
                print(record, flush=True)
    print(table(pd.DataFrame(jsonl.read(arguments.out))))


if __name__ == "__main__":
    main()
