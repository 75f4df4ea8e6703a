"""The genes that zero inflation helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..get import zi_genes_df
from ._style import COLORS, finish, legend_above, new_axes, plain_numbers, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_BINS = 50


def zi_scores(
    adata: AnnData,
    *,
    n_labels: int = 5,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Histogram of the gene scores; positive scores are genes that the ZINB accounts better for.

    Genes whose score is within two standard errors of zero are grey. The count of genes is logarithmic,
    because a few genes lie far out.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.zi_scores` was run.
    n_labels
        Number of genes named, from the largest score on (positive scores only).
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
        If :func:`~zinbtools.tl.zi_scores` was not run on the fit.
    """
    genes = zi_genes_df(adata, key=key)
    genes = genes[genes["score"].notna()]
    with style():
        target = ax if ax is not None else new_axes()[0]
        _draw_bars(target, genes)
        target.axvline(0.0, color="k", lw=0.6, ls=":")
        _name_genes(target, genes[genes["score"] > 0].head(n_labels))
        target.set(xlabel="ZINB gain (nats per cell)", ylabel="genes")
        legend_above(target)
        return finish(target, given=ax is not None, show=show, return_fig=return_fig)


def _draw_bars(ax: Axes, genes: pd.DataFrame) -> None:
    score, margin = genes["score"].to_numpy(), 2 * genes["score_se"].to_numpy()
    classes = {
        "NB better": (score < -margin, COLORS["nb"]),
        "within 2 SE": (~(np.abs(score) > margin), COLORS["neutral"]),
        "ZINB better": (score > margin, COLORS["zinb"]),
    }
    edges = np.histogram_bin_edges(score, bins=N_BINS)
    for label, (members, color) in classes.items():
        # Not stacked: on a logarithmic axis the upper part of a stack has no readable height.
        ax.hist(
            score[members], bins=list(edges), color=color, alpha=0.7, label=f"{label} ({members.sum():,})"
        )
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)
    plain_numbers(ax.yaxis)


def _name_genes(ax: Axes, top: pd.DataFrame) -> None:
    """Write names upright over the bars, pushed apart to the left where scores are close."""
    left, right = ax.get_xlim()
    gap, place = 0.05 * (right - left), np.inf
    for gene, score in top["score"].items():
        place = min(score, place - gap)
        ax.annotate(
            str(gene),
            xy=(score, 1.0),
            xytext=(place, 0.45),
            textcoords=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.5"},
        )
