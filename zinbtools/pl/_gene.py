"""One gene's counts against what the models expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .._check.arguments import checked
from .._words.models import model_name
from ..get import gene_df
from ._names import gene_labels, shortened
from ._style import COLORS, finish, new_axes, new_grid, root_figure, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

MOST_PANELS, MOST_BARS = 6, 40
BARS_TO = 0.72  # share of the height that the bars take, the legend being above them


@checked
def gene(
    adata: AnnData,
    gene: str,
    *,
    groupby: str | None = None,
    max_count: int | None = None,
    gene_symbols: str | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw cells by their count of one gene, with what an NB and a ZINB around the network's means expect.

    A ZINB is needed where the NB's mark at 0 lies below the bar, and that of the ZINB at its end. Where there
    are more than 40 counts, those above 0 are drawn in ranges of like width.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.fit_nb_zinb` was run with the NB.
    gene
        Its name in ``var_names``, or in the column ``gene_symbols``.
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
    labels = gene_labels(adata, gene_symbols)
    if gene not in labels.index and (labels == gene).sum() == 1:
        gene = str(labels.index[labels == gene][0])
    table = gene_df(adata, gene, groupby=groupby, max_count=max_count, key=key)
    sizes = table.groupby("group")["observed"].sum().sort_values(ascending=False, kind="stable")
    groups = sizes.index[:MOST_PANELS]
    title = shortened(str(labels[gene]))
    with style():
        axes = _axes_for(len(groups), ax)
        for panel, group in zip(axes, groups, strict=True):
            _draw_counts(panel, table[table["group"] == group])
            panel.set_title(title if groupby is None else f"{title}, {shortened(str(group))}")
        axes[0].legend(loc="upper right")
        if len(sizes) > len(groups):
            text = f"the {len(groups)} largest of {len(sizes)} groups of {groupby}"
            root_figure(axes[0]).suptitle(text, fontsize="medium")
        if ax is not None:
            return finish(ax, "gene", given=True, show=show, return_fig=return_fig)
        return finish(axes, "gene", given=False, show=show, return_fig=return_fig)


def _axes_for(n_panels: int, ax: Axes | None) -> list[Axes]:
    if ax is not None:
        return [ax]
    return new_axes() if n_panels == 1 else new_grid(n_panels, share_y=False)


def _draw_counts(ax: Axes, cells: pd.DataFrame) -> None:
    """Draw a bar per count, or per range of counts above 0, and what both models expect there."""
    last = int(cells["count"].max())
    width = 1 if last <= MOST_BARS else -(-last // MOST_BARS)
    starts = np.where(cells["count"] == 0, 0, (cells["count"] - 1) // width * width + 1)
    bars = cells.groupby(starts)[["observed", "nb", "zinb"]].sum()
    middles = bars.index.to_numpy(dtype=float) + np.where(bars.index == 0, 0, (width - 1) / 2)
    ax.bar(middles, bars["observed"], color=COLORS["neutral"], width=0.8 * width, label="observed")
    for model, marker, size, line in (
        ("nb", "o", 5.5, 2.4),
        ("zinb", "s", 2.5, 0.8),
    ):  # seen where both agree
        label, color = f"{model_name(model)} expects", COLORS[model]
        ax.plot(middles, bars[model], marker=marker, ms=size, lw=line, color=color, label=label)
    ranges = f", in ranges of {width}" if width > 1 else ""
    ax.set(xlabel=f"count ({last} and more{ranges})", ylabel="cells")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(0, bars.to_numpy(dtype=float).max(initial=1.0) / BARS_TO)
