"""Verdicts and gene calls on counts whose truth is known: dispersions that differ, dropout, and both.

``python tests/benchmarks/rivals.py --out records.jsonl --sets 20 [--data FOLDER] [--only NAME ...]`` adds a
line for each data set that is not there yet; ``--write PAGE`` replaces the table of a page. With ``--genes``
the NB alone is fitted and its genes are tested, in seconds a set. Seeds are other than those with which the
method was made. With ``--groups`` the comparison is repeated in each of the cell types, whose truth is known.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import anndata
import jsonl
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import zinbtools as zt
from zinbtools.stats.count_models import fit_counts
from zinbtools.stats.zero_inflation import boundary_pval, dropout_likelihood_ratio, dropout_pval_adj

N_CELLS, N_GENES, FIRST_SEED = 1000, 150, 1000
N_IN_TYPES = 1500  # cells of data sets that are compared type by type
N_TYPES_UNSEEN = 8  # of those that a network of one dimension cannot tell apart
ONE_DIMENSION = "no dropout, eight types in a network of one dimension"


def types(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cell types, (N,), and means of five types at depths that differ, (N, G)."""
    kind = random.integers(0, 5, N_CELLS)
    mean = np.exp(random.uniform(np.log(0.05), np.log(20), N_GENES))
    effect = np.exp(random.normal(0, 0.8, (5, N_GENES)) * (random.random((5, N_GENES)) < 0.4))
    return kind, random.lognormal(0, 0.4, N_CELLS)[:, None] * mean * effect[kind]


def made(
    random: np.random.Generator, mu: np.ndarray, theta: np.ndarray, dropout: np.ndarray | float
) -> AnnData:
    """Draw counts, and lose some of them; genes in five cells or more."""
    counts = random.poisson(random.gamma(theta, mu / theta)) * (random.random(mu.shape) >= dropout)
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.layers["mu"] = mu.astype(np.float32)
    adata.layers["theta"] = np.broadcast_to(theta, mu.shape).astype(np.float32)
    lost = np.broadcast_to(dropout, mu.shape)
    adata.var["is_zero_inflated"] = (lost > 0.01).any(0)
    adata = adata[:, np.asarray((adata.X > 0).sum(0)).ravel() >= 5]
    return adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy()


def by_type(sd: float) -> Callable[[np.random.Generator], AnnData]:
    def make(random: np.random.Generator) -> AnnData:
        kind, mu = types(random)
        return made(random, mu, np.exp(random.normal(0.5, sd, (5, N_GENES)))[kind], 0.0)

    return make


def by_cell(sd: float) -> Callable[[np.random.Generator], AnnData]:
    def make(random: np.random.Generator) -> AnnData:
        _, mu = types(random)
        own = random.normal(0.7, sd, (N_CELLS, 1)) + random.normal(0, 0.5, (1, N_GENES))
        return made(random, mu, np.exp(own), 0.0)

    return make


def dropped(
    how: Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray],
) -> Callable[..., AnnData]:
    """With a dispersion per gene; ``how`` gives the dropout probabilities from types and means."""

    def make(random: np.random.Generator) -> AnnData:
        kind, mu = types(random)
        theta = np.exp(random.normal(0.7, 0.6, N_GENES))
        return made(random, mu, theta, np.broadcast_to(how(random, kind, mu), mu.shape))

    return make


def uniform(share: float) -> Callable[..., AnnData]:
    return dropped(lambda random, kind, mu: np.full((1, 1), share))


def quality(random: np.random.Generator, kind: np.ndarray, mu: np.ndarray) -> np.ndarray:
    return np.clip(0.08 * random.lognormal(0, 0.8, (len(mu), 1)), 0, 0.9)


def in_types(
    share: Callable[[np.ndarray], np.ndarray], n_types: int = 5, sd: float = 0.8
) -> Callable[..., AnnData]:
    """Half of the genes differ between types, ``obs["type"]``; each type loses its ``share``."""

    def make(random: np.random.Generator) -> AnnData:
        kind = random.integers(0, n_types, N_IN_TYPES)
        mean = np.exp(random.uniform(np.log(0.2), np.log(20), N_GENES))
        effect = np.exp(random.normal(0, sd, (n_types, N_GENES)) * (random.random((n_types, N_GENES)) < 0.5))
        mu = random.lognormal(0, 0.3, N_IN_TYPES)[:, None] * mean * effect[kind]
        lost = np.broadcast_to(share(np.arange(n_types))[kind][:, None], mu.shape)
        adata = made(random, mu, np.exp(random.normal(0.7, 0.5, N_GENES)), lost)
        adata.obs["type"] = pd.Categorical(kind[adata.obs_names.astype(int)].astype(str))
        adata.uns["inflated_types"] = [str(k) for k in np.flatnonzero(share(np.arange(n_types)))]
        return adata

    return make


def twin(path: Path, n_cells: int = 1500) -> Callable[[np.random.Generator], AnnData]:
    """Means of an NB network of real counts, with an inverse dispersion per gene and cell type."""

    def make(random: np.random.Generator) -> AnnData:
        adata = anndata.read_h5ad(path)
        adata = adata[np.sort(random.choice(adata.n_obs, min(n_cells, adata.n_obs), replace=False))]
        counts = adata.X.tocsr()
        sizes = np.asarray(counts.mean(0)).ravel()
        variance = np.asarray(counts.multiply(counts).mean(0)).ravel() - sizes**2
        adata = adata[:, np.sort(np.argsort(-variance)[:300])]
        adata = adata[:, np.asarray((adata.X > 0).sum(0)).ravel() >= 20]
        adata = adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy()
        zt.tl.fit_nb_zinb(adata, models=("nb",), rng=int(random.integers(2**31)), progress=False)
        kind = adata.obs["cell_type"].astype("category").cat.codes.to_numpy()
        spread = random.normal(0, 0.9, (kind.max() + 1, adata.n_vars))
        theta = adata.var["nb_inverse_dispersion"].to_numpy() * np.exp(spread)[kind]
        return made(random, adata.layers["nb_mean"].astype(np.float64), theta, 0.0)

    return make


def families(data: Path | None) -> dict[str, Callable[[np.random.Generator], AnnData]]:
    found: dict[str, Callable[[np.random.Generator], AnnData]] = {"one theta per gene": uniform(0.0)}
    found |= {f"theta by type, sd {sd}": by_type(sd) for sd in (0.6, 0.9, 1.1)}
    found |= {f"theta by cell, sd {sd}": by_cell(sd) for sd in (0.6, 0.9, 1.1)}
    found |= {f"{share:.0%} dropout": uniform(share) for share in (0.03, 0.08, 0.2)}
    found |= {
        "8% dropout in a third of the cells": dropped(
            lambda r, k, mu: 0.08 * (np.arange(len(mu)) % 3 == 0)[:, None]
        ),
        "20% dropout in one type": dropped(lambda r, k, mu: 0.2 * (k == 0)[:, None]),
        "dropout by quality": dropped(quality),
        "dropout falls with the mean": dropped(lambda r, k, mu: 0.5 / (1 + mu / 0.5)),
    }
    if data is not None:
        files = {"cortex": "cortex_zeisel2015", "kang": "kang2018_pbmc_ifnb2800", "pbmc4k": "pbmc4k_hvg2000"}
        found |= {
            f"twin of {name}, theta by type": twin(data / f"{file}.h5ad") for name, file in files.items()
        }
    return found


def families_of_groups() -> dict[str, Callable[[np.random.Generator], AnnData]]:
    return {
        "no dropout": in_types(lambda k: 0.0 * k),
        ONE_DIMENSION: in_types(lambda k: 0.0 * k, n_types=N_TYPES_UNSEEN, sd=1.5),
        "8% dropout in all types": in_types(lambda k: np.full(len(k), 0.08)),
        "20% dropout in one type": in_types(lambda k: 0.2 * (k == 0)),
    }


def oracle(adata: AnnData) -> int:
    """Number of genes that are called around the true means and dispersions."""
    fits = fit_counts(
        adata.X,
        adata.layers["mu"].astype(np.float64),
        inverse_dispersions=adata.layers["theta"].astype(np.float64),
        families=("zinb",),
        negligible_dropout=0.01,
    )
    n_counts = np.asarray((adata.X > 0).sum(0)).ravel()
    adjusted = dropout_pval_adj(boundary_pval(dropout_likelihood_ratio(fits)), n_counts)
    return int(((adjusted <= 0.05) & adata.var["is_zero_inflated"].to_numpy()).sum())


def measured(adata: AnnData, seed: int) -> dict[str, object]:
    start = time.perf_counter()
    zt.tl.model_selection(adata, n_restarts=3, folds=1, rng=seed, progress=False)
    seconds = time.perf_counter() - start
    found, truth = zt.get.verdict(adata), adata.var["is_zero_inflated"].to_numpy()
    called = (adata.var["zi_call"] == "zero-inflated").to_numpy()
    first = found.rivals.iloc[0]
    return {
        "verdict": found.verdict,
        "explained_by": found.explained_by,
        "without_rivals": bool(first["zinb_position"] == "above" and first["excess_zeros"]),
        "difference": float(first["zinb_gain"]),
        "difference_of_rivals": float(found.rivals["zinb_gain"].iloc[-1]),
        "n_restarts": int(found.differences["n_restarts"].iloc[0]),
        "n_true": int(truth.sum()),
        "n_null": int((~truth).sum()),
        "called": int((called & truth).sum()),
        "false": int((called & ~truth).sum()),
        "negligible_of_true": int(((adata.var["zi_call"] == "negligible").to_numpy() & truth).sum()),
        "by_dispersion": int((adata.var["zi_explained_by"] == "dispersion").sum()),
        "oracle": oracle(adata) if truth.any() else 0,
        "seconds": seconds,
    }


def measured_genes(adata: AnnData, seed: int) -> dict[str, object]:
    zt.tl.fit_nb_zinb(adata, models=("nb",), rng=seed, progress=False, n_jobs=1)
    zt.tl.zi_scores(adata)
    truth = adata.var["is_zero_inflated"].to_numpy()
    called = (adata.var["zi_call"] == "zero-inflated").to_numpy()
    tested = adata.var["zi_pval_adj"].notna().sum()
    return {
        "n_true": int(truth.sum()),
        "n_null": int((~truth).sum()),
        "called": int((called & truth).sum()),
        "false": int((called & ~truth).sum()),
        "oracle": oracle(adata) if truth.any() else 0,
        "many": bool(called.sum() >= 0.05 * tested),
    }


def measured_groups(adata: AnnData, seed: int) -> dict[str, object]:
    network = {"n_latent": 1, "n_hidden": 8} if adata.obs["type"].nunique() == N_TYPES_UNSEEN else {}
    zt.tl.model_selection(
        adata, n_restarts=3, folds=1, groupby="type", rng=seed, progress=False, n_jobs=1, **network
    )
    found = zt.get.verdict(adata)
    groups = found.groups.set_index("group")["verdict"]
    inflated = groups.index.isin(adata.uns["inflated_types"])
    return {
        "verdict": found.verdict,
        "explained_by": found.explained_by,
        "n_true": int(inflated.sum()),
        "n_null": int((~inflated).sum()),
        "found": int((groups[inflated] == "zinb").sum()),
        "false": int((groups[~inflated] == "zinb").sum()),
    }


def table_of_groups(records: pd.DataFrame) -> str:
    """One row per family."""
    rows = [
        "| counts | sets | zinb | undecided | types with dropout called zinb | types without called zinb |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, some in records.groupby("family", sort=False):
        sums = some[["n_true", "n_null", "found", "false"]].sum()
        zinb, undecided = ((some["verdict"] == answer).sum() for answer in ("zinb", "undecided"))
        shares = [
            f"{sums[of]} of {sums[n]}" if sums[n] else ""
            for of, n in (("found", "n_true"), ("false", "n_null"))
        ]
        rows.append(f"| {name} | {len(some)} | {zinb} | {undecided} | {shares[0]} | {shares[1]} |")
    return "\n".join(rows) + "\n"


def table_of_genes(records: pd.DataFrame) -> str:
    """One row per family."""
    rows = [
        "| counts | sets | many genes called | null genes called | power | power of the truth |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, some in records.groupby("family", sort=False):
        sums = some[["n_true", "n_null", "called", "false", "oracle", "many"]].sum()
        null = f"{sums['false']} of {sums['n_null']:,}" if sums["n_null"] else ""
        power = [f"{sums[of] / sums['n_true']:.3f}" if sums["n_true"] else "" for of in ("called", "oracle")]
        rows.append(f"| {name} | {len(some)} | {sums['many']} | {null} | {power[0]} | {power[1]} |")
    return "\n".join(rows) + "\n"


def table(records: pd.DataFrame) -> str:
    """One row per family."""
    rows = [
        "| counts | sets | zinb | zinb without rivals | better fit | other | null genes called | power | "
        "power of the truth | dropout genes called negligible |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, some in records.groupby("family", sort=False):
        better = (some["verdict"] == "better fit, not zero inflation").sum()
        zinb, n_true = (some["verdict"] == "zinb").sum(), some["n_true"].sum()
        power = [
            f"{some[of].sum() / n_true:.3f}" if n_true else ""
            for of in ("called", "oracle", "negligible_of_true")
        ]
        null = f"{some['false'].sum()} of {some['n_null'].sum():,}" if some["n_null"].sum() else ""
        rows.append(
            f"| {name} | {len(some)} | {zinb} | {some['without_rivals'].sum()} | {better} | "
            f"{len(some) - zinb - better} | {null} | {power[0]} | {power[1]} | {power[2]} |"
        )
    return "\n".join(rows) + "\n"


def wanted(
    arguments: argparse.Namespace, known: Sequence[Mapping[str, object]]
) -> Iterator[tuple[str, Callable[..., AnnData], int]]:
    there = {(record["family"], record["set"]) for record in known}
    made_by = families_of_groups() if arguments.groups else families(arguments.data)
    for k in range(arguments.sets):
        for name, make in made_by.items():
            if (name, k) not in there and (
                not arguments.only or any(word in name for word in arguments.only)
            ):
                yield name, make, k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--write", type=Path)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--genes", action="store_true")
    what.add_argument("--groups", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    measure, tabulate, mark = measured, table, "table"
    if arguments.genes:
        measure, tabulate, mark = measured_genes, table_of_genes, "genes"
    elif arguments.groups:
        measure, tabulate, mark = measured_groups, table_of_groups, "groups"
    start, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    for name, make, k in wanted(arguments, jsonl.read(arguments.out)):
        seed = FIRST_SEED + k
        adata = make(np.random.default_rng([seed, len(name)]))
        record = {"family": name, "set": k, **measure(adata, seed)}
        jsonl.add(arguments.out, record)
        print(record, flush=True)
    if arguments.write:
        page = arguments.write.read_text()
        before, _, rest = page.partition(start)
        made = tabulate(pd.DataFrame(jsonl.read(arguments.out)))
        arguments.write.write_text(f"{before}{start}\n\n{made}\n{end}{rest.partition(end)[2]}")
    print(tabulate(pd.DataFrame(jsonl.read(arguments.out))))


if __name__ == "__main__":
    main()
