"""Genes that are seen in a few cells: are they called zero-inflated, and what does it cost not to call them?

    python tests/benchmarks/rare_genes.py --write docs/gene_calls.md

Each data set is fitted once; the calls without the rule, by the same p values, stand beside those with it.
The section of the page that the tables are in is written anew, the others are left alone.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import genes  # beside this file
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tables import table

SEEN = {"1": 1, "2": 2, "3": 3, "4-9": 4, "10-19": 10, "20-39": 20, "40 or more": 40}
LEVELS = (0.05, 0.01, 0.001)
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TEXT = """
A gene is tested only if at least 20 cells have a count of it, for each rate that is fitted
(`zinbtools.stats.zero_inflation.dropout_pval_adj`). The tables are of

```bash
python tests/benchmarks/rare_genes.py --write docs/gene_calls.md
```

NB counts without dropout, inverse dispersions from 0.001 to 1: share of p values up to a level, by the
number of cells with a count, for each rate (of one group of cells, or of eight).

{null}
Genes called, without the rule and with it, by the number of cells with a count. *Rare cells*: a few of
200 to 5,000 cells have 30 to 10,000 counts each, Poisson or log-normal, and the others none. *Reads*: NB
molecules without dropout, each copied 30 times on average. *Few counts*: NB genes with means from 0.003 to
0.3, half of whose counts dropped out. *Mouse gut*: real Smart-seq2 reads, of which the truth is not known.
From 20 cells on the rule says nothing: a gene that 20 rare cells have much of, and that no other gene goes
with, is called.

{calls}
Inflated genes of mean above 1 that are called, without the rule and with it, on data sets as above; in
brackets, others that are called, of any mean. The calls that are gained are among fewer tests: the rest of
this page was run before there was the rule.

{power}"""


class Calls(NamedTuple):
    """Of each gene: cells with a count, and whether it is called without the rule and with it."""

    seen: NDArray[np.int_]
    without: Bools
    with_rule: Bools


def zero_test(adata: ad.AnnData, groupby: str | None = None) -> Calls:
    import zinbtools as zt

    zt.tl.zero_test(adata, families=["nb", "zinb"], groupby=groupby)
    found = zt.get.zero_test_df(adata)
    return _calls(adata, found["pval"].to_numpy(), (found["family"] == "zinb").to_numpy())


def zero_test_by_type(adata: ad.AnnData) -> Calls:
    return zero_test(adata, "cell_type")


def zi_scores(adata: ad.AnnData) -> Calls:
    import zinbtools as zt

    zt.tl.fit_nb_zinb(adata, models="nb", rng=0, progress=False)
    zt.tl.zi_scores(adata)
    call = (adata.var["zi_call"] == "zero-inflated").to_numpy()
    return _calls(adata, adata.var["zi_pval"].to_numpy(), call)


def _calls(adata: ad.AnnData, pval: Floats, called: Bools) -> Calls:
    from zinbtools.stats.zero_inflation import adjusted_pval

    seen = np.asarray((adata.X > 0).sum(axis=0)).ravel()
    return Calls(seen, adjusted_pval(pval) <= 0.05, called)


def with_others(rare: Floats, seed: int) -> ad.AnnData:
    """Beside 200 genes of four cell types without dropout; cells and genes without a count are left out."""
    import zinbtools as zt

    base = zt.simulate.gamma_poisson(len(rare), 200, rng=seed)
    X = np.hstack([base.X.toarray(), rare])
    cells = X.sum(axis=1) > 0
    adata = ad.AnnData(sparse.csr_matrix(X[cells], dtype=np.float32))
    adata.var["rare"] = np.arange(adata.n_vars) >= base.n_vars
    return adata[:, np.asarray(adata.X.sum(axis=0)).ravel() > 0].copy()


def rare_cells(n_obs: int, count: float, spread: float, seed: int) -> Floats:
    """Twelve genes for each number of cells that have them."""
    random = np.random.default_rng([n_obs, int(count), seed])
    numbers = np.repeat([1, 2, 3, 4, 6, 9, 12, 15, 20, 30], 12)
    X = np.zeros((n_obs, len(numbers)))
    for gene, k in enumerate(numbers):
        means = count * random.lognormal(-(spread**2) / 2, spread, k)
        X[random.choice(n_obs, k, replace=False), gene] = np.maximum(random.poisson(means), 1)
    return X


def reads(n_obs: int, seed: int) -> Floats:
    """Copies of NB molecules, 30 of each on average."""
    random = np.random.default_rng([seed, 5])
    means = np.geomspace(1 / n_obs, 60 / n_obs, 150)
    molecules = random.poisson(means * random.gamma(1.0, 1.0, (n_obs, len(means))))
    return molecules + random.negative_binomial(np.maximum(molecules, 1), 1 / 30) * (molecules > 0)


def few_counts(n_obs: int, seed: int) -> Floats:
    """NB genes of small means, half of whose counts dropped out."""
    random = np.random.default_rng([seed, 6])
    means = np.geomspace(0.003, 0.3, 150)
    counts = random.poisson(means * random.gamma(2.0, 0.5, (n_obs, len(means))))
    return counts * (random.random(counts.shape) < 0.5)


def made() -> Iterator[tuple[str, ad.AnnData, Callable[[ad.AnnData], Calls]]]:
    """Data sets with genes of a few cells, and a method each."""
    for n_obs in (200, 600, 5000):
        for count in (30, 100, 1000, 10_000):
            for spread in (0.0, 1.0):
                adata = with_others(rare_cells(n_obs, count, spread, seed=0), seed=n_obs)
                yield "rare cells", adata, zero_test
                if n_obs < 5000 and count in (100, 10_000):
                    yield "rare cells", adata, zi_scores
    for name, counts in (("reads", reads), ("few counts", few_counts)):
        for n_obs in (200, 600, 2000):
            adata = with_others(counts(n_obs, seed=n_obs), seed=n_obs)
            yield name, adata, zero_test
            yield name, adata, zi_scores
    gut = mouse_gut()
    yield "mouse gut", gut, zero_test
    yield "mouse gut", gut, zi_scores


def mouse_gut() -> ad.AnnData:
    """571 cells; the 500 genes with most counts, and 1,500 drawn of the others."""
    import data  # beside this file

    gut = data.load("mousegut", 20_000)
    total = np.asarray(gut.X.sum(axis=0)).ravel()
    order = np.argsort(-total, kind="stable")[: int((total > 0).sum())]
    others = np.random.default_rng(0).choice(order[500:], 1500, replace=False)
    gut = gut[:, np.sort(np.r_[order[:500], others])].copy()
    gut.var["rare"] = True
    return gut[np.asarray(gut.X.sum(axis=1)).ravel() > 0].copy()


def places(seen: NDArray[np.number]) -> NDArray[np.int_]:
    """In which of `SEEN` each is."""
    return np.digitize(seen, list(SEEN.values())) - 1


def calls_table() -> str:
    """Genes called of all, by data, method and number of cells."""
    tallies: dict[tuple[str, str], NDArray[np.int_]] = {}
    for name, adata, method in made():
        found = method(adata)
        rare, inside = adata.var["rare"].to_numpy(), places(found.seen)
        rows = [rare & (inside == b) for b in range(len(SEEN))]
        tally = np.array([[(r & found.without).sum(), (r & found.with_rule).sum(), r.sum()] for r in rows])
        place = name, method.__name__
        tallies[place] = tallies.get(place, 0) + tally
        print(place, adata.shape, tally.tolist(), flush=True)
    return table(
        ["genes", "method", *SEEN],
        [
            [name, f"`{method}`", *(f"{a}, {b} of {n}" if n else "" for a, b, n in tally)]
            for (name, method), tally in tallies.items()
        ],
    )


def null_table() -> str:
    """Share of p values up to each level of NB counts, by the number of cells with a count per rate."""
    from zinbtools.stats.count_models import fit_counts
    from zinbtools.stats.zero_inflation import boundary_pval, dropout_likelihood_ratio

    rows = []
    for n_groups in (1, 8):
        random, found = np.random.default_rng(n_groups), []
        for n_obs in (300, 1000, 3000):
            depth = random.lognormal(0, 0.35, n_obs)
            design = np.eye(n_groups)[random.integers(0, n_groups, n_obs)]
            for theta in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0):
                for mean in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
                    x = random.poisson(random.gamma(theta, mean / theta, (n_obs, 150)) * depth[:, None])
                    x = x[:, x.any(axis=0)]
                    fits = fit_counts(x, depth, covariates=design, families=["zinb"], negligible_dropout=0.01)
                    found.append(
                        np.c_[(x > 0).sum(axis=0) / n_groups, boundary_pval(dropout_likelihood_ratio(fits))]
                    )
        per_rate, pval = np.concatenate(found).T
        for b, name in enumerate(SEEN):
            inside = pval[places(per_rate) == b]
            shares = [f"{(inside <= level).mean():.4f}" for level in LEVELS]
            rows.append([str(n_groups), name, str(len(inside)), *shares])
    return table(["rates", "cells per rate", "genes", *(f"p <= {level:g}" for level in LEVELS)], rows)


def power_table(seed: int = 31) -> str:
    """Calls of the inflated genes of mean above 1."""
    rows = []
    for base in genes.SIMULATED:
        for n_obs in (500, 2000):
            adata = genes.with_truth(genes.base(base, n_obs, 500, 1, seed), 0.4, seed)
            high = np.asarray(adata.X.mean(axis=0)).ravel() > 1
            inflated = adata.var["is_zero_inflated"].to_numpy()
            silent = adata.var["is_bimodal"].to_numpy() if "is_bimodal" in adata.var else np.zeros_like(high)
            truth, null = inflated & high, ~inflated & ~silent
            row = [base, f"{n_obs:,}", str(truth.sum())]
            for method in (zi_scores, zero_test, zero_test_by_type):
                _, *called = method(adata)
                row.append(", ".join(f"{(c & truth).sum()} ({(c & null).sum()})" for c in called))
            print(row, flush=True)
            rows.append(row)
    methods = ["`zi_scores`", "`zero_test`", "`zero_test` by type"]
    return table(["base", "cells", "genes", *methods], rows)


def section() -> str:
    return genes.RARE_GENES + "\n" + TEXT.format(null=null_table(), calls=calls_table(), power=power_table())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", type=Path, help="the page whose section is written; printed by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    text = section()
    if arguments.write is None:
        print(text)
        return
    rest = arguments.write.read_text(encoding="utf-8").split(genes.RARE_GENES)[0].rstrip()
    arguments.write.write_text(f"{rest}\n\n{text.rstrip()}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
