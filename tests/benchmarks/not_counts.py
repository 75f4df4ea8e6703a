"""Whole numbers that are no counts of molecules: how many are found, and how often is a right matrix accused?

    python tests/benchmarks/not_counts.py [--all]

Real files and simulations, whole and in parts, as they are and made wrong in many ways. Prints a table, and
each miss and each false alarm; ``--all`` prints every matrix. Large ones have 300 cells and 300 genes at
least; small ones down to 60 cells of 50 genes, some of which hold little more than zeros and ones.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator

import anndata as ad
import numpy as np
from data import MOLECULES, SHARED  # beside this file
from numpy.typing import NDArray
from scipy import sparse

import zinbtools as zt
from zinbtools._anndata.findings import Findings
from zinbtools._anndata.kinds import Finding

Floats = NDArray[np.float64]
Named = tuple[str, sparse.csr_array]

LAYERS = MOLECULES[-2:]  # which have reads too


def normalised(x: Floats, total: float | None = None) -> Floats:
    """Scale every cell to a total, the median where none is given."""
    sums = x.sum(axis=1, keepdims=True)
    return x / sums * (total or np.median(sums))


def downsampled(x: Floats, rng: np.random.Generator) -> Floats:
    """Draw as many counts of every cell as the 30th percentile; cells with fewer are left out."""
    depth = int(np.quantile(x.sum(axis=1), 0.3))
    kept = x[x.sum(axis=1) >= depth].astype(np.int64)
    return np.stack([rng.multivariate_hypergeometric(row, depth) for row in kept]).astype(float)


def corrected(x: Floats, rng: np.random.Generator, noise: float) -> Floats:
    """Scale cells to the median with an error of their own, and every number with another."""
    return normalised(x) * np.exp(noise * rng.normal(size=x.shape) + 0.1 * rng.normal(size=(len(x), 1)))


def copied(x: Floats, rng: np.random.Generator, mean: float, spread: float) -> Floats:
    """Give every molecule a number of reads: Poisson about a gamma variable, at least 1."""
    shape = x / spread
    return x + rng.poisson(rng.gamma(np.where(x > 0, shape, 1), (mean - 1) * spread) * (x > 0))


Change = Callable[[Floats, np.random.Generator], Floats]
CHANGES: dict[str, dict[str, Change]] = {
    "multiples": {
        **{f"x {k}": (lambda x, rng, k=k: k * x) for k in (2, 3, 4, 5, 10, 100)},  # type: ignore[misc]
        "mostly in twos": lambda x, rng: x + rng.binomial(x.astype(int), 0.85),
    },
    "scaled": {
        **{f"to {t:.0e}": (lambda x, rng, t=t: normalised(x, t)) for t in (3e3, 1e4, 1e5, 1e6)},  # type: ignore[misc]
        "to the median": lambda x, rng: normalised(x),
        "corrected, noise 0.05": lambda x, rng: corrected(x, rng, 0.05),
        "corrected, noise 0.1": lambda x, rng: corrected(x, rng, 0.1),
    },
    "downsampled": {"to one depth": downsampled},
    "logs": {
        "log1p": lambda x, rng: np.log1p(x),
        "log2": lambda x, rng: np.log2(x + 1),
        "log of 1e4": lambda x, rng: np.log1p(normalised(x, 1e4)),
        "log2 of the median": lambda x, rng: np.log2(normalised(x) + 1),
        "10 log1p": lambda x, rng: 10 * np.log1p(x),
        "10 log of 1e4": lambda x, rng: 10 * np.log1p(normalised(x, 1e4)),
    },
    "reads": {
        "4 copies": lambda x, rng: copied(x, rng, 4, 2),
        "10 copies": lambda x, rng: copied(x, rng, 10, 1),
        "20 copies": lambda x, rng: copied(x, rng, 20, 3),
    },
}


def parts(name: str, x: sparse.csr_array, rng: np.random.Generator) -> Iterator[Named]:
    """Give the matrix and some of its cells and genes: any, those that many cells have, or few."""
    yield name, x
    seen = np.bincount(x.indices, minlength=x.shape[1])
    order = np.argsort(-seen, kind="stable")[: np.count_nonzero(seen)]
    sizes = [(60, 50), (60, 500), (200, 100), (500, 300), (500, 2000)]
    for n_cells, n_genes in sizes:
        if n_genes >= 0.8 * len(order) or n_cells > x.shape[0]:
            continue
        cells = np.sort(rng.permutation(x.shape[0])[:n_cells])
        sums = np.asarray(x[cells].sum(axis=0)).ravel()
        rare = order[len(order) // 2 :]
        for what, genes in {
            "any": rng.permutation(order)[:n_genes],
            "high": order[:n_genes],
            "rare": rng.permutation(rare)[:n_genes],
            "variable": np.argsort(-_variance(x[cells]) / np.maximum(sums, 1))[:n_genes],
        }.items():
            yield f"{name}, {n_cells} cells, {n_genes} genes ({what})", x[cells][:, genes]


def _variance(x: sparse.csr_array) -> Floats:
    return np.asarray(x.power(2).mean(axis=0)).ravel() - np.asarray(x.mean(axis=0)).ravel() ** 2


def panel(rng: np.random.Generator, n_genes: int, high: float, background: float) -> sparse.csr_array:
    """Draw markers of 12 types of cells, as spatial panels have: high in one, background elsewhere."""
    types, own = rng.integers(12, size=1500), rng.integers(12, size=n_genes)
    mean = np.where(types[:, None] == own, high, background) * rng.gamma(2, 0.5, n_genes)
    return sparse.csr_array(rng.poisson(mean * rng.gamma(2, 0.5, mean.shape)).astype(float))


def simulations(rng: np.random.Generator) -> Iterator[Named]:
    """Give counts that were drawn: shallow, deep, equal depth, spike-ins, spatial panels, zero-inflated."""
    for name, made in {
        "zisynth": zt.simulate.zisynth(n_obs=1000, rng=1).X,
        "zisynth, p 0.9": zt.simulate.zisynth(lam=0.1, p=0.9, n_obs=800, rng=2).X,
        "gamma-Poisson": zt.simulate.gamma_poisson(1000, 800, rng=3).X,
    }.items():
        yield name, sparse.csr_array(made)
    log_means = rng.normal(0, 1.5, 600)
    for mean in (0.1, 1, 10, 100, 1000):
        for theta in (0.3, 2, 20):
            depth = rng.lognormal(0, 0.4, (300, 1))
            rate = (
                mean * np.exp(log_means - log_means.mean()) * depth * rng.gamma(theta, 1 / theta, (300, 600))
            )
            yield f"NB, mean {mean}, theta {theta}", sparse.csr_array(rng.poisson(rate).astype(float))
    for mean in (1, 20):
        yield (
            f"Poisson, equal depth, mean {mean}",
            sparse.csr_array(rng.poisson(mean * np.exp(log_means), (300, 600)).astype(float)),
        )
    concentrations = 2.0 ** rng.integers(-6, 13, 92)
    for depth in (0.2, 5.0):
        rate = depth * concentrations * rng.lognormal(0, 0.3, (400, 1))
        yield f"spike-ins x {depth}", sparse.csr_array(rng.poisson(rate).astype(float))
    for n_genes in (150, 500):
        for high in (2.0, 5.0, 15.0):
            for background in (0.02, 0.1):
                name = f"panel of {n_genes} markers, {high} against {background}"
                yield name, panel(rng, n_genes, high, background)
    yield "binary", sparse.csr_array((rng.random((800, 300)) < rng.beta(1, 9, 300)).astype(float))
    fragments = rng.poisson(np.exp(rng.normal(-1.2, 0.9, (3, 120)))[rng.integers(0, 3, 900)])
    yield "fragments", sparse.csr_array(fragments.astype(float))
    for levels in ((1.0, 9.0), (2.0, 30.0), (0.5, 3.0, 12.0), (0.1, 4.0), (0.0, 2.5)):
        rate = rng.choice(levels, (300, 200)) * rng.lognormal(0, 0.5, (300, 1))
        yield f"levels {levels}", sparse.csr_array(rng.poisson(rate).astype(float))
    for mean in (1, 3, 8, 300):
        yield f"20 features, 1 + Poisson({mean})", sparse.csr_array(1.0 + rng.poisson(mean, (500, 20)))


def real(rng: np.random.Generator) -> Iterator[Named]:
    """Give the files of molecules, whole and in parts."""
    for name in MOLECULES:
        adata = ad.read_h5ad(SHARED / "data" / f"{name}.h5ad")
        yield from parts(name, sparse.csr_array(adata.X, dtype=np.float64), rng)


def windows() -> Iterator[Named]:
    """Give the cells of files of molecules whose totals are within a window, narrow or open above."""
    for name in MOLECULES:
        x = sparse.csr_array(ad.read_h5ad(SHARED / "data" / f"{name}.h5ad").X, dtype=np.float64)
        totals = np.asarray(x.sum(axis=1)).ravel()
        for quantile in (0.1, 0.5, 0.9):
            low = np.quantile(totals, quantile)
            for width in (1, 3, np.inf):  # standard deviations of a Poisson variable
                some = x[(totals >= low) & (totals <= low + width * np.sqrt(low))]
                if some.nnz:
                    yield f"{name}, totals from {low:.0f}, {width} deviations", some


def drawn(rng: np.random.Generator, n: int) -> Iterator[Named]:
    """Give right counts at random: parts of real files, thinned or not, and simulations."""
    files = [ad.read_h5ad(SHARED / "data" / f"{name}.h5ad") for name in MOLECULES]
    for k in range(n):
        name, x = zero_inflated(rng) if k % 5 == 4 else some_of(files[k % len(files)], rng)
        threshold = int(rng.choice([1, 1, 3, 10, 30]))  # as cells are filtered by their total
        kept = x[np.asarray(x.sum(axis=1)).ravel() >= threshold]
        if kept.nnz:
            yield f"{name}, totals of {threshold} or more", kept


def some_of(adata: ad.AnnData, rng: np.random.Generator) -> Named:
    """Draw cells, of one kind or of all, and genes, any or the most variable; and some of the molecules."""
    x = sparse.csr_array(adata.X, dtype=np.float64)
    labels = [name for name in adata.obs if 1 < adata.obs[name].nunique() <= 10]
    what = "any cells"
    if labels and rng.random() < 0.5:
        column = adata.obs[labels[rng.integers(len(labels))]].astype(str).to_numpy()
        what = str(rng.choice(np.unique(column)))
        x = x[column == what]
    most = min(x.shape[0], int(np.exp(rng.uniform(np.log(20), np.log(3000)))))
    x = x[np.sort(rng.permutation(x.shape[0])[:most])]
    n_genes = min(x.shape[1], int(np.exp(rng.uniform(np.log(30), np.log(5000)))))
    variable = rng.random() < 0.5
    order = np.argsort(-_variance(x), kind="stable") if variable else rng.permutation(x.shape[1])
    x = x[:, order[:n_genes]]
    share = float(rng.choice([1, 1, 0.5, 0.1]))
    x.data = rng.binomial(x.data.astype(int), share).astype(float)
    x.eliminate_zeros()
    return (
        f"{n_genes} {'variable' if variable else 'random'} genes of {what}, {share:.0%} of the molecules",
        x,
    )


def zero_inflated(rng: np.random.Generator) -> Named:
    """Draw ZINB counts of any depth, with depths of cells that are the same or differ."""
    n_cells, n_genes = int(rng.integers(20, 1500)), int(rng.integers(20, 800))
    mean, theta = np.exp(rng.uniform(-4, 4)), np.exp(rng.uniform(-1, 5))
    dropout, depth = rng.uniform(0, 0.8) * rng.integers(2), rng.choice([0.0, 0.1, 0.5])
    rate = mean * np.exp(rng.normal(0, rng.uniform(0, 1.5), n_genes))
    mu = rate * np.exp(depth * rng.normal(size=(n_cells, 1)))
    counts = rng.poisson(rng.gamma(theta, mu / theta)) * (rng.random(mu.shape) >= dropout)
    name = f"ZINB, mean {mean:.2g}, theta {theta:.2g}, dropout {dropout:.2g}, depth {depth}"
    return name, sparse.csr_array(counts.astype(float))


def reads(rng: np.random.Generator) -> Iterator[Named]:
    """Give the files of reads; of those that have few cells, all cells and some of the genes."""
    for name in LAYERS:
        x = sparse.csr_array(ad.read_h5ad(SHARED / "data" / f"{name}.h5ad").layers["reads"], dtype=np.float64)
        yield f"{name}, reads", x
        for n_genes in (250, 500, 2000):
            genes = rng.permutation(np.flatnonzero(x.sum(axis=0)))[:n_genes]
            yield f"{name}, reads, {n_genes} genes", x[:, genes]
    x = sparse.csr_array(ad.read_h5ad(SHARED / "data" / "mousegut_smartseq2_reads.h5ad").X, dtype=np.float64)
    for name, part in parts("mousegut", x, rng):
        if "high" not in name and ", 50 genes" not in name:  # nothing is rare in these
            yield name, part


def finding(x: sparse.csr_array) -> Finding:
    """Tell what numbers are, as a fit would, without empty cells."""
    found = Findings(np.arange(x.shape[1]))
    rows = found.add(x[np.asarray(x.sum(axis=1)).ravel() > 0])
    return found.finding(lambda: rows)


def altered(named: Named, rng: np.random.Generator) -> Iterator[tuple[str, str, sparse.csr_array]]:
    """Give the matrix made wrong in every way, reads only of what has rare genes."""
    name, x = named
    dense = x.toarray()
    dense = dense[dense.sum(axis=1) > 0]
    for kind, ways in CHANGES.items():
        for way, change in ways.items():
            if kind == "reads" and np.count_nonzero((dense > 0).mean(0) < 0.3) < 100:
                continue
            made = sparse.csr_array(np.rint(change(dense, rng)))
            yield kind, f"{name}: {way}", made


def bases(rng: np.random.Generator) -> Iterator[Named]:
    """Give the matrices to be made wrong: at most 500 cells, 60 of 50 genes at least, and simulations."""
    for name, x in real(rng):
        if x.shape[0] > 500 or x.shape[1] > 4000:
            genes = rng.permutation(np.flatnonzero(x.sum(axis=0)))[:4000]
            x = x[np.sort(rng.permutation(x.shape[0])[:500])][:, genes]
        if "rare" not in name and "variable" not in name:
            yield name, x
    for name, x in simulations(rng):
        if name.startswith(("zisynth", "gamma", "NB, mean 1,", "NB, mean 10,")):
            yield name, x


def main() -> None:
    """Print what is found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="print every matrix")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drawn", type=int, default=2000, help="right matrices that are drawn")
    arguments = parser.parse_args()
    show, rng = arguments.all, np.random.default_rng(arguments.seed)
    found, named_so = defaultdict(list), defaultdict(list)

    def judge(kind: str, name: str, x: sparse.csr_array) -> None:
        told = finding(x)
        right = (told.kind != "molecules") != kind.startswith("molecules")
        large = min(x.shape) >= 300 or kind.startswith("molecules") or kind == "reads"
        found[kind, large].append(right)
        named_so[kind, large].append(
            told.kind == {"logs": "log-transformed"}.get(kind, kind.partition(",")[0])
        )
        if show or not right:
            print(
                f"{'' if right else 'WRONG '}{kind}: {name}, {x.shape}: {told.kind} {told.sign}", flush=True
            )

    for source in (real, simulations):
        for name, x in source(rng):
            judge("molecules", name, x)
    for name, x in windows():
        judge("molecules", name, x)
    for name, x in reads(rng):
        judge("reads", name, x)
    for base in bases(rng):
        for kind, name, x in altered(base, rng):
            judge(kind if kind != "reads" else "reads, simulated", name, x)
    for name, x in drawn(np.random.default_rng(arguments.seed + 1), arguments.drawn):
        judge("molecules, drawn", name, x)
    print("\n| what they are | size | matrices | rightly told from the others | by name |")
    print("|---|---|---|---|---|")
    for (kind, large), right in sorted(found.items(), key=lambda pair: -pair[0][1]):
        size = "any" if kind.startswith("molecules") or kind == "reads" else "large" if large else "small"
        shares = f"{np.mean(right):.1%} | {np.mean(named_so[kind, large]):.1%}"
        print(f"| {kind} | {size} | {len(right)} | {shares} |")
    wrong = [
        right for (kind, _), some in found.items() for right in some if kind in CHANGES and kind != "reads"
    ]
    print(f"\nOf {len(wrong)} that are no counts {np.mean(wrong):.1%} were found.")


if __name__ == "__main__":
    main()
