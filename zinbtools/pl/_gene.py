"""One gene's counts against what the models expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .._check.arguments import checked
from .._words.models import model_name
from ..get import gene_df
from ._style import COLORS, finish, new_axes, style

if TYPE_CHECKING:
    from anndata import AnnData

MOST_PANELS = 6
BARS_TO = 0.72  # share of the height that the bars take, the legend being above them


@checked
def gene(
    adata: AnnData,
    gene: str,
    *,
    groupby: str | None = None,
    max_count: int = 12,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw cells by their count of one gene, with what an NB and a ZINB around the network's means expect.

    A ZINB is needed where the NB's mark at 0 lies below the bar, and that of the ZINB at its end.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.fit_nb_zinb` was run with the NB.
    groupby
        Column of ``obs``, such as the cell type: one panel for each of its six largest groups.
    ax
        Axes to draw on, without ``groupby``; by default a new figure.

    Raises
    ------
    KeyError, ValueError
        As :func:`zinbtools.get.gene_df`; ``ax`` does not go with ``groupby``.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> axes = zt.pl.gene(adata, adata.var_names[0], show=False)
    >>> axes[0].get_ylabel()
    'cells'
    """
    if ax is not None and groupby is not None:
        raise ValueError("ax is for one panel, and groupby makes several; leave one of them out.")
    table = gene_df(adata, gene, groupby=groupby, max_count=max_count, key=key)
    sizes = table.groupby("group")["observed"].sum().sort_values(ascending=False, kind="stable")
    groups = sizes.index[:MOST_PANELS]
    with style():
        axes = [ax] if ax is not None else new_axes(len(groups))
        for panel, group in zip(axes, groups, strict=True):
            cells = table[table["group"] == group]
            panel.bar(cells["count"], cells["observed"], color=COLORS["neutral"], width=0.8, label="observed")
            for model, marker in (("nb", "o"), ("zinb", "s")):
                panel.plot(
                    cells["count"],
                    cells[model],
                    marker=marker,
                    ms=3,
                    lw=0.8,
                    color=COLORS[model],
                    label=f"{model_name(model)} expects",
                )
            panel.set(title=f"{gene}, {group}", xlabel=f"count ({max_count} and more)", ylabel="cells")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            tallest = cells[["observed", "nb", "zinb"]].to_numpy(dtype=float).max(initial=1.0)
            panel.set_ylim(0, tallest / BARS_TO)
        axes[0].legend(loc="upper right")
        if ax is not None:
            return finish(ax, given=True, show=show, return_fig=return_fig)
        return finish(axes, given=False, show=show, return_fig=return_fig)
