"""Randomised quantile residuals: whether counts lie where the models expect them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._check.arguments import checked
from .._words.models import model_name
from ..get import calibration_df
from ..get._checks import residual_histograms
from ._style import COLORS, finish, new_axes, style

if TYPE_CHECKING:
    from anndata import AnnData

ALPHA = 0.05


@checked
def calibration(
    adata: AnnData,
    *,
    gene: str | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the histogram of randomised quantile residuals, which is flat for a true model.

    High at both ends: counts are more spread out than predicted; high in the middle: less. High on the
    left: smaller than predicted. The grey band holds 95 % of the bars of a true model.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.ppc` was run with ``"pit"`` among its checks.
    gene
        A fitted gene to draw alone, with its p-value; by default all genes together, with the share of them
        whose uniformity is rejected at a false discovery rate of 5 %.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.ppc(adata, checks="pit")
    >>> zt.pl.calibration(adata, show=False).get_title()
    'residuals of all genes'
    """
    table, histograms = calibration_df(adata, key=key), residual_histograms(adata, key)
    names = table.loc[table["model"] == table["model"].iloc[0], "gene"].tolist()
    if gene is not None and gene not in names:
        raise KeyError(
            f"gene: {gene!r} has no residuals; name one of the {len(names)} genes that were fitted."
        )
    rows = slice(None) if gene is None else [names.index(gene)]
    with style():
        axes = new_axes()[0] if ax is None else ax
        for model, histogram in histograms.items():
            counts = histogram[rows].sum(axis=0)
            n_bins, n = len(counts), counts.sum()
            found = table[table["model"] == model]
            if gene is None:
                rejected = (found["p_value_adjusted"] < ALPHA).mean()
                label = f"{model_name(model)}, {100 * rejected:.0f} % of genes rejected"
            else:
                label = f"{model_name(model)}, p = {found.loc[found['gene'] == gene, 'p_value'].item():.2g}"
            edges = np.linspace(0, 1, n_bins + 1)
            axes.stairs(
                counts * n_bins / n, edges, baseline=None, color=COLORS[model], linewidth=1.2, label=label
            )
        half = 1.96 * np.sqrt((n_bins - 1) / n)
        axes.axhspan(1 - half, 1 + half, color=COLORS["neutral"], alpha=0.4, linewidth=0, zorder=0)
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="randomised quantile residual", ylabel="density")
        axes.set_title("residuals of all genes" if gene is None else gene)
        axes.legend(loc="lower center")
        return finish(axes, "calibration", given=ax is not None, show=show, return_fig=return_fig)
