"""Do the probabilities of dropout, as weights, help to find genes that differ between two groups?

    python tests/benchmarks/weights.py --sets 8

Each set has two groups of cells, and genes of which a third differ. An NB regression of each gene on the
group (statsmodels, offset by the size factor, dispersion by maximum likelihood under the full model,
likelihood ratio) takes the counts as they are; with the weights ``1 - zt.get.posterior_dropout(adata)``; and
with these only in genes that `zt.tl.zi_scores` calls zero-inflated.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, sparse, stats
from tables import table

Floats = NDArray[np.float64]
WAYS = {"unweighted": "without", "weighted": "with", "called": "with, in called genes"}


class Found(NamedTuple):
    """What one way finds in one set, in shares."""

    dropout: float
    way: str
    power: float
    fdr: float
    false_positives: float
    mean_weight: float


def simulated(dropout: float, seed: int, n_obs: int, n_vars: int) -> ad.AnnData:
    """Counts of two groups; ``var["differs"]`` is the truth."""
    random = np.random.default_rng([seed, 29])
    group = random.permutation(np.arange(n_obs) % 2)
    depth = random.lognormal(0, 0.3, n_obs)
    differs = np.arange(n_vars) % 3 == 0
    change = np.where(differs, random.choice([-1, 1], n_vars) * random.lognormal(np.log(0.4), 0.3, n_vars), 0)
    mean = np.exp(random.uniform(np.log(0.5), np.log(20), n_vars))
    theta = random.lognormal(np.log(2), 0.4, n_vars)
    rates = depth[:, None] * mean * np.exp(change * (group[:, None] - 0.5))
    true = random.poisson(rates * random.gamma(theta, 1 / theta, rates.shape))
    counts = true * (random.random(true.shape) >= dropout)
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs["group"], adata.obs["depth"], adata.var["differs"] = group, depth, differs
    return adata


def pvalues(counts: Floats, group: Floats, offset: Floats, weights: Floats) -> Floats:
    """P value of the group in each gene, by weighted NB regressions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of statsmodels, about convergence far from the best dispersion
        columns = zip(counts.T, weights.T, strict=True)
        return np.array([_pvalue(x, group, offset, weight) for x, weight in columns])


def _pvalue(x: Floats, group: Floats, offset: Floats, weights: Floats) -> float:
    import statsmodels.api as sm

    full, null = np.column_stack([np.ones_like(group), group]), np.ones((len(group), 1))

    def log_likelihood(design: Floats, log_alpha: float) -> float:
        family = sm.families.NegativeBinomial(alpha=np.exp(log_alpha))
        return sm.GLM(x, design, family=family, offset=offset, freq_weights=weights).fit().llf

    best = optimize.minimize_scalar(
        lambda a: -log_likelihood(full, a), bounds=(-4, 3), method="bounded", options={"xatol": 0.02}
    )
    ratio = 2 * (-best.fun - log_likelihood(null, best.x))
    return float(stats.chi2.sf(max(ratio, 0), 1))


def evaluated(dropout: float, seed: int, n_obs: int, n_vars: int) -> Iterator[Found]:
    """One row for each way."""
    import zinbtools as zt

    adata = simulated(dropout, seed, n_obs, n_vars)
    zt.tl.fit_nb_zinb(adata, rng=seed, progress=False)
    zt.tl.zi_scores(adata, progress=False)
    adata.layers["weights"] = 1 - zt.get.posterior_dropout(adata).to_numpy(dtype=np.float64)
    called = (adata.var["zi_call"] == "zero-inflated").to_numpy()
    weights = {
        "unweighted": np.ones(adata.shape),
        "weighted": adata.layers["weights"],
        "called": np.where(called, adata.layers["weights"], 1.0),
    }
    counts, offset = adata.X.toarray().astype(float), np.log(adata.obs["depth"].to_numpy())
    differs = adata.var["differs"].to_numpy()
    for way, of_entries in weights.items():
        pval = pvalues(counts, adata.obs["group"].to_numpy(dtype=float), offset, of_entries)
        hit = stats.false_discovery_control(pval) <= 0.05
        wrong = hit[~differs].sum() / max(hit.sum(), 1)
        of_zeros = of_entries[counts == 0].mean()
        yield Found(dropout, way, hit[differs].mean(), wrong, (pval[~differs] <= 0.05).mean(), of_zeros)


def summary(found: pd.DataFrame) -> str:
    """One row for each probability of dropout and way."""
    rows = []
    for (dropout, way), of in found.groupby(["dropout", "way"], sort=False):
        numbers = [f"{100 * of[c].mean():.1f} ± {100 * of[c].sem():.1f} %" for c in Found._fields[2:5]]
        rows.append([f"{dropout:.0%}", WAYS[str(way)], *numbers, f"{of['mean_weight'].mean():.3f}"])
    return table(
        [
            *("lost", "weights", "power", "false discoveries"),
            *("p up to .05, of genes that do not differ", "mean weight of a zero"),
        ],
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--n-obs", type=int, default=800)
    parser.add_argument("--n-vars", type=int, default=150)
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.2, 0.0])
    options = parser.parse_args()
    rows: list[Found] = []
    for dropout in options.dropout:
        for seed in range(options.sets):
            began = time.process_time()
            rows += evaluated(dropout, seed, options.n_obs, options.n_vars)
            print(*rows[-3:], f"{time.process_time() - began:.0f} s", sep="\n", flush=True)
    print(summary(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
