"""Zeros against the mean, and whether a model expects as many as there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from ..get import dropout_df
from ._style import COLORS, LABELS, finish, new_axes, plain_numbers, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_GENES = 200
GENES_PER_BIN, MOST_BINS = 40, 25


def dropout(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Share of zeros of each gene against its mean, with the share that each model expects.

    A model whose line or marks lie below the points expects too few zeros. Up to 200 genes each has its
    mark per model; with more, the lines are medians of the expectation over bins of the mean, and bands
    hold the middle 80 % of the genes.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.fit_nb_zinb` was run.
    key
        ``key_added`` of the fit to draw.
    ax
        Axes to draw on; by default a new figure of one column's width.
    show
        Show the figure. By default as ``scanpy.settings.autoshow`` says, where there is a window or a
        notebook and ``ax`` was not given.
    return_fig
        Return the figure instead of the axes.

    Returns
    -------
    The axes, the figure with ``return_fig=True``, or None once it was shown.

    Raises
    ------
    KeyError
        If there is no fit under ``key``, or its counts are no longer there.
    """
    genes = dropout_df(adata, key=key)
    genes = genes[genes["mean_count"] > 0]
    models = [m for m in LABELS if f"{m}_zero_fraction" in genes]
    with style():
        target = ax if ax is not None else new_axes()[0]
        target.set_xscale("log")
        plain_numbers(target.xaxis)
        target.scatter(
            genes["mean_count"],
            genes["observed_zero_fraction"],
            s=14 if len(genes) <= FEW_GENES else 3,
            c=COLORS["observed"],
            alpha=0.5 if len(genes) <= FEW_GENES else 0.25,
            linewidths=0,
            rasterized=True,
            label="observed",
        )
        for model in models:
            draw = _draw_genes if len(genes) <= FEW_GENES else _draw_medians
            draw(target, genes, model)
        target.yaxis.set_major_formatter(PercentFormatter(1.0))
        target.set(xlabel="mean count per cell", ylabel="cells without a count", ylim=(-0.02, 1.02))
        target.legend(loc="upper right")
        return finish(target, given=ax is not None, show=show, return_fig=return_fig)


def _draw_genes(ax: Axes, genes: pd.DataFrame, model: str) -> None:
    marker = {"nb": "_", "zinb": "|"}[model]
    ax.scatter(
        genes["mean_count"],
        genes[f"{model}_zero_fraction"],
        s=18,
        marker=marker,
        c=COLORS[model],
        linewidths=1.0,
        label=f"{LABELS[model]} expects",
    )


def _draw_medians(ax: Axes, genes: pd.DataFrame, model: str) -> None:
    """Draw medians and middle 80 % over bins of equally many genes."""
    ordered = genes.sort_values("mean_count")
    n_bins = min(MOST_BINS, len(genes) // GENES_PER_BIN)
    bins = np.array_split(ordered[["mean_count", f"{model}_zero_fraction"]].to_numpy(), n_bins)
    x = [np.median(b[:, 0]) for b in bins]
    low, middle, high = np.array([np.quantile(b[:, 1], [0.1, 0.5, 0.9]) for b in bins]).T
    ax.fill_between(x, low, high, color=COLORS[model], alpha=0.15, linewidth=0)
    ax.plot(x, middle, color=COLORS[model], label=f"{LABELS[model]} expects")
