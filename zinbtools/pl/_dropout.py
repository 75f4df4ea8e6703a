"""Zeros against the mean, and whether a model expects as many as there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from .._check.arguments import checked
from .._words.models import MODELS, model_name
from ..get import dropout_df
from ._style import COLORS, finish, new_axes, observed_color, plain_numbers, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

FEW_GENES = 200
GENES_PER_BIN, MOST_BINS = 40, 25


@checked
def dropout(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the share of zeros of each gene against its mean, with the share that each model expects.

    A model whose marks or line lie below the observed ones expects too few zeros. Up to 200 genes each has
    its marks; with more, the lines are medians over bins of the mean, and the points the genes as observed.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> ax = zt.pl.dropout(adata, show=False)
    >>> ax.get_xlabel()
    'mean count per cell'
    """
    genes = dropout_df(adata, key=key)
    genes = genes[genes["mean_count"] > 0]
    models = [m for m in MODELS if f"{m}_zero_fraction" in genes]
    with style():
        target = ax if ax is not None else new_axes()[0]
        target.set_xscale("log")
        if len(genes) <= FEW_GENES:
            _draw_genes(target, genes, models)
        else:
            _draw_medians(target, genes, models)
        target.yaxis.set_major_formatter(PercentFormatter(1.0))
        target.set(xlabel="mean count per cell", ylabel="cells without a count")
        plain_numbers(target.xaxis)
        target.legend(loc="upper right")
        return finish(target, "dropout", given=ax is not None, show=show, return_fig=return_fig)


def _draw_genes(ax: Axes, genes: pd.DataFrame, models: Sequence[str]) -> None:
    """Draw one mark per gene and model."""
    _draw_observed(ax, genes, size=14, alpha=0.5, label="observed")
    for model in models:
        ax.scatter(
            genes["mean_count"],
            genes[f"{model}_zero_fraction"],
            s=18,
            marker={"nb": "_", "zinb": "|"}[model],
            c=COLORS[model],
            linewidths=1.0,
            label=f"{model_name(model)} expects",
        )


def _draw_medians(ax: Axes, genes: pd.DataFrame, models: Sequence[str]) -> None:
    """Draw medians over bins of equally many genes, and the genes behind them."""
    _draw_observed(ax, genes, size=3, alpha=0.2, label=None)
    medians = genes.groupby(bins_of(genes["mean_count"])).median()
    x = medians["mean_count"]
    ax.plot(x, medians["observed_zero_fraction"], color=observed_color(), lw=3.2, alpha=0.5, label="observed")
    for model, width in zip(models, (1.6, 0.9), strict=False):
        expected = medians[f"{model}_zero_fraction"]
        ax.plot(x, expected, color=COLORS[model], lw=width, label=f"{model_name(model)} expects")


def bins_of(values: pd.Series) -> NDArray[np.int64]:
    """Put genes into bins of equally many by a value, the smallest first, (n_genes,)."""
    n_bins = min(MOST_BINS, len(values) // GENES_PER_BIN)
    rank = values.rank(method="first").to_numpy(dtype=np.int64) - 1
    return np.asarray(rank * n_bins // len(values))


def _draw_observed(ax: Axes, genes: pd.DataFrame, *, size: float, alpha: float, label: str | None) -> None:
    ax.scatter(
        genes["mean_count"],
        genes["observed_zero_fraction"],
        s=size,
        c=observed_color(),
        alpha=alpha,
        linewidths=0,
        rasterized=True,
        label=label,
    )
