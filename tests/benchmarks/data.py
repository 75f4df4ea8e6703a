"""The matrices of the benchmarks, with one rule for the split."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

SHARED = Path(os.environ.get("ZINBTOOLS_DATA", Path(__file__).parents[3] / "shared"))
FILES = {
    "zheng": "ercc_zheng2017_gemcode",
    "cortex": "cortex_zeisel2015",
    "pbmc4k": "pbmc4k_hvg2000",
    "pbmc3k": "pbmc3k",
    "mousegut": "mousegut_smartseq2_reads",
}
MOLECULES = (  # UMI
    "cortex_zeisel2015",
    "pbmc4k_hvg2000",
    "pbmc3k",
    "kang2018_pbmc_ifnb2800",
    "ercc_zheng2017_gemcode",
    "ercc_macosko2015_dropseq",
    "pbmc68k_reduced",
    "rnamix_celseq2_mixology",
    "ziegenhain2017_celseq2_reads_and_umis",
    "ziegenhain2017_scrbseq_reads_and_umis",
)
# How many genes are kept, those that vary most; of zheng, what is detected in more than 21 % of droplets.
N_GENES = {"cortex": 558, "pbmc4k": 2000, "pbmc3k": 5000, "mousegut": 1200}


def split(n_obs: int) -> NDArray[np.object_]:
    """A tenth of the cells for testing, a tenth for validation, drawn at random but always the same."""
    order = np.random.default_rng(0).permutation(n_obs)
    k = n_obs // 10
    labels = np.full(n_obs, "train", dtype=object)
    labels[order[:k]], labels[order[k : 2 * k]] = "test", "validation"
    return labels


def load(name: str, n_genes: int | None = None) -> ad.AnnData:
    """Real counts, with the split in ``obs["split"]``."""
    adata = ad.read_h5ad(SHARED / "data" / f"{FILES[name]}.h5ad")
    counts = adata.X.toarray()
    if name == "zheng":
        genes = np.flatnonzero((counts > 0).mean(0) > 0.21)
    else:
        genes = np.argsort(-counts.std(0))[: n_genes or N_GENES[name]]
    adata = adata[:, genes].copy()
    adata.obs["split"] = split(adata.n_obs)
    return adata


def prepare(name: str, cache: Path) -> Path:
    """Put the counts of ``name`` in the cache, as CSR, so that both sides read the same file."""
    path = cache / f"{name}.npz"
    if not path.exists():
        counts = simulated() if name == "simulated" else load(name).X
        sparse.save_npz(path, sparse.csr_matrix(counts, dtype=np.float32), compressed=False)
    return path


def simulated() -> sparse.csr_matrix:
    """50,000 cells x 2,000 genes, nine counts in ten zero."""
    import zinbtools as zt  # which scvi-tools' interpreter, that reads the others from the cache, lacks

    return zt.simulate.gamma_poisson(50_000, 2_000).X


def read(name: str, cache: Path) -> ad.AnnData:
    """Counts from the cache and nothing beside them but the split.

    ``simulated/1000x50`` is of that size, at least 1,000 cells: the simulated set, cut or repeated, which
    costs what fresh cells and genes would. Every cell and gene has a count: without one there is no model.
    """
    base, _, size = name.partition("/")
    counts: Any = sparse.load_npz(cache / f"{base}.npz")
    if size:
        n_obs, n_vars = map(int, size.split("x"))
        counts = counts[:, np.resize(np.flatnonzero(counts[:1000].sum(0)), n_vars)]
        counts = counts[np.resize(np.flatnonzero(counts.sum(1)), n_obs)]
    obs = pd.DataFrame({"split": split(counts.shape[0])}, index=np.arange(counts.shape[0]).astype(str))
    return ad.AnnData(counts, obs=obs)
