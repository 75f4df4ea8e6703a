"""Counts at the edge of what there is: the fit is finite, or it says where it was not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from anndata import AnnData

import zinbtools as zt

N_OBS, N_VARS = 120, 12


def base() -> np.ndarray:
    counts = np.random.default_rng(0).poisson(2.0, (N_OBS, N_VARS))
    counts[:, 0] += 1
    return counts


def libraries(counts: np.ndarray) -> np.ndarray:
    """From one count in a cell to ten million."""
    scale = np.logspace(0, 6, N_OBS)[:, None]
    return np.where(np.arange(N_VARS) == 0, scale, counts * scale / 2).astype(np.int64)


def lonely_genes(counts: np.ndarray) -> np.ndarray:
    """Half of the genes have one count in all cells together."""
    counts[:, 6:] = 0
    counts[np.arange(6), np.arange(6, 12)] = 1
    return counts


def one_huge_cell(counts: np.ndarray) -> np.ndarray:
    counts[7] = 1_000_000
    return counts


def largest_count(counts: np.ndarray) -> np.ndarray:
    counts[7, 3] = 2**31 - 1
    return counts


def constant_genes(counts: np.ndarray) -> np.ndarray:
    counts[:, :6] = [1, 2, 5, 100, 10_000, 1]
    return counts


def one_gene(counts: np.ndarray) -> np.ndarray:
    return counts[:, :1]


def ones(counts: np.ndarray) -> np.ndarray:
    return np.ones_like(counts)


CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]] = {
    **{f.__name__: (f, {}) for f in (
        libraries, lonely_genes, one_huge_cell, largest_count, constant_genes, one_gene, ones
    )},
    "two cells per batch": (np.asarray, {"batch_key": "pair"}),
    "two cells per batch and dispersion": (np.asarray, {"batch_key": "pair", "dispersion": "gene-batch"}),
    "learning rate 1": (np.asarray, {"learning_rate": 1.0}),
    "learning rate 1, huge cell": (one_huge_cell, {"learning_rate": 1.0}),
    "learning rate 1e30": (np.asarray, {"learning_rate": 1e30}),
    "minibatches of two": (np.asarray, {"batch_size": 2}),
    "size factors": (np.asarray, {"size_factor_key": "factor"}),
    "covariate": (np.asarray, {"continuous_covariate_keys": "factor"}),
}  # fmt: skip


@pytest.mark.parametrize("protocol", ["default", "blog2019"])
@pytest.mark.parametrize("name", CASES)
def test_training_survives(name: str, protocol: str) -> None:
    change, arguments = CASES[name]
    adata = AnnData(change(base()).astype(np.float64))
    adata.obs["pair"] = [f"pair {i // 2}" for i in range(N_OBS)]
    adata.obs["factor"] = np.logspace(-6, 6, N_OBS)
    before = adata.copy()
    failed = ""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            zt.tl.fit_nb_zinb(
                adata, protocol=protocol, n_restarts=2, max_epochs=5, n_draws=2, progress=False, **arguments
            )
        except RuntimeError as error:
            failed = str(error)
    if failed:
        assert "not finite" in failed
        assert "try a smaller learning_rate" in failed
        assert (list(adata.obs), list(adata.uns)) == (list(before.obs), list(before.uns))
        return
    results = adata.uns["zinbtools"]
    failures = results.get("failures", [])
    assert len(failures) == sum("A restart is left out" in str(w.message) for w in told)
    for model, weights in results["weights"].items():
        best = results["params"]["best_restart"][model]
        for array in weights.values():
            assert np.isfinite(array if array.ndim == 1 else array[best]).all()
    assert np.isfinite(results["metrics"]["value"]).all()
    for place in (adata.obsm["X_nb"], adata.obsm["X_zinb"], *adata.layers.values()):
        assert np.isfinite(place).all()
    zt.tl.zi_scores(adata)
    assert np.isfinite(adata.var["zi_score"]).all()
