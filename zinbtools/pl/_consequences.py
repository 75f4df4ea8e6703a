"""What changes with the model, beside what changes with the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._check.arguments import checked
from ..get import consequences_df
from ._style import COLORS, finish, given_axes, legend_above, new_axes, observed_color, style

if TYPE_CHECKING:
    from anndata import AnnData


@checked
def consequences(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw how much restarts agree in what a user takes from them: of one model, and of two.

    A point is a pair of restarts, a line the mean. An asterisk stands at measures in which models differ more
    than seeds.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.consequences` was run.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=3, n_restarts=2, progress=False)
    >>> zt.tl.consequences(adata)
    >>> zt.pl.consequences(adata, show=False).get_ylabel()
    'agreement of two restarts'
    """
    measures, pairs = consequences_df(adata, key=key), consequences_df(adata, of="pairs", key=key)
    first, second = pairs["first"].astype(str), pairs["second"].astype(str)
    kinds = {
        "two NB": ((first == "nb") & (second == "nb"), COLORS["nb"]),
        "NB and ZINB": (first != second, observed_color()),
        "two ZINB": ((first == "zinb") & (second == "zinb"), COLORS["zinb"]),
    }
    with style():
        axes = new_axes()[0] if ax is None else given_axes(ax, 1, "panel")[0]
        for place, (name, (of_kind, color)) in enumerate(kinds.items()):
            for number, measure in enumerate(measures.index):
                found = pairs.loc[of_kind & (pairs["measure"] == measure), "agreement"].to_numpy()
                at = number + 0.26 * (place - 1)
                spread = np.linspace(-0.07, 0.07, len(found)) if len(found) > 1 else np.zeros(1)
                label = name if number == 0 else None
                axes.plot(at + spread, found, "o", color=color, markersize=3, alpha=0.5, mew=0)
                axes.plot([at - 0.1, at + 0.1], [found.mean()] * 2, color=color, label=label)
        marks = np.where(measures["position"].astype(str) == "outside", " *", "")
        names = [f"{name}{mark}" for name, mark in zip(measures.index, marks, strict=True)]
        axes.set_xticks(np.arange(len(names)), names)
        axes.set(
            xlabel="what is taken from a restart" + ("\n* outside what a seed changes" if any(marks) else ""),
            ylabel="agreement of two restarts",
            ylim=(min(0, axes.get_ylim()[0]), 1.03),
        )
        legend_above(axes)
        return finish(axes, "consequences", given=ax is not None, show=show, return_fig=return_fig)
