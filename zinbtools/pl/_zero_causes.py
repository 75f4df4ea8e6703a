"""Why genes have their zeros: how many have which cause, by mean, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._check.arguments import checked
from .._words.answers import Cause
from ..get import zero_causes_df
from ._style import COLORS, finish, given_axes, legend_above, new_axes, plain_numbers, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

# Okabe and Ito's palette; an NB and a dropout have the colours that they have everywhere.
CAUSE_COLORS = {
    Cause.NONE: COLORS["nb"],
    Cause.DISPERSION: "#56B4E9",
    Cause.COVARIATE: "#009E73",
    Cause.AMPLIFICATION: "#F0E442",
    Cause.BURSTING: "#CC79A7",
    Cause.DROPOUT: COLORS["zinb"],
    Cause.CANNOT_TELL: COLORS["neutral"],
}
_EDGES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)  # of classes of means
_LOWEST_TOP = 0.25  # of the axis of excess zeros
_TITLE = "cause of excess zeros"
_SMALLEST_MEAN = 1e-3  # drawn there where it is smaller


@checked
def zero_causes(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Draw why genes have their zeros: the shares of the causes by mean count, and a map of the genes.

    The map has the mean count of each gene and its excess zeros, the share of its zeros that an NB around the
    means of the cells' states does not make.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.explain_zeros` was run.
    ax
        Two axes; by default a new figure.

    Returns
    -------
    The two axes, the figure with ``return_fig=True``, or None once it was shown.

    Raises
    ------
    KeyError
        If ``adata`` does not hold what is read; the message names the verb that writes it.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.explain_zeros(adata)
    >>> [ax.get_ylabel() for ax in zt.pl.zero_causes(adata, show=False)]
    ['share of genes', 'excess zeros (share of zeros)']
    """
    genes = zero_causes_df(adata, key=key)
    with style():
        axes = new_axes(2) if ax is None else given_axes(ax, 2, "panels")
        _draw_shares(axes[0], genes)
        _draw_map(axes[1], genes)
        return finish(axes, "zero_causes", given=ax is not None, show=show, return_fig=return_fig)


def _draw_shares(ax: Axes, genes: pd.DataFrame) -> None:
    """Stack the shares of the causes in each class of means; under each class, how many genes it has."""
    classes = np.digitize(genes["mean"], _EDGES) - 1
    sizes = np.bincount(classes, minlength=len(_EDGES) - 1)
    kept = [k for k in range(len(sizes)) if sizes[k]]
    bottom = np.zeros(len(kept))
    for cause, color in CAUSE_COLORS.items():
        share = np.bincount(classes[genes["cause"] == cause], minlength=len(sizes))[kept] / sizes[kept]
        if share.any():
            ax.bar(np.arange(len(kept)), share, bottom=bottom, color=color, width=0.85, label=cause.value)
        bottom += share
    ax.set_xticks(np.arange(len(kept)), [f"{_class_name(k)}\n{sizes[k]:,}" for k in kept], fontsize=6)
    ax.set(xlabel="mean count per cell, and number of genes", ylabel="share of genes", ylim=(0, 1))
    legend_above(ax, title=_TITLE)


def _class_name(k: int) -> str:
    low, high = _EDGES[k], _EDGES[k + 1]
    return f"< {high:g}" if low == 0 else f"> {low:g}" if np.isinf(high) else f"{low:g}-{high:g}"


def _draw_map(ax: Axes, genes: pd.DataFrame) -> None:
    mean = np.maximum(genes["mean"].to_numpy(), _SMALLEST_MEAN)
    top = min(max(_LOWEST_TOP, 1.05 * genes["excess_zeros"].max()), 1.0)
    for cause, color in CAUSE_COLORS.items():
        members = (genes["cause"] == cause).to_numpy()
        if members.any():
            ax.scatter(
                mean[members],
                genes["excess_zeros"].to_numpy()[members],
                s=6,
                c=color,
                alpha=0.8,
                linewidths=0,
                label=cause.value,
            )
    ax.set(
        xscale="log",
        xlabel="mean count per cell",
        ylabel="excess zeros (share of zeros)",
        ylim=(-0.03 * top, 1.03 * top),
    )
    plain_numbers(ax.xaxis)
    legend_above(ax, title=_TITLE)
