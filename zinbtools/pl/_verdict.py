"""The verdict as one small picture: intervals against the region that makes no practical difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .._check.arguments import checked
from ..get import verdict as verdict_of
from ._style import COLORS, WIDTH, finish, style, text_color

if TYPE_CHECKING:
    from anndata import AnnData

    from ..get import Verdict

_BESIDE = {
    "nb": "with one dispersion per gene",
    "nb-gene-cell": "with a dispersion per gene and cell",
    "nb-amplified": "of molecules that were copied",
}


@checked
def verdict(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the answer of `zinbtools.tl.model_selection`: what a ZINB gains, against what would matter.

    A row for each NB that was compared with its ZINB: log likelihood of test cells under the ZINB minus that
    under the NB, with its interval. Grey is what makes no practical difference. Zero inflation is what lies
    to the right of it in every row; an interval that lies there is drawn in the ZINB's colour, one to the
    left in the NB's.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.model_selection` was run.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=600)
    >>> quick = {"n_samples": 10, "n_null": 5, "max_epochs": 5, "progress": False}
    >>> zt.tl.model_selection(adata, folds=3, n_restarts=1, **quick)
    >>> zt.pl.verdict(adata, show=False).get_xlabel()
    'ZINB better than NB on unseen cells by (nats per cell)'
    """
    found = verdict_of(adata, key=key)
    with style():
        height = 1.0 + 0.38 * len(found.rivals)
        target = plt.subplots(figsize=(WIDTH, height), layout="constrained")[1] if ax is None else ax
        _draw(target, found)
        return finish(target, "verdict", given=ax is not None, show=show, return_fig=return_fig)


def _draw(ax: Axes, found: Verdict) -> None:
    rope = float(found.differences["rope"].iloc[0])
    ax.axvspan(-rope, rope, color=COLORS["neutral"], alpha=0.45, lw=0.8, label="no practical difference")
    ax.axvline(0, color=text_color(), lw=0.5)
    ends = [-rope, rope]
    for place, (_, row) in enumerate(found.rivals.iterrows()):
        low, high = float(row["zinb_low"]), float(row["zinb_high"])
        color = COLORS["zinb"] if low > rope else COLORS["nb"] if high < -rope else text_color()
        ax.plot([low, high], [place, place], color=color, lw=3, solid_capstyle="butt")
        ax.plot(row["zinb_gain"], place, "o", color=color, ms=6)
        ends += [low, high]
    n_rows, margin = len(found.rivals), 0.06 * max(np.ptp(ends), 1e-12)
    if n_rows > 1:
        for place, model in enumerate(found.rivals["model"]):
            ax.text(
                0.01, place - 0.22, _BESIDE[model], transform=ax.get_yaxis_transform(), va="bottom", size=7
            )
    ax.set(yticks=[], ylim=(n_rows - 0.5, -0.75 if n_rows > 1 else -0.5))
    ax.spines["left"].set_visible(False)
    ax.set_xlim(min(ends) - margin, max(ends) + margin)
    ax.set_xlabel("ZINB better than NB on unseen cells by (nats per cell)")
    ax.set_title(found.headline, loc="left", fontweight="bold", pad=16)
    interval = Line2D([], [], marker="o", color=text_color(), lw=2, ms=4, label="mean and interval")
    handles = [*ax.get_legend_handles_labels()[0], interval]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, ncols=2)
