"""Zero inflation of genes given the state of each cell, by likelihood ratios around the NB's means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse

from .._fitted import Fitted
from ..model.predictive import expectations
from ..stats import zero_inflation as zi
from ..stats.count_models import CountFits, fit_counts

SMALLEST_MEAN = 1e-12  # float32 may say that a mean is 0


def conditional_fits(adata: AnnData, fit: Fitted, cells: np.ndarray, device: torch.device) -> CountFits:
    """NB and ZINB of each fitted gene around the NB network's means in the given cells."""
    data = fit.data(adata, device)
    genes = fit.genes(adata)
    layer = fit.keys.mean("nb")
    if layer in adata.layers:
        means = np.asarray(adata.layers[layer])[:, genes]
        if not np.isfinite(means).all():
            raise ValueError(f"layer {layer!r} holds numbers that are not finite; fit again.")
    else:
        means = np.empty((data.n_cells, data.n_genes), dtype=np.float32)
        blocks = expectations(
            fit.load("nb", device),
            data,
            n_draws=int(fit.params["n_draws"]),
            seed=int(fit.params["draw_seed"]),
        )
        for block in blocks:
            means[block.cells.numpy(force=True)] = block.mean.numpy(force=True)
    shape = (data.n_cells, data.n_genes)
    counts = sparse.csr_array(
        tuple(part.numpy(force=True) for part in (data.counts, data.genes, data.starts)), shape=shape
    )
    return fit_counts(counts[cells], np.maximum(means[cells], SMALLEST_MEAN), families=("zinb",))


def conditional_columns(
    fits: CountFits, n_zeros: np.ndarray, alpha: float, smallest_dropout: float
) -> dict[str, np.ndarray]:
    """What `zi_scores` writes, by name, (n_fitted,) each."""
    ratio = zi.likelihood_ratio(fits, "nb", "zinb")
    pval = zi.boundary_pval(ratio)
    adjusted = zi.adjusted_pval(pval)
    power = zi.power(fits.information, smallest_dropout, zi.threshold(adjusted, alpha))
    return {
        "score": fits.gain,
        "score_se": fits.gain_se,
        "pval": pval,
        "pval_adj": adjusted,
        "dropout": fits.dropout[:, fits.of("zinb")],
        "excess_zeros": zi.excess_zeros(fits, n_zeros),
        "power": power,
        "call": zi.call(adjusted, power, alpha),
    }


def spread_calls(calls: np.ndarray, genes: np.ndarray) -> pd.Categorical:
    """Calls of the fitted genes among all genes, missing elsewhere."""
    full = np.full(len(genes), None, dtype=object)
    full[genes] = calls
    return pd.Categorical(full, categories=list(zi.CALLS))
