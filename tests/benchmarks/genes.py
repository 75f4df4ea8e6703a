"""Which genes are zero-inflated? Every method on counts whose truth is known, with and without inflation.

    python tests/benchmarks/genes.py --n-obs 2000 --n-vars 500 --seeds 11 12 13 --out genes.jsonl
    python tests/benchmarks/genes.py --out genes.jsonl --write docs/gene_calls.md

One line of JSON for each data set and method; what is in the file already is not run again. AUTOZI runs where
``--scvi-python`` names an interpreter that has scvi-tools. The real counts are read from ``ZINBTOOLS_DATA``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import jsonl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, stats

EDGES = (0.01, 0.1, 0.3, 1, 3, 10, np.inf)
BINS = ("< 0.1", "0.1-0.3", "0.3-1", "1-3", "3-10", "> 10")
SIMULATED = ("gamma_poisson", "poisson_lognormal", "trajectory", "beta_poisson")
REAL = ("twin of pbmc4k", "twin of cortex", "knocked-out pbmc4k")
METHODS = (
    "bound",
    "bound, any dropout",
    "conditional",
    "zero_test",
    "zero_test by type",
    "predictive",
    "reconstruction",
    "mean dropout",
    "HIPPO z",
    "NBDrop z",
)
RARE_GENES = "## Genes seen in a few cells"  # a section of the page that rare_genes.py writes
Floats = NDArray[np.float64]
# What a method says of each gene: its rank, whether it is called, whether it is left open.
Verdict = tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]


def base(name: str, n_obs: int, n_vars: int, n_batches: int, seed: int) -> ad.AnnData:
    """Counts without inflation, with ``layers["expected"]``, the true means, where there are any."""
    import zinbtools as zt

    means = 10 ** np.random.default_rng([seed, 1]).uniform(-2, 2, n_vars)
    if name == "trajectory":
        return trajectory(n_obs, means, seed)
    if name in SIMULATED:
        adata = getattr(zt.simulate, name)(n_obs, n_vars, means=means, n_batches=n_batches, rng=seed)
        effects = adata.varm["log_type_effect"][:, adata.obs["cell_type"].cat.codes]
        effects = effects + adata.varm["log_batch_effect"][:, adata.obs["batch"].cat.codes]
        log_mean = effects.T + np.log(adata.obs["library_size"].to_numpy())[:, None]
        if name == "poisson_lognormal":
            log_mean = log_mean + adata.obsm["factors"] @ adata.varm["loadings"].T
        adata.layers["expected"] = np.exp(log_mean)
        return adata
    import data  # beside this file

    real = data.load("cortex" if "cortex" in name else "pbmc4k", n_vars)
    cells = np.sort(np.random.default_rng([seed, 2]).permutation(real.n_obs)[:n_obs])
    real = real[cells].copy()
    X = real.X.toarray()
    real = real[X.sum(axis=1) > 0, X.any(axis=0)].copy()
    if name.startswith("knocked-out"):
        return real
    return zt.simulate.like(real, groupby="cell_type", rng=seed)


def trajectory(n_obs: int, means: Floats, seed: int) -> ad.AnnData:
    """Negative binomial counts along a circle: half of the genes rise and fall, each at its own place."""
    random = np.random.default_rng([seed, 3])
    n_vars = len(means)
    place, peak = random.random((n_obs, 1)), random.random(n_vars)
    height = random.normal(0, 1, n_vars) * (random.random(n_vars) < 0.5)
    library = np.exp(0.4 * random.standard_normal((n_obs, 1)))
    expected = library * np.exp(height * np.cos(2 * np.pi * (place - peak)))
    expected *= means / expected.mean(axis=0)
    theta = 2 * np.exp(0.6 * random.standard_normal(n_vars))
    counts = random.poisson(expected * random.gamma(theta, 1 / theta, expected.shape))
    adata = ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs["cell_type"] = pd.Categorical((place[:, 0] * 6).astype(int).astype(str))
    adata.obs["batch"] = "one"
    adata.layers["expected"] = expected
    return adata


def with_truth(adata: ad.AnnData, share: float, seed: int) -> ad.AnnData:
    """Inflate a share of the genes, dropout 0.02 to 0.3; the truth is in ``var["is_zero_inflated"]``."""
    import zinbtools as zt

    p = np.random.default_rng([seed, 4]).uniform(0.02, 0.3, adata.n_vars)
    expected = adata.layers.get("expected")
    result = zt.simulate.knockout(adata, zt.simulate.PerGene(p), share=share, rng=seed)
    result.var["true_dropout"] = np.where(result.var["is_zero_inflated"], p, 0.0)
    if expected is not None:
        result.layers["expected"] = expected
    X = result.X.toarray()
    return result[X.sum(axis=1) > 0, (X > 0).sum(axis=0) > 0].copy()


def ranks(score: Floats, pval: Floats) -> NDArray[np.int_]:
    """Place of each gene, the strongest evidence last: by p value, and by score where that is the same."""
    return np.unique(np.nan_to_num(np.c_[-pval, score], nan=-1.0), axis=0, return_inverse=True)[1].ravel()


def by_pval(score: Floats, pval: Floats) -> Verdict:
    """Calls at a false discovery rate of 5 %."""
    called = stats.false_discovery_control(np.nan_to_num(pval, nan=1.0)) <= 0.05
    return ranks(score, pval), called, np.zeros(len(called), dtype=bool)


def bound(negligible: float) -> Callable[[ad.AnnData], Verdict]:
    """The likelihood ratio around the true means."""

    def verdict(adata: ad.AnnData) -> Verdict:
        from zinbtools.stats.count_models import fit_counts
        from zinbtools.stats.zero_inflation import boundary_pval, dropout_likelihood_ratio

        expected = adata.layers["expected"]
        fits = fit_counts(adata.X, expected, families=["zinb"], negligible_dropout=negligible)
        return by_pval(fits.gain, boundary_pval(dropout_likelihood_ratio(fits)))

    return verdict


def conditional(adata: ad.AnnData) -> Verdict:
    import zinbtools as zt

    zt.tl.zi_scores(adata)
    call = adata.var["zi_call"].astype(str).to_numpy()
    place = ranks(adata.var["zi_score"].to_numpy(), adata.var["zi_pval"].to_numpy())
    return place, call == "zero-inflated", call == "undecided"


def networks(method: str) -> Callable[[ad.AnnData], Verdict]:
    def verdict(adata: ad.AnnData) -> Verdict:
        import zinbtools as zt

        zt.tl.zi_scores(adata, method=method)
        score = adata.var["zi_score"].to_numpy()
        return by_pval(score, stats.norm.sf(score / adata.var["zi_score_se"].to_numpy()))

    return verdict


def mean_dropout(adata: ad.AnnData) -> Verdict:
    score = adata.var["zinb_mean_dropout"].to_numpy()
    nothing = np.zeros(len(score), dtype=bool)
    return score, nothing, nothing


def zero_test(groupby: str | None) -> Callable[[ad.AnnData], Verdict]:
    def verdict(adata: ad.AnnData) -> Verdict:
        import zinbtools as zt

        zt.tl.zero_test(adata, families=["nb", "zinb"], groupby=groupby)
        table = zt.get.zero_test_df(adata)
        return by_pval(table["score"].to_numpy(), table["pval"].to_numpy())

    return verdict


def hippo(adata: ad.AnnData) -> Verdict:
    """Zeros against a Poisson distribution of the gene's mean."""
    X = adata.X.toarray()
    expected = np.exp(-X.mean(axis=0))
    z = ((X == 0).mean(axis=0) - expected) / np.sqrt(np.maximum(expected * (1 - expected), 1e-12) / len(X))
    return by_pval(z, stats.norm.sf(z))


def nbdrop(adata: ad.AnnData) -> Verdict:
    """Zeros against an NB whose size is smoothed over genes by the mean (NBumi of M3Drop)."""
    z = nbdrop_z(adata.X.toarray().astype(np.float64))
    return by_pval(z, stats.norm.sf(z))


def nbdrop_z(X: Floats) -> Floats:
    """What is above expectation of each gene's zeros, over its standard error; `gene_peers` has M3Drop's."""
    n = len(X)
    mu = np.outer(X.sum(axis=1), X.sum(axis=0)) / X.sum()
    excess = ((X - mu) ** 2).sum(axis=0) - mu.sum(axis=0)
    size = np.where(excess > 0, (mu**2).sum(axis=0) / np.maximum(excess, 1e-12), 1e4).clip(1e-4, 1e4)
    log_mean = np.log(X.mean(axis=0))
    smooth = np.exp(np.polyval(np.polyfit(log_mean[excess > 0], np.log(size[excess > 0]), 1), log_mean))
    zero = (1 + mu / smooth) ** -smooth
    expected, observed = zero.mean(axis=0), (X == 0).mean(axis=0)
    variance = (zero * (1 - zero)).sum(axis=0) / n**2 + observed * (1 - observed) / n
    return (observed - expected) / np.sqrt(np.maximum(variance, 1e-300))


def autozi(adata: ad.AnnData, python: str) -> Verdict:
    """AUTOZI of scvi-tools with its defaults, in its own interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        sparse.save_npz(Path(folder, "x.npz"), sparse.csr_matrix(adata.X))
        subprocess.run([python, "-W", "ignore", "-c", _AUTOZI, folder], check=True, stdout=subprocess.DEVNULL)
        score = np.load(Path(folder, "p.npy"))
    return score, score > 0.5, np.zeros(len(score), dtype=bool)


_AUTOZI = """
import sys, anndata, numpy as np, scvi, torch
from scipy import sparse, stats
torch.set_num_threads(1)
folder = sys.argv[1]
adata = anndata.AnnData(sparse.load_npz(folder + "/x.npz").tocsr())
scvi.settings.seed = 0
scvi.model.AUTOZI.setup_anndata(adata)
model = scvi.model.AUTOZI(adata)
model.train(max_epochs=200, enable_progress_bar=False, accelerator="cpu", plan_kwargs={"lr": 1e-2})
q = model.get_alphas_betas()
np.save(folder + "/p.npy", stats.beta.cdf(0.5, q["alpha_posterior"], q["beta_posterior"]))
"""

VERDICTS: dict[str, Callable[[ad.AnnData], Verdict]] = {
    "bound": bound(0.01),
    "bound, any dropout": bound(0.0),
    "conditional": conditional,
    "zero_test": zero_test(None),
    "zero_test by type": zero_test("cell_type"),
    "predictive": networks("predictive"),
    "reconstruction": networks("reconstruction"),
    "mean dropout": mean_dropout,
    "HIPPO z": hippo,
    "NBDrop z": nbdrop,
}


def records(arguments: argparse.Namespace, done: set[tuple]) -> Iterator[dict[str, Any]]:
    """One for each data set and method that is not done."""
    for seed in arguments.seeds:
        for name in arguments.bases:
            for share in arguments.shares:
                place = (name, arguments.n_obs, arguments.n_vars, arguments.n_batches, share, seed)
                todo = [m for m in arguments.methods if (*place, m) not in done]
                if not todo or (name in REAL and share == 0 and name.startswith("knocked-out")):
                    continue
                whole = base(name, arguments.n_obs, arguments.n_vars, arguments.n_batches, seed)
                adata = with_truth(whole, share, seed)
                seconds = fit(adata, arguments, seed, todo)
                for method in todo:
                    if method.startswith("bound") and "expected" not in adata.layers:
                        continue
                    yield {
                        **dict(zip(PLACE, place, strict=True)),
                        **judged(adata, method, arguments, seconds),
                    }


PLACE = ("base", "n_obs", "n_vars", "n_batches", "share", "seed")


def fit(adata: ad.AnnData, arguments: argparse.Namespace, seed: int, methods: list[str]) -> dict[str, float]:
    """Fit what the methods need; CPU seconds of each model."""
    import zinbtools as zt

    both = {"predictive", "reconstruction", "mean dropout"} & set(methods)
    seconds = {"nb": 0.0, "zinb": 0.0}
    if not both and "conditional" not in methods:
        return seconds
    start = cpu_seconds()
    zt.tl.fit_nb_zinb(
        adata,
        batch_key="batch" if arguments.n_batches > 1 else None,
        models=("nb", "zinb") if both else ("nb",),
        layers=("mean",),
        rng=seed,
        progress=False,
    )
    whole = cpu_seconds() - start
    return {"nb": whole / 2 if both else whole, "zinb": whole / 2}


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    return sum(os.times()[:4])


def judged(
    adata: ad.AnnData, method: str, arguments: argparse.Namespace, seconds: dict[str, float]
) -> dict[str, Any]:
    """Counts of genes per bin of the mean, and areas under the curve."""
    start = cpu_seconds()
    if method == "AUTOZI":
        score, called, undecided = autozi(adata, arguments.scvi_python)
    else:
        score, called, undecided = VERDICTS[method](adata)
    spent = cpu_seconds() - start
    if method == "conditional":
        spent += seconds["nb"]
    elif method in ("predictive", "reconstruction", "mean dropout"):
        spent += seconds["nb"] + seconds["zinb"]
    truth = adata.var["is_zero_inflated"].to_numpy()
    # silent genes of the bursting base are no dropout, and are told apart from the others
    silent = adata.var["is_bimodal"].to_numpy() if "is_bimodal" in adata.var else np.zeros(len(truth), bool)
    null = ~truth & ~silent
    mean = np.asarray(adata.X.mean(axis=0)).ravel()
    place = np.digitize(mean, EDGES[1:-1])
    per_bin = [
        {
            "null": int((null & inside).sum()),
            "null_called": int((null & inside & called).sum()),
            "inflated": int((truth & inside).sum()),
            "found": int((truth & inside & called).sum()),
            "undecided": int((inside & undecided).sum()),
            "silent": int((silent & ~truth & inside).sum()),
            "silent_called": int((silent & ~truth & inside & called).sum()),
            "auroc": area(score[inside & (truth | null)], truth[inside & (truth | null)]),
        }
        for inside in (place == b for b in range(len(BINS)))
    ]
    high = (mean > 1) & (truth | null)
    return {"method": method, "seconds": spent, "auroc": area(score[high], truth[high]), "bins": per_bin}


def area(score: NDArray[Any], truth: NDArray[np.bool_]) -> float | None:
    """Probability that an inflated gene ranks above another one."""
    n, m = int(truth.sum()), int((~truth).sum())
    if not n or not m:
        return None
    return float((stats.rankdata(score)[truth].sum() - n * (n + 1) / 2) / (n * m))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bases", nargs="+", default=[*SIMULATED, *REAL], choices=[*SIMULATED, *REAL])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=[*METHODS, "AUTOZI"])
    parser.add_argument("--n-obs", type=int, default=2000)
    parser.add_argument("--n-vars", type=int, default=500)
    parser.add_argument("--n-batches", type=int, default=1)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12, 13])
    parser.add_argument("--scvi-python", default="python")
    parser.add_argument("--out", type=Path, default=Path("genes.jsonl"))
    parser.add_argument("--write", type=Path, help="only write the tables of what is in --out to this page")
    arguments = parser.parse_args()
    found = jsonl.read(arguments.out)
    if arguments.write:
        from gene_tables import page

        old = arguments.write.read_text(encoding="utf-8") if arguments.write.exists() else ""
        rare = "".join(old.partition(RARE_GENES)[1:])
        arguments.write.write_text("\n".join(filter(None, [page(found), rare])), encoding="utf-8")
        return
    warnings.simplefilter("ignore")
    done = {tuple(record[part] for part in (*PLACE, "method")) for record in found}
    for record in records(arguments, done):
        jsonl.add(arguments.out, record)
        print(*(record[part] for part in (*PLACE, "method", "auroc", "seconds")), flush=True)


if __name__ == "__main__":
    main()
