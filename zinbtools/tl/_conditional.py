"""Test zero inflation of genes given the state of each cell, by likelihood ratios around the NB's means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse

from ..get._fitted import Fitted
from ..model.data import CountData
from ..model.predictive import expectations
from ..stats import zero_inflation as zi
from ..stats.count_models import CountFits
from ._columns import Means, fit_columns, gene_groups
from ._trained import Trained

SMALLEST_MEAN = 1e-12  # float32 may say that a mean is 0


class CallRule(NamedTuple):
    """When a gene is called, as in `zi_scores`."""

    alpha: float
    negligible_dropout: float
    smallest_dropout: float

    def check(self) -> None:
        """Refuse dropout probabilities in the wrong order."""
        if self.negligible_dropout >= self.smallest_dropout:
            raise ValueError(
                f"negligible_dropout must be below smallest_dropout ({self.smallest_dropout!r}), "
                f"found {self.negligible_dropout!r}."
            )


def conditional_fits(
    fit: Fitted | Trained,
    data: CountData,
    cells: np.ndarray,
    n_zeros: np.ndarray,
    negligible_dropout: float,
    means: np.ndarray | None = None,
) -> CountFits:
    """Fit NB and ZINB to each gene around the NB network's means in the given cells.

    Parameters
    ----------
    n_zeros
        Cells among them without a count of each fitted gene, (n_fitted,).
    negligible_dropout
        As for `zinbtools.stats.count_models.fit_counts`.
    means
        The network's means, (n_cells, n_fitted), where they are at hand.
    """
    everyone, n_counts = torch.as_tensor(cells, device=data.device), len(cells) - n_zeros

    def counts() -> Iterator[sparse.csr_array]:
        return data.compressed(everyone)

    options: dict[str, Any] = {"families": ("zinb",), "negligible_dropout": negligible_dropout}
    if means is not None:
        means = np.maximum(means, SMALLEST_MEAN)
        groups = ((group, means[:, group]) for group in gene_groups(n_counts))
        return fit_columns(counts, n_counts, groups, **options)
    with Means((len(cells), data.n_genes), SMALLEST_MEAN) as kept:
        kept.write(_expected(fit, data, cells))
        return fit_columns(counts, n_counts, kept.groups(), **options)


def stored_means(adata: AnnData, fit: Fitted, cells: np.ndarray) -> np.ndarray | None:
    """Read the NB's means from its layer; None where they are not there for all of the cells."""
    layer = fit.keys.mean("nb")
    if layer not in adata.layers:
        return None
    means = np.asarray(adata.layers[layer])[np.ix_(cells, fit.genes(adata))]
    return means if np.isfinite(means).all() else None  # cells that were concatenated later have none


def _expected(fit: Fitted | Trained, data: CountData, cells: np.ndarray) -> Iterator[np.ndarray]:
    """Yield means of the cells in order, block by block."""
    nb = fit.load("nb", data.device)
    for block in expectations(nb, data, n_draws=fit.settings.n_draws, seed=fit.draw_seed, cells=cells):
        yield block.mean.numpy(force=True)[np.isin(block.cells.numpy(force=True), cells)]


def check_nb(fit: Fitted) -> None:
    """Refuse a fit without the NB."""
    if "nb" not in fit.models:
        raise ValueError("method 'conditional' needs the NB model, but only 'zinb' was fitted; fit it too.")


def conditional_test(
    fit: Fitted | Trained, data: CountData, cells: np.ndarray, rule: CallRule, means: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Test each gene; return what `zi_scores` writes, likelihood ratio and mean count, (n_fitted,) each."""
    genes = data.statistics(cells)
    fits = conditional_fits(fit, data, cells, genes.n_zeros, rule.negligible_dropout, means)
    return {"mean_count": genes.mean, **_columns(fits, genes.n_zeros, rule)}


def _columns(fits: CountFits, n_zeros: np.ndarray, rule: CallRule) -> dict[str, np.ndarray]:
    ratio = zi.dropout_likelihood_ratio(fits)
    pval = zi.boundary_pval(ratio)
    adjusted = zi.dropout_pval_adj(pval, fits.n_cells - n_zeros)
    level = zi.threshold(adjusted, rule.alpha)
    power = zi.power(fits.information, rule.smallest_dropout, level, rule.negligible_dropout)
    return {
        "ratio": ratio,
        "score": fits.gain,
        "score_se": fits.gain_se,
        "pval": pval,
        "pval_adj": adjusted,
        "dropout": fits.dropout[:, fits.of("zinb")],
        "excess_zeros": zi.excess_zeros(fits, n_zeros),
        "power": power,
        "call": zi.call(adjusted, power, rule.alpha),
    }


def spread_calls(calls: np.ndarray, genes: np.ndarray, n_vars: int) -> pd.Categorical:
    """Place the calls of the fitted genes, given by index, among all genes; missing elsewhere."""
    full = np.full(n_vars, None, dtype=object)
    full[genes] = calls
    return pd.Categorical(full, categories=[call.value for call in zi.Call])
