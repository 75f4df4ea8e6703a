"""The genes that zero inflation helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from ..get import zi_genes_df
from ._style import COLORS, finish, legend_above, new_axes, plain_numbers, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

TALL = 50  # genes in the tallest bar beyond which the axis is logarithmic
BARS_TO = 0.63  # share of the height that the bars take


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

    All genes are grey; in front of them are those whose score is more than two standard errors from zero.
    With many genes their number is on a logarithmic axis, because a few lie far out.

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

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.zi_scores(adata, n_samples=5)
    >>> ax = zt.pl.zi_scores(adata, show=False)
    >>> ax.get_xlabel()
    'ZINB gain (nats per cell)'
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
    edges = _edges_with_zero(score)
    tallest = float(np.histogram(score, bins=edges)[0].max(initial=1))
    logarithmic = tallest > TALL
    # In front of all genes, and not stacked on others: heights stay readable on a logarithmic axis.
    classes = {
        "all genes": (np.ones(len(score), dtype=bool), COLORS["neutral"]),
        "NB better": (score < -margin, COLORS["nb"]),
        "ZINB better": (score > margin, COLORS["zinb"]),
    }
    for label, (members, color) in classes.items():
        name = f"{label} ({members.sum():,})"
        ax.hist(score[members], bins=list(edges), color=color, label=name, log=logarithmic)
    _leave_room(ax, tallest, logarithmic)


def _edges_with_zero(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bins of equal width none of which holds scores of both signs."""
    n_bins = int(np.clip(2 * len(score) ** 0.5, 15, 50))
    width = max(float(np.ptp(score)) / n_bins, 1e-12)
    first, last = np.floor(score.min() / width), np.floor(score.max() / width) + 1
    return np.arange(first, last + 1) * width


def _leave_room(ax: Axes, tallest: float, logarithmic: bool) -> None:
    """Let the bars end below the names."""
    if logarithmic:
        ax.set_ylim(0.7, 0.7 * (tallest / 0.7) ** (1 / BARS_TO))
        plain_numbers(ax.yaxis)
    else:
        ax.set_ylim(0, tallest / BARS_TO)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))


def _name_genes(ax: Axes, top: pd.DataFrame) -> None:
    """Write names upright over the bars, pushed apart to the left where scores are close."""
    left, right = ax.get_xlim()
    gap, place = 0.05 * (right - left), np.inf
    for gene, score in top["score"].items():
        place = min(score, place - gap)
        ax.annotate(
            str(gene),
            xy=(score, 1.0),
            xytext=(place, BARS_TO + 0.03),
            textcoords=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.5"},
        )
