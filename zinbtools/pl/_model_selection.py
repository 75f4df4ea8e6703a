"""The comparison of the two models over restarts and cells."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .._check.arguments import checked
from .._words.models import MODELS, model_name
from ..get import metrics_df, verdict
from ..get._checks import metric_name
from ..get._frames import compared_rows
from ._style import COLORS, HEIGHT, WIDTH, finish, legend_above, observed_color, style

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ..get import Verdict

_NARROW = 1.25  # inches, of a panel with two columns of dots


@checked
def model_selection(
    adata: AnnData,
    *,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | list[Axes] | Figure | None:
    """Draw what `zinbtools.tl.model_selection` found: metrics of restarts, and the gain in likelihood.

    First the log likelihood of test cells beyond the NB's: the mean with its interval, which has cells and
    restarts in it, a tick per pair of models, and in grey the region of practical equivalence. Groups stand
    below, where they were compared. Then each metric with a dot per restart and a bar at the median; a star
    marks the model that is significantly better by the study's rank-sum test.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.model_selection` was run.
    ax
        Axes for the difference alone; by default a new figure with all panels.

    Returns
    -------
    The axes (a list of them where ``ax`` was not given), the figure with ``return_fig=True``, or None once it
    was shown.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=600)
    >>> quick = {"n_samples": 10, "n_null": 5, "max_epochs": 5, "progress": False}
    >>> zt.tl.model_selection(adata, folds=3, n_restarts=1, **quick)
    >>> len(zt.pl.model_selection(adata, show=False))
    5
    """
    found = verdict(adata, key=key)
    with style():
        if ax is not None:
            _draw_differences(ax, found)
            return finish(ax, "model_selection", given=True, show=show, return_fig=return_fig)
        n = len(found.tests)
        rows = len(found.differences) + (0 if found.groups is None else len(found.groups))
        _, axes = plt.subplots(
            1,
            n + 1,
            figsize=(n * _NARROW + WIDTH, max(HEIGHT, 0.9 + 0.22 * rows)),
            width_ratios=[WIDTH] + [_NARROW] * n,
            layout="constrained",
        )
        table = metrics_df(adata, key=key)
        _draw_differences(axes[0], found)
        for panel, (_, test) in zip(axes[1:], found.tests.iterrows(), strict=True):
            _draw_metric(panel, compared_rows(table, test["metric"]), test)
        if (found.tests["better"] != "").any():
            axes[1].set_title("* better over restarts (rank-sum test)", loc="left", fontsize="small")
        return finish(list(axes), "model_selection", given=False, show=show, return_fig=return_fig)


def _draw_metric(ax: Axes, runs: pd.DataFrame, test: pd.Series) -> None:
    """Draw two columns of dots, NB and ZINB."""
    for place, model in enumerate(MODELS):
        values = np.sort(runs.loc[runs["model"] == model, "value"].to_numpy(dtype=np.float64))
        # ranks in a fixed order of offsets: dots of like value stand side by side
        offsets = 0.22 * np.sin(2.4 * np.arange(len(values)))
        ax.plot(place + offsets, values, "o", color=COLORS[model], ms=2.5, mew=0, alpha=0.7)
        median = test[f"{model}_median"]
        ax.plot([place - 0.33, place + 0.33], [median, median], color=COLORS[model])
        if test["better"] == model:
            ax.annotate("*", (place, 1.0), xycoords=("data", "axes fraction"), ha="center", va="top", size=11)
    ax.margins(y=0.12)
    ax.set(xticks=[0, 1], xticklabels=list(map(model_name, MODELS)), xlim=(-0.6, 1.6))
    ax.set_ylabel("NLL (nats per test cell)" if test["metric"] == "nll" else metric_name(test["metric"]))


def _draw_differences(ax: Axes, found: Verdict) -> None:
    """Draw intervals against the region of practical equivalence, from above: models, then groups."""
    rows = [
        (fill(model_name(row["model"]), 15), row, COLORS.get(row["model"], observed_color()))
        for _, row in found.differences.iterrows()
    ]
    if found.groups is not None:
        judged = found.groups[found.groups["verdict"] != ""]
        rows += [(f"ZINB in {row['group']}", row, COLORS["zinb"]) for _, row in judged.iterrows()]
    rope = float(found.differences["rope"].iloc[0])
    ax.axvspan(-rope, rope, color=COLORS["neutral"], alpha=0.35, lw=0, label="no practical difference")
    ax.axvline(0, color=COLORS["nb"], lw=0.8)
    for place, (_, row, color) in enumerate(rows):
        ax.plot([row["low"], row["high"]], [place, place], color=color)
        ax.plot(row["difference"], place, "o", color=color, ms=4)
        runs = found.by_restart.loc[found.by_restart["model"] == row.get("model"), "difference"]
        each = None if place else "each pair of models"
        ax.plot(runs, np.full(len(runs), place + 0.22), "|", color=color, ms=5, mew=0.8, label=each)
    ax.set(yticks=range(len(rows)), yticklabels=[name for name, *_ in rows], ylim=(len(rows) - 0.4, -0.6))
    ax.set(xlabel="log likelihood beyond the NB's (nats per test cell)")
    legend_above(ax)
