"""Why are there zeros: confusion of causes on known truth, by mean, cells and rates, and the time it takes.

    python tests/benchmarks/zero_causes.py known --write docs/zero_causes.md
    python tests/benchmarks/zero_causes.py network --write docs/zero_causes.md
    python tests/benchmarks/zero_causes.py others --scvi-python PYTHON --write docs/zero_causes.md
    python tests/benchmarks/zero_causes.py real --data FOLDER --write docs/zero_causes.md
    python tests/benchmarks/zero_causes.py speed --write docs/zero_causes.md

Each writes its own table of the page, between two comments that name it, and leaves the others alone.
``real --data FOLDER --only WORD ...`` prints the rows of the sets whose names begin so.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from anndata import AnnData
from scipy import optimize, sparse, special, stats
from tables import table

from zinbtools._words.answers import Call

Floats = Strings = np.ndarray

MEANS = (0.3, 1.0, 3.0, 10.0, 30.0)
SIZES = (500, 2000, 8000)
N_GENES = 200  # of each kind
CAUSES = ("none", "dispersion", "covariate", "bursting", "dropout", "cannot tell")
EDGES, BINS = (1.0, 3.0, 10.0), ("below 1", "1 to 3", "3 to 10", "10 and more")  # of means
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
    kinds = ("NB", "slow", "slower", "fast", "dropout")
    found: dict[tuple[float, int, str], Counter[str]] = {}
    for seed, (mean, n) in enumerate((mean, n) for mean in MEANS for n in SIZES):
        random = np.random.default_rng(5000 + seed)
        depth = random.lognormal(0, 0.4, (n, 1))
        mu = mean * depth * random.lognormal(0, 0.5, (n, N_GENES * len(kinds)))
        parts = np.split(mu, len(kinds), axis=1)
        counts = np.hstack([drawn(kind, part, random) for kind, part in zip(kinds, parts, strict=True)])
        cause = causes_around(counts, mu)
        for kind, some in zip(kinds, np.split(cause, len(kinds)), strict=True):
            found[mean, n, kind] = Counter(some)
        print(mean, n, {kind: dict(found[mean, n, kind]) for kind in kinds}, flush=True)
    rows = [
        (f"{mean:g}", f"{n:,}", *(_shares(found[mean, n, kind]) for kind in kinds))
        for mean in MEANS
        for n in SIZES
    ]
    return table(["mean", "cells", *kinds], rows)


def causes_around(counts: Any, mu: Floats) -> Strings:
    """Causes of genes around given means, (G,), with one dispersion for all cells."""
    from zinbtools.stats import zero_inflation as zi
    from zinbtools.stats.bursts import fit_bursts
    from zinbtools.stats.count_models import fit_counts
    from zinbtools.stats.zero_causes import zero_causes

    fits = fit_counts(counts, mu, families=("zinb",), negligible_dropout=0.01)
    called = zi.adjusted_pval(zi.boundary_pval(zi.dropout_likelihood_ratio(fits))) <= 0.05
    call = np.where(called, Call.ZERO_INFLATED.value, Call.UNDECIDED.value).astype(object)
    statistic = np.full(len(call), np.nan)
    if called.any():
        statistic[called] = fit_bursts(counts[:, called], mu[:, called]).statistic
    return zero_causes(call, np.full(len(call), "", dtype=object), statistic, len(mu), 0.05).cause


def _shares(counter: Counter[str]) -> str:
    """Per cent of genes named bursting, dropout and "cannot tell"; the rest is "none"."""
    total = sum(counter.values())
    return ", ".join(
        f"{100 * counter[cause] / total:.0f}" for cause in ("bursting", "dropout", "cannot tell")
    )


def means_of(seed: int, n_genes: int) -> Floats:
    return np.exp(np.random.default_rng(seed).uniform(np.log(0.2), np.log(50), n_genes))


def by_cell(seed: int) -> AnnData:
    """NB genes whose dispersions a cell multiplies by a factor of its own; no gene lost a count."""
    import zinbtools as zt

    adata = zt.simulate.gamma_poisson(2000, 400, means=means_of(seed, 400), rng=seed)
    random, mu = np.random.default_rng([seed, 1]), true_means(adata)
    theta = random.lognormal(0.7, 0.9, (2000, 1)) * random.lognormal(0, 0.5, (1, 400))
    adata.X = sparse.csr_matrix(random.poisson(random.gamma(theta, mu / theta)).astype(np.float32))
    adata.var["cause"], adata.var["k_on"], adata.var["burst_size"] = "dispersion", np.nan, np.nan
    return adata


def true_means(adata: AnnData) -> Floats:
    """What a simulator expected of each cell and gene, (N, G)."""
    log_type = adata.varm["log_type_effect"][:, adata.obs["cell_type"].cat.codes].T
    expected = adata.obs["library_size"].to_numpy()[:, None] * np.exp(log_type)
    return expected * (adata.var["mean"].to_numpy() / expected.mean(0))


def data_sets() -> Iterator[tuple[str, AnnData]]:
    import zinbtools as zt

    def simulated(seed: int, **how: Any) -> AnnData:
        return zt.simulate.zero_causes(2000, 400, means=means_of(seed, 400), rng=seed, **how)

    for seed in (501, 502, 503):
        yield "all causes", simulated(seed)
    for seed in (504, 505):
        yield "no bursts, no dropout", simulated(seed, shares={"none": 1, "dispersion": 1})
    for seed in (506, 507):
        yield "dispersion by cell", by_cell(seed)
    yield "two alleles", simulated(508, n_alleles=2)
    yield "depths over a decade", simulated(509, library_sd=1.0)


def with_causes(adata: AnnData) -> AnnData:
    """Fit the NB to the genes with a count, and explain their zeros."""
    import zinbtools as zt

    adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() > 0].copy()
    zt.tl.fit_nb_zinb(adata, models="nb", rng=0, progress=False)
    zt.tl.explain_zeros(adata)
    return adata


def bins(adata: AnnData) -> Strings:
    """In which range the mean of each gene is."""
    mean = np.asarray(adata.X.mean(axis=0)).ravel()
    return np.array(BINS)[np.digitize(mean, EDGES)]


def network() -> str:
    """Causes around what an NB network expects, of simulated cell types."""
    import zinbtools as zt

    counters: dict[tuple[str, str, str], Counter[str]] = {}
    bursts: dict[str, list[Floats]] = {}
    for name, adata in data_sets():
        adata = with_causes(adata)
        found, truth, where = adata.var["zero_cause"].astype(str), adata.var["cause"].astype(str), bins(adata)
        for key in zip([name] * len(found), truth, where, found, strict=True):
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
    for (name, truth, where), counter in sorted(counters.items(), key=_place):
        rows.append((name, truth, where, sum(counter.values()), *(counter[cause] for cause in CAUSES)))
    text = table(["data", "truth", "mean", "genes", *CAUSES], rows)
    lines = []
    for name, parts in bursts.items():
        all_of = np.hstack(parts)
        if all_of.shape[1] > 9:
            of = [float(stats.spearmanr(all_of[k], all_of[k + 2])[0]) for k in range(2)]
            lines.append((name, all_of.shape[1], *(f"{value:.2f}" for value in of)))
    return text + "\n" + table(["data", "genes named rightly", "frequency", "size"], lines)


def _place(item: tuple[tuple[str, ...], object]) -> tuple[str, str, int]:
    *data, truth, where = item[0]
    return "".join(data), truth, BINS.index(where)


def others(scvi_python: str | None) -> str:
    """Per cent of the genes of each cause that others, who ask for more zeros, call."""
    from genes import autozi, nbdrop

    found: dict[tuple[str, str], list[Floats]] = {}
    for _, adata in islice(data_sets(), 2):
        adata = with_causes(adata)
        ours, truth = adata.var["zero_cause"].astype(str), adata.var["cause"].astype(str).to_numpy()
        bound = causes_around(adata.X, true_means(adata))
        said = [
            ours == "bursting",
            ours == "dropout",
            np.where(truth == "covariate", np.nan, bound == "bursting"),  # whose means are not the true ones
            np.where(truth == "covariate", np.nan, bound == "dropout"),
            nbdrop(adata)[1],
            autozi(adata, scvi_python)[1] if scvi_python else np.full(len(truth), np.nan),
        ]
        for *key, gene in zip(truth, bins(adata), np.array(said, dtype=np.float64).T, strict=True):
            found.setdefault((key[0], key[1]), []).append(gene)
    rows = []
    for (truth_of, where), genes in sorted(found.items(), key=_place):
        shares = 100 * np.mean(genes, axis=0)
        rows.append((truth_of, where, len(genes), *("" if np.isnan(s) else f"{s:.0f}" for s in shares)))
    columns = ["bursting", "dropout", "bound: bursting", "bound: dropout", "NBDrop", "AUTOZI"]
    return table(["truth", "mean", "genes", *columns], rows)


REAL = {
    "mouse cortex, STRT": "cortex_zeisel2015",
    "PBMC, 10x v2": "pbmc4k_hvg2000",
    "PBMC with and without interferon, 10x v1": "kang2018_pbmc_ifnb2800",
    "RNA mixtures without cells, CEL-seq2": "rnamix_celseq2_mixology",
    "mouse gut, Smart-seq2, reads": "mousegut_smartseq2_reads",
    "spike-ins, GemCode": "ercc_zheng2017_gemcode",
    "spike-ins, Drop-seq": "ercc_macosko2015_dropseq",
    "mouse ES cells, CEL-seq2": "ziegenhain2017_celseq2_reads_and_umis",
    "mouse ES cells, SCRB-seq": "ziegenhain2017_scrbseq_reads_and_umis",
}
N_REAL = 500  # genes, the most variable ones


def real_sets(folder: Path, only: Sequence[str]) -> Iterator[tuple[str, AnnData, str]]:
    """Name, counts and what is counted, where it is known."""
    for name, file in REAL.items():
        if only and not name.startswith(tuple(only)):
            continue
        adata = ad.read_h5ad(folder / f"{file}.h5ad")
        if "spike_in" in adata.var and not name.startswith("spike-ins"):
            adata = adata[:, ~adata.var["spike_in"].to_numpy(dtype=bool)].copy()
        layers = {" (molecules)": "umi", " (reads)": "reads"} if "umi" in adata.layers else {"": None}
        for word, layer in layers.items():
            counts = sparse.csr_matrix(adata.X if layer is None else adata.layers[layer]).astype(np.float32)
            variance = np.asarray(counts.multiply(counts).mean(0) - np.square(counts.mean(0))).ravel()
            whole = AnnData(counts, obs=adata.obs, var=adata.var[[]])
            some = whole[:, np.sort(np.argsort(-variance)[:N_REAL])]
            some = some[:, np.asarray((some.X > 0).sum(0)).ravel() > 0]
            some = some[np.asarray(some.X.sum(1)).ravel() > 0].copy()
            yield name + word, some, "reads" if layer == "reads" else "auto"


def real(folder: Path, only: Sequence[str]) -> str:
    """Causes of the genes of real counts."""
    import zinbtools as zt

    causes, rows, named = ("none", "dispersion", "covariate", "amplification", *CAUSES[3:]), [], []
    for name, adata, counts in real_sets(folder, only):
        zt.tl.fit_nb_zinb(adata, models="nb", rng=0, progress=False)
        zt.tl.explain_zeros(adata, counts=counts)
        counter = Counter(adata.var["zero_cause"].dropna())
        size = (f"{adata.n_obs:,}", f"{adata.n_vars:,}")
        asked = adata.uns["zinbtools"]["zero_causes"]["params"]["counts"]
        rows.append((name, asked, *size, *(counter[cause] for cause in causes)))
        genes = zt.get.zero_causes_df(adata)
        for cause in ("bursting", "dropout"):
            some = genes[genes["cause"] == cause].sort_values("margin", key=abs, ascending=False)
            if len(some):
                named.append((name, cause, ", ".join(map(str, some.index[:8]))))
        print(rows[-1], named[-2:], flush=True)
    text = table(["data", "counts", "cells", "genes", *causes], rows)
    return text + "\n" + table(["data", "cause", "genes with the largest margins, at most 8"], named)


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

    rows = []
    few = {"none": 7, "dispersion": 1, "bursting": 1, "dropout": 1}
    many = {"none": 1, "bursting": 1, "dropout": 1}
    for seed, (shares, least) in enumerate([(few, 0.05), (many, 1.0)]):
        means = np.exp(np.random.default_rng(7 + seed).uniform(np.log(least), np.log(10), 1000))
        adata = zt.simulate.zero_causes(2000, 1000, means=means, shares=shares, rng=7 + seed)
        adata = adata[:, np.asarray((adata.X > 0).sum(axis=0)).ravel() > 0].copy()
        zt.tl.fit_nb_zinb(adata, models="nb", rng=0, progress=False)
        if not seed:
            zt.tl.explain_zeros(adata[:, :].copy())  # compiles
        begin = time.process_time()
        zt.tl.explain_zeros(adata)
        whole = time.process_time() - begin
        begin = time.process_time()
        zt.tl.zi_scores(adata)
        scores = time.process_time() - begin
        n_asked = int(adata.var["zi_call"].eq("zero-inflated").sum())
        size = f"{adata.n_vars:,} genes x 2,000 cells, {n_asked} called"
        rows += [(f"`explain_zeros`, {size}", f"{whole:.1f} s"), ("of which `zi_scores`", f"{scores:.1f} s")]
        print(rows, flush=True)
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
    rows += [
        ("ZINB and Beta-Poisson of a slow gene, 2,000 cells, mean 5", f"{1e3 * of_gene:.1f} ms"),
        ("the same by scipy (60 nodes, L-BFGS-B)", f"{1e3 * of_reference:,.0f} ms"),
        ("ratio", f"{of_reference / of_gene:,.0f}"),
    ]
    return table(["what", "CPU time"], rows)


PARTS = ("known", "network", "others", "real", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, help="folder of the real counts")
    parser.add_argument("--only", nargs="*", default=[], help="names of real sets, to be printed alone")
    parser.add_argument("--scvi-python", help="interpreter that has scvi-tools 1.4.2; no AUTOZI without")
    parser.add_argument("--write", type=Path, help="the page that has the table; printed by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    parts: dict[str, Callable[[], str]] = {
        "known": known,
        "network": network,
        "others": lambda: others(arguments.scvi_python),
        "real": lambda: real(arguments.data, arguments.only),
        "speed": speed,
    }
    text = parts[arguments.part]()
    if arguments.write is None or arguments.only:
        print(text)
        return
    begin, end = (f"<!-- {arguments.part}: {word} -->" for word in ("begin", "end"))
    page = arguments.write.read_text(encoding="utf-8")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    arguments.write.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
