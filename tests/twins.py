"""How alike a data set and its twin are; run as a script, it prints the figures for the real data sets.

``python tests/twins.py DATA_FOLDER``
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from anndata import AnnData, read_h5ad
from numpy.typing import NDArray
from scipy import sparse

SETS = {
    "pbmc4k_hvg2000": "cluster_10x",
    "cortex_zeisel2015": "cell_type",
    "kang2018_pbmc_ifnb2800": "cell_type",
}


def likeness(real: AnnData, twin: AnnData, n_pairs_of: int = 200) -> dict[str, float]:
    """Correlations over genes on the log scale, deviation of library sizes, correlations of strong genes."""
    first, second = (sparse.csr_array(a.X, dtype=np.float64) for a in (real, twin))
    both = np.asarray((first.sum(axis=0) > 0) & (second.sum(axis=0) > 0)).ravel()
    least = 0.5 / real.n_obs
    found: dict[str, float] = {}
    for name, statistic in (("mean", _mean), ("variance", _variance), ("zeros", _zeros)):
        logs = [np.log(np.maximum(statistic(x)[both], least)) for x in (first, second)]
        found[name] = np.corrcoef(*logs)[0, 1]
    levels = np.linspace(0.01, 0.99, 99)
    sizes = [np.quantile(np.asarray(x.sum(axis=1)).ravel(), levels) for x in (first, second)]
    found["library"] = np.abs(sizes[1] / sizes[0] - 1).max()
    strong = np.argsort(-_mean(first))[:n_pairs_of]
    matrices = [np.corrcoef(np.log1p(x[:, strong].toarray()).T) for x in (first, second)]
    pairs = np.triu_indices(n_pairs_of, 1)
    found["pairs"] = np.corrcoef(matrices[0][pairs], matrices[1][pairs])[0, 1]
    found["pairs_slope"] = np.polyfit(matrices[0][pairs], matrices[1][pairs], 1)[0]
    values = [np.linalg.eigvalsh(m)[::-1][:5] for m in matrices]
    found["eigenvalue_1"] = values[1][0] / values[0][0]
    found["eigenvalues_2_5"] = values[1][1:].sum() / values[0][1:].sum()
    return found


def _mean(counts: Any) -> NDArray[np.float64]:
    return np.asarray(counts.mean(axis=0)).ravel()


def _variance(counts: Any) -> NDArray[np.float64]:
    return np.asarray(counts.multiply(counts).mean(axis=0)).ravel() - _mean(counts) ** 2


def _zeros(counts: Any) -> NDArray[np.float64]:
    return 1 - np.asarray((counts > 0).sum(axis=0)).ravel() / counts.shape[0]


if __name__ == "__main__":
    from zinbtools.simulate import like

    for name, key in SETS.items():
        real = read_h5ad(Path(sys.argv[1]) / f"{name}.h5ad")
        for groupby in (key, None):
            start = perf_counter()
            twin = like(real, groupby=groupby)
            seconds = perf_counter() - start
            zeros = [float(_zeros(sparse.csr_array(a.X)).mean()) for a in (real, twin)]
            figures = {k: round(float(v), 4) for k, v in likeness(real, twin).items()}
            print(
                f"{name} {real.shape} groupby={groupby} {seconds:.1f} s {figures}",
                np.round(zeros, 4),
                flush=True,
            )
