"""Why are there zeros: confusion of causes on known truth, by mean, cells and rates, and the time it takes.

    python tests/benchmarks/zero_causes.py known --write docs/zero_causes.md
    python tests/benchmarks/zero_causes.py network --write docs/zero_causes.md
    python tests/benchmarks/zero_causes.py speed --write docs/zero_causes.md

Each writes its own table of the page, between two comments that name it, and leaves the others alone.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from anndata import AnnData
from scipy import optimize, special, stats
from tables import table

Floats = np.ndarray

MEANS = (0.3, 1.0, 3.0, 10.0, 30.0)
SIZES = (500, 2000, 8000)
N_GENES = 40  # of each kind
CAUSES = ("none", "dispersion", "covariate", "bursting", "dropout", "cannot tell")
RATES = {"slow": (0.2, 1.0), "slower": (0.05, 0.2), "fast": (1.0, 5.0)}


def drawn(kind: str, mu: Floats, random: np.random.Generator) -> Floats:
    """Counts of genes of a kind around known means, (N, G)."""
    n_genes = mu.shape[1]
    if kind in RATES:
        on, off = np.exp(random.uniform(*np.log(RATES[kind]), (2, n_genes)))
        return random.poisson(mu * random.beta(on, off, mu.shape) * (on + off) / on)
    theta = 2 * np.exp(0.6 * random.standard_normal(n_genes))
    counts = random.poisson(mu * random.gamma(theta, 1 / theta, mu.shape))
    if kind == "dropout":
        counts *= random.random(mu.shape) >= random.uniform(0.1, 0.3, n_genes)
    return counts


def known() -> str:
    """Causes around the true means, without a network: what the counts themselves can tell."""
    from zinbtools._words.answers import Call
    from zinbtools.stats import zero_inflation as zi
    from zinbtools.stats.bursts import fit_bursts
    from zinbtools.stats.count_models import fit_counts
    from zinbtools.stats.zero_causes import zero_causes

    kinds = ("NB", "slow", "slower", "fast", "dropout")
    found: dict[tuple[float, int, str], Counter[str]] = {}
    for seed, (mean, n) in enumerate((mean, n) for mean in MEANS for n in SIZES):
        random = np.random.default_rng(1000 + seed)
        depth = random.lognormal(0, 0.4, (n, 1))
        mu = mean * depth * random.lognormal(0, 0.5, (n, N_GENES * len(kinds)))
        parts = np.split(mu, len(kinds), axis=1)
        counts = np.hstack([drawn(kind, part, random) for kind, part in zip(kinds, parts, strict=True)])
        fits = fit_counts(counts, mu, families=("zinb",), negligible_dropout=0.01)
        adjusted = zi.adjusted_pval(zi.boundary_pval(zi.dropout_likelihood_ratio(fits)))
        called = adjusted <= 0.05
        call = np.where(called, Call.ZERO_INFLATED.value, Call.UNDECIDED.value).astype(object)
        statistic = np.full(len(call), np.nan)
        if called.any():
            statistic[called] = fit_bursts(counts[:, called], mu[:, called]).statistic
        cause = zero_causes(call, np.full(len(call), "", dtype=object), statistic, n, 0.05).cause
        for kind, some in zip(kinds, np.split(cause, len(kinds)), strict=True):
            found[mean, n, kind] = Counter(some)
        print(mean, n, {kind: dict(found[mean, n, kind]) for kind in kinds}, flush=True)
    rows = [
        (f"{mean:g}", f"{n:,}", *(_shares(found[mean, n, kind]) for kind in kinds))
        for mean in MEANS
        for n in SIZES
    ]
    return table(["mean", "cells", *kinds], rows)


def _shares(counter: Counter[str]) -> str:
    """Per cent of genes named bursting, dropout and "cannot tell"; the rest is "none"."""
    total = sum(counter.values())
    return ", ".join(
        f"{100 * counter[cause] / total:.0f}" for cause in ("bursting", "dropout", "cannot tell")
    )


def data_sets() -> Iterator[tuple[str, AnnData]]:
    import zinbtools as zt

    def means(seed: int, n_genes: int) -> Floats:
        return np.exp(np.random.default_rng(seed).uniform(np.log(0.2), np.log(20), n_genes))

    for seed in (101, 102):
        yield "2,000 cells", zt.simulate.zero_causes(2000, 400, means=means(seed, 400), rng=seed)
    nulls = {"none": 1, "dispersion": 1}
    for seed in (103, 104):
        adata = zt.simulate.zero_causes(2000, 400, means=means(seed, 400), shares=nulls, rng=seed)
        yield "2,000 cells, no bursts, no dropout", adata
    two = zt.simulate.zero_causes(2000, 400, means=means(105, 400), n_alleles=2, rng=105)
    yield "2,000 cells, two alleles", two
    deep = zt.simulate.zero_causes(2000, 400, means=means(106, 400), library_sd=1.0, rng=106)
    yield "2,000 cells, depths over a decade", deep


def network() -> str:
    """Causes around what an NB network expects, of simulated cell types."""
    import zinbtools as zt

    counters: dict[tuple[str, str, str], Counter[str]] = {}
    bursts: dict[str, list[Floats]] = {}
    for name, adata in data_sets():
        adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() > 0].copy()
        zt.tl.fit_nb_zinb(adata, models="nb", rng=0, progress=False)
        zt.tl.explain_zeros(adata)
        found, truth = adata.var["zero_cause"].astype(str), adata.var["cause"].astype(str)
        mean = np.asarray(adata.X.mean(axis=0)).ravel()
        where = np.select([mean < 1, mean < 3], ["below 1", "1 to 3"], "3 and more")
        for key in zip([name] * len(mean), truth, where, found, strict=True):
            counters.setdefault(key[:3], Counter())[key[3]] += 1
        named = ((found == "bursting") & (truth == "bursting")).to_numpy()
        genes = zt.get.zero_causes_df(adata)[named]
        some = np.stack(
            [
                genes["burst_frequency"],
                genes["burst_size"],
                *adata.var.loc[named, ["k_on", "burst_size"]].to_numpy().T,
            ]
        )
        bursts.setdefault(name, []).append(some)
        print(name, flush=True)
    rows = []
    for (name, truth, where), counter in sorted(counters.items()):
        rows.append((name, truth, where, sum(counter.values()), *(counter[cause] for cause in CAUSES)))
    text = table(["data", "truth", "mean", "genes", *CAUSES], rows)
    lines = []
    for name, parts in bursts.items():
        all_of = np.hstack(parts)
        if all_of.shape[1] > 9:
            of = [float(stats.spearmanr(all_of[k], all_of[k + 2])[0]) for k in range(2)]
            lines.append((name, all_of.shape[1], *(f"{value:.2f}" for value in of)))
    return text + "\n" + table(["data", "genes named rightly", "frequency", "size"], lines)


def reference(x: Floats, mu: Floats) -> tuple[float, float]:
    """Log likelihoods of the ZINB and the Beta-Poisson of one gene at their maxima, by scipy alone."""

    def zinb(at: Floats) -> float:
        theta, m = np.exp(-at[1]), mu * np.exp(at[0])
        kept = stats.nbinom.logpmf(x, theta, theta / (theta + m)) + special.log_expit(-at[2])
        return -float(np.where(x == 0, np.logaddexp(special.log_expit(at[2]), kept), kept).sum())

    def bursts(at: Floats) -> float:
        alpha, shape = np.exp(at[1]), special.expit(at[2])
        a = shape / alpha
        b = shape * (a + 1) / (1 - shape)
        nodes, weights = special.roots_jacobi(60, b - 1, a - 1)
        rates = mu[:, None] * np.exp(at[0]) * (a + b) / a * (1 + nodes) / 2
        terms = stats.poisson.logpmf(x[:, None], rates) + np.log(weights / weights.sum())
        found = -float(special.logsumexp(terms, axis=1).sum())
        return found if np.isfinite(found) else 1e8  # where the nodes overflow

    start = np.array([np.log(x.sum() / mu.sum()), 0.0, 0.0])
    bounds = [(-3, 3), (np.log(1e-2), np.log(50)), (-6, 5)]
    of = (optimize.minimize(f, start, method="L-BFGS-B", bounds=bounds).fun for f in (zinb, bursts))
    return tuple(-float(value) for value in of)  # type: ignore[return-value]


def speed() -> str:
    """CPU seconds of the whole on one core, and of a gene beside the reference."""
    import zinbtools as zt
    from zinbtools.stats.bursts import fit_bursts

    shares = {"none": 7, "dispersion": 1, "bursting": 1, "dropout": 1}
    means = np.exp(np.random.default_rng(7).uniform(np.log(0.05), np.log(10), 1000))
    adata = zt.simulate.zero_causes(2000, 1000, means=means, shares=shares, rng=7)
    adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() > 0].copy()
    zt.tl.fit_nb_zinb(adata, models="nb", rng=0, progress=False)
    zt.tl.explain_zeros(adata[:, :].copy())  # compiles
    begin = time.process_time()
    zt.tl.explain_zeros(adata)
    whole = time.process_time() - begin
    begin = time.process_time()
    zt.tl.zi_scores(adata)
    scores = time.process_time() - begin
    n_asked = int(adata.var["zero_cause_margin"].notna().sum())
    random = np.random.default_rng(8)
    mu = 5 * random.lognormal(0, 0.5, (2000, 20))
    x = drawn("slow", mu, random)
    fit_bursts(x[:, :2], mu[:, :2])  # compiles
    begin = time.process_time()
    ours = fit_bursts(x, mu)
    of_gene = (time.process_time() - begin) / 20
    begin = time.process_time()
    theirs = np.array([reference(x[:, g], mu[:, g]) for g in range(6)])
    of_reference = (time.process_time() - begin) / 6
    both = np.stack([ours.zinb.log_likelihood[:6, 3], ours.log_likelihood[:6]], axis=1)
    print("ours less scipy's, nats", (both - theirs).tolist(), flush=True)
    size = f"{adata.n_vars:,} genes x 2,000 cells, {n_asked} asked for bursts"
    rows = [
        (f"`explain_zeros`, {size}", f"{whole:.1f} s"),
        ("of which `zi_scores`", f"{scores:.1f} s"),
        ("ZINB and Beta-Poisson of a slow gene, 2,000 cells, mean 5", f"{1e3 * of_gene:.1f} ms"),
        ("the same by scipy (60 nodes, L-BFGS-B)", f"{1e3 * of_reference:,.0f} ms"),
        ("ratio", f"{of_reference / of_gene:,.0f}"),
    ]
    return table(["what", "CPU time"], rows)


PARTS: dict[str, Callable[[], str]] = {"known": known, "network": network, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--write", type=Path, help="the page that has the table; printed by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    text = PARTS[arguments.part]()
    if arguments.write is None:
        print(text)
        return
    begin, end = (f"<!-- {arguments.part}: {word} -->" for word in ("begin", "end"))
    page = arguments.write.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    arguments.write.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
