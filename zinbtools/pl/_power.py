"""Power against the number of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._check.arguments import checked
from .._words.numbers import counted
from ..get import power_df
from ._style import COLORS, finish, given_axes, legend_above, new_axes, observed_color, plain_numbers, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_POSITIONS = {
    "above": ("above the region", COLORS["zinb"]),
    "below": ("below the region, or over its lower edge", COLORS["nb"]),
    "inside": ("inside the region", ""),  # as what was observed
}
_MEANS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)  # classes of genes


@checked
def power(
    adata: AnnData,
    *,
    n_restarts: int | None = None,
    dropout: float | None = None,
    depth: float | None = None,
    key: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> list[Axes] | Figure | None:
    """Draw how surely a number of cells decides: the verdict, and the genes by their mean count.

    First, after a `zinbtools.tl.model_selection`, the probability that the interval of the gain lies above or
    inside the region of practical equivalence, or below it or over its lower edge alone: lines if the gain is
    as the pilot's (or as it was given), dashes on average over what the pilot leaves open of it. Then the
    power of genes, averaged over those of like mean count.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.power` was run.
    n_restarts, dropout, depth
        Which of those that were asked about; by default the most restarts, the first dropout and depth.
    ax
        An axes for each panel; by default a new figure.

    Returns
    -------
    The axes, the figure with ``return_fig=True``, or None once it was shown.

    Raises
    ------
    KeyError
        If ``adata`` does not hold what is read; the message names the verb that writes it.
    ValueError
        If it was not asked about such restarts, dropout or depth.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, models="nb", progress=False)
    >>> zt.tl.zi_scores(adata)
    >>> zt.tl.power(adata)
    >>> [ax.get_xlabel() for ax in zt.pl.power(adata, show=False)]
    ['number of cells']
    """
    genes, needed = power_df(adata, of="genes", key=key), power_df(adata, key=key)
    genes = _chosen(_chosen(genes, "dropout", dropout), "depth", depth)
    genes = genes.merge(needed[["gene", "dropout", "depth", "mean"]], on=["gene", "dropout", "depth"])
    try:
        verdict = _chosen(power_df(adata, of="verdict", key=key), "n_restarts", n_restarts, -1)
    except KeyError:
        verdict = None
    n_panels = 1 if verdict is None else 2
    with style():
        axes = new_axes(n_panels) if ax is None else given_axes(ax, n_panels, "panels")
        if verdict is not None:
            _draw_verdict(axes[0], verdict)
        _draw_genes(axes[-1], genes)
        for panel in axes:
            panel.set(xscale="log", xlabel="number of cells", ylim=(-0.02, 1.02))
            panel.axhline(0.8, color=COLORS["neutral"], lw=0.6, zorder=0)
            plain_numbers(panel.xaxis)
        return finish(axes, "power", given=ax is not None, show=show, return_fig=return_fig)


def _chosen(table: pd.DataFrame, column: str, wanted: float | None, default: int = 0) -> pd.DataFrame:
    """Rows of one value, by default of the first, or the last."""
    known = table[column].unique()
    if wanted is not None and wanted not in known:
        there = ", ".join(f"{value:g}" for value in known)
        raise ValueError(
            f"{column} must be one of those that tl.power was asked about ({there}), found {wanted!r}."
        )
    return table[table[column] == (known[default] if wanted is None else wanted)]


def _draw_verdict(ax: Axes, table: pd.DataFrame) -> None:
    for where, (label, of_answer) in _POSITIONS.items():
        color = of_answer or observed_color()
        if max(table[where].max(), table[f"expected_{where}"].max()) > 0.05:
            ax.plot(table["n_cells"], table[where], color=color, label=label)
            ax.plot(table["n_cells"], table[f"expected_{where}"], color=color, ls="--", lw=0.8)
    ax.plot([], [], color=COLORS["neutral"], ls="--", lw=0.8, label="on average over likely gains")
    restarts = counted(int(table["n_restarts"].iloc[0]), "restart")
    ax.set_ylabel(f"probability ({restarts})")
    legend_above(ax, 1, title="where the verdict's interval will lie")


def _draw_genes(ax: Axes, table: pd.DataFrame) -> None:
    classes, colors = np.digitize(table["mean"], _MEANS), colormaps["viridis"]
    for k, some in table.groupby(classes):
        mean_power = some.groupby("n_cells")["power"].mean()
        low, high = _MEANS[int(k) - 1], _MEANS[int(k)]
        name = (
            f"above {low:g}" if np.isinf(high) else f"below {high:g}" if low == 0 else f"{low:g} to {high:g}"
        )
        ax.plot(mean_power.index, mean_power, color=colors((k - 1) / 5.5), label=name)
    dropout, depth = table["dropout"].iloc[0], table["depth"].iloc[0]
    of = "power to call genes negligible" if dropout == 0 else f"power to call a dropout of {dropout:g}"
    ax.set_ylabel(of if depth == 1 else f"{of} at depth {depth:g}")
    legend_above(ax, title="mean count")
