"""Predicted and realised power: of gene calls around known means, of gene calls and verdicts by networks.

``python tests/benchmarks/power.py --out FOLDER [--sets 40] [--only genes table networks calls pilots]`` adds
what is not there yet, a line of JSON for each, and prints what docs/power.md says.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import jsonl
import numpy as np
import pandas as pd
from scipy import sparse

import zinbtools as zt
from zinbtools._record.keys import Keys
from zinbtools.stats.count_models import fit_counts
from zinbtools.stats.crossed import CrossedMean, crossed_mean
from zinbtools.stats.equivalence import position
from zinbtools.stats.power import gene_power, signed_root, verdict_power
from zinbtools.stats.zero_inflation import FEWEST_COUNTS, boundary_pval, dropout_likelihood_ratio, threshold
from zinbtools.tl._asked import asked
from zinbtools.tl._comparison import Method
from zinbtools.tl._conditional import CallRule, conditional_test
from zinbtools.tl._setup import Run, Seeds, prepare, read_sample
from zinbtools.tl._trained import train

N_GENES, TRUTH, FIRST_SEED = 150, 77, 5000
LEVELS = (0.0068, 0.0075)  # that were realised in `calls` of 600 and 1,200 cells, on average
SIZES = (300, 600, 1200)
FAMILIES = {"none": (0.0, 1.0), "3 %": (0.03, 1.0), "8 %": (0.08, 1.0), "20 % in a third": (0.2, 1 / 3)}


# Gene calls around known means.


def gene(k: int) -> tuple[np.random.Generator, np.ndarray, dict[str, Any]]:
    """Means of cells that differ in type and depth, and what is asked."""
    random = np.random.default_rng([TRUTH, k])
    mean, theta = np.exp(random.uniform(np.log(0.1), np.log(50))), np.exp(random.normal(0.7, 0.8))
    dropout = float(random.choice([0.0, 0.05, 0.1, 0.2, 0.4]))
    n, level = int(random.choice([200, 500, 1000, 3000, 8000])), float(random.choice([0.02, 0.005, 0.0005]))
    mu = random.lognormal(0, 0.5, n) * np.exp(random.normal(0, 0.6, 3))[random.integers(0, 3, n)] * mean
    return random, mu, {"mean": mean, "theta": theta, "dropout": dropout, "n_cells": n, "level": level}


def realised(k: int) -> dict[str, Any]:
    """Draw a gene many times, and count how often it is called right."""
    random, mu, asked_of = gene(k)
    theta, dropout, n = (asked_of[name] for name in ("theta", "dropout", "n_cells"))
    n_sets = 400 if n < 8000 else 200
    counts = random.poisson(random.gamma(theta, mu[:, None] / theta, (n, n_sets)))
    counts = counts * (random.random(counts.shape) >= dropout)
    fits = fit_counts(counts, mu, families=("zinb",), negligible_dropout=0.01, interval_level=0.9)
    pval, seen = boundary_pval(dropout_likelihood_ratio(fits)), (counts > 0).sum(0) >= FEWEST_COUNTS
    right = fits.dropout_interval[:, 1] <= 0.01 if dropout == 0 else pval <= asked_of["level"]
    return {"k": k, **asked_of, "n_sets": n_sets, "realised": float((right & seen).mean())}


def predicted(k: int) -> float:
    _, mu, of = gene(k)
    return float(gene_power(mu, of["theta"], of["dropout"], of["n_cells"], level=of["level"]))


# The verdict, from a table whose components of variance are known.


def crossed(k: int, n_sets: int = 2000) -> dict[str, Any]:
    """A pilot's components as they are, and the position of the interval in many tables of another size."""
    random = np.random.default_rng([TRUTH, 1, k])
    sd_cells, sd_rest = 1.0, random.uniform(0.2, 1.0)
    sd_restarts = float(random.choice([0.0, 0.03, 0.1]))
    n_cells, n_restarts = int(random.choice([30, 100, 300])), int(random.choice([3, 5, 10]))
    rope, difference = 0.25, random.uniform(-0.1, 0.6)
    where = []
    for _ in range(n_sets):
        table = random.normal(0, sd_rest, (n_restarts, n_cells)) + random.normal(0, sd_cells, n_cells)
        found = crossed_mean(difference + table + random.normal(0, sd_restarts, (n_restarts, 1)))
        where.append(position(*found.interval(), rope).removesuffix(" or inside"))
    se = np.sqrt(sd_cells**2 / 50 + sd_restarts**2 / 4 + sd_rest**2 / 200)
    power = verdict_power(
        CrossedMean(difference, se, 30.0, sd_cells, sd_restarts, 4, 50), rope, n_cells, n_restarts
    )
    return {
        "k": k, "difference": difference, "sd_restarts": sd_restarts, "n_cells": n_cells,
        "n_restarts": n_restarts,
        **{f"realised_{name}": where.count(name) / n_sets for name in ("above", "inside")},
        "predicted_above": float(power.above), "predicted_inside": float(power.inside),
    }  # fmt: skip


# Networks.


def truth(family: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(TRUTH)
    share, genes = FAMILIES[family]
    return {
        "mean": np.exp(random.uniform(np.log(0.05), np.log(20), N_GENES)),
        "effect": np.exp(random.normal(0, 0.8, (5, N_GENES)) * (random.random((5, N_GENES)) < 0.4)),
        "theta": np.exp(random.normal(0.7, 0.6, N_GENES)),
        "dropout": share * (random.permutation(N_GENES) < genes * N_GENES),
    }


def cells(family: str, n: int, seed: int) -> tuple[anndata.AnnData, np.ndarray]:
    """Draw cells of five types at depths that differ, and their counts; and the true means."""
    random, of = np.random.default_rng([seed, n, len(family)]), truth(family)
    mu = random.lognormal(0, 0.4, n)[:, None] * of["mean"] * of["effect"][random.integers(0, 5, n)]
    counts = random.poisson(random.gamma(of["theta"], mu / of["theta"])) * (
        random.random(mu.shape) >= of["dropout"]
    )
    kept = counts.sum(1) > 0
    return anndata.AnnData(sparse.csr_matrix(counts[kept].astype(np.float32))), mu[kept]


def network(family: str, n: int, seed: int, models: tuple[str, ...]) -> dict[str, Any]:
    """What three pairs of networks say, or with the NB alone, one restart: the calls of genes."""
    adata, _ = cells(family, n, seed)
    settings = asked(adata, Keys(), models=models)
    sample, _ = read_sample(adata, settings)
    both = len(models) == 2
    method = Method(3 if both else 1, 0.05, None, 100, 2, "laplace", seed, Run.on("cpu", progress=False))
    setup = prepare(sample, settings, Seeds.spawn(seed).split, method.run.device)
    record: dict[str, Any] = {"family": family, "n_cells": n, "seed": seed}
    if both:
        found = method.compare_on(setup)
        fit = found.fit
        record |= {"pilot": [float(part) for part in found.difference], "nll": found.nll}
    else:
        fit = train(setup, Seeds.spawn(seed, 1), method.run)
    tests = conditional_test(fit, fit.data, fit.cells("all"), CallRule(0.05))
    called = np.zeros(N_GENES, dtype=int)
    places = sample.genes.astype(int)
    called[places] = tests["call"] == "zero-inflated"
    return record | {"called": "".join(map(str, called)), "level": threshold(tests["pval_adj"], 0.05)}


def foretold(family: str, n: int, seed: int) -> dict[str, Any]:
    """What a pilot says of each gene's power, and what the truth does, at the level that was realised."""
    adata, mu = cells(family, n, seed)
    of = truth(family)
    zt.tl.fit_nb_zinb(adata, models="nb", rng=seed, progress=False)
    zt.tl.zi_scores(adata)
    dropout = float(of["dropout"].max())
    zt.tl.power(adata, n_cells=(600, 1200), dropout=(dropout,))
    by_pilot = zt.get.power_df(adata, of="genes").pivot_table("power", "gene", "n_cells")
    by_truth = [
        gene_power(m, theta, dropout, [600, 1200], level=LEVELS)
        for m, theta in zip(mu.T, of["theta"], strict=True)
    ]
    genes = by_pilot.loc[list(map(str, range(N_GENES)))].to_numpy()
    return {
        "family": family,
        "n_cells": n,
        "by_pilot": genes.tolist(),
        "by_truth": np.array(by_truth).tolist(),
    }


def jobs(names: list[str], n_sets: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    if "genes" in names:
        yield from (("genes", (k,)) for k in range(156, 300))  # the others served to make the method
    if "table" in names:
        yield from (("table", (k,)) for k in range(40))
    if "pilots" in names:
        yield from (("pilots", ("20 % in a third", 600, FIRST_SEED + 2000 + k)) for k in range(6))
    for k in range(n_sets):
        for n in SIZES:
            if "networks" in names:
                yield "networks", ("3 %", n, FIRST_SEED + k, ("nb", "zinb"))
            if "calls" in names and n in (600, 1200):
                yield "calls", ("20 % in a third", n, FIRST_SEED + 1000 + k, ("nb",))


# What came of it.


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    return jsonl.read(folder / f"{name}.jsonl")


def agreement(what: str, by: np.ndarray, found: np.ndarray) -> None:
    """How far powers are from what was realised: all of them, and those that are not all but 0 or 1."""
    for name, some in (("all", np.full(by.shape, True)), (".05 to .95", (by > 0.05) & (by < 0.95))):
        off = (by - found)[some]
        shares = ", ".join(f"within {e:g}: {(np.abs(off) <= e).mean():.0%}" for e in (0.05, 0.1))
        print(
            f"{what}, {name} ({some.sum()}): {shares}; mean {off.mean():+.3f}, most {np.abs(off).max():.3f}"
        )


def of_calls(folder: Path) -> None:
    pilots, inflated = read(folder, "pilots"), truth("20 % in a third")["dropout"] > 0
    for place, n in enumerate((600, 1200)):
        called = [list(map(int, r["called"])) for r in read(folder, "calls") if r["n_cells"] == n]
        found = np.mean(called, axis=0)[inflated]
        by_truth, by_pilot = (
            np.array([r[by] for r in pilots])[:, inflated, place] for by in ("by_truth", "by_pilot")
        )
        print(f"{n} cells, {len(called)} sets: {found.mean():.3f} called")
        print("foretold by the truth", by_truth.mean().round(3), "by pilots", by_pilot.mean(1).round(3))
        agreement("by the truth", by_truth.mean(0), found)
        agreement("by one pilot of 600", by_pilot, np.broadcast_to(found, by_pilot.shape))


def of_networks(folder: Path) -> None:
    """The position of the interval, as the average run of that size, and of 300 cells, foretells it."""
    runs = pd.DataFrame(read(folder, "networks")).query("family == '3 %'")
    pooled, ropes = {}, np.arange(0.05, 0.75, 0.05)
    of, (_, mu) = truth("3 %"), cells("3 %", 2000, FIRST_SEED)
    known = zip(mu.T, of["theta"], of["dropout"], strict=True)
    most = sum(signed_root(*of_gene, 0.0).shift ** 2 / 2 for of_gene in known)
    print(f"at known means and dispersions the gain would be {most:.2f}")
    for n, some in runs.groupby("n_cells"):
        if len(some) < 5:
            continue
        pilots = [CrossedMean(*r[:5], int(r[5]), int(r[6])) for r in some["pilot"]]
        mean, se, _, sd_cells, sd_restarts, *shape = np.sqrt(np.mean(np.square(pilots), axis=0))
        mean = np.mean([p.mean for p in pilots])
        pooled[n] = CrossedMean(mean, se, 30.0, sd_cells, sd_restarts, *np.round(shape).astype(int).tolist())
        spread = np.std([p.mean for p in pilots], ddof=1)
        print(f"{n} cells, {len(pilots)} sets: gain {mean:.3f} ({spread:.3f} between sets, se {se:.3f})")
        ends = np.array([p.interval() for p in pilots])
        for of in (300, n):
            by = [verdict_power(pooled[of], rope, n // 10, 3) for rope in ropes]
            for where in ("above", "inside"):
                found = [np.mean([position(*end, rope) == where for end in ends]) for rope in ropes]
                agreement(
                    f"{where}, by {of} cells", np.array([getattr(b, where) for b in by]), np.array(found)
                )


def report(folder: Path) -> None:
    if records := read(folder, "genes"):
        by = np.array([predicted(r["k"]) for r in records])
        agreement("known means", by, np.array([r["realised"] for r in records]))
    if records := read(folder, "table"):
        for where in ("above", "inside"):
            by, found = (np.array([r[f"{of}_{where}"] for r in records]) for of in ("predicted", "realised"))
            agreement(f"known components, {where}", by, found)
    if read(folder, "calls") and read(folder, "pilots"):
        of_calls(folder)
    if read(folder, "networks"):
        of_networks(folder)


DO = {"genes": realised, "table": crossed, "networks": network, "calls": network, "pilots": foretold}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(DO))
    parser.add_argument("--sets", type=int, default=20)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    arguments.out.mkdir(exist_ok=True)
    for name, job in jobs(arguments.only, arguments.sets):
        path = arguments.out / f"{name}.jsonl"
        if any(record["job"] == json.loads(json.dumps(job)) for record in jsonl.read(path)):
            continue
        jsonl.add(path, {"job": job, **DO[name](*job)})
    report(arguments.out)


if __name__ == "__main__":
    main()
