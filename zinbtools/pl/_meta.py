"""A forest of studies."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm

from .._check.arguments import checked
from ..get._meta import ALL, MetaAnalysis
from ._names import shortened
from ._style import COLORS, WIDTH, finish, style, text_color


@checked
def meta(
    found: MetaAnalysis,
    *,
    label: str = "effect",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw a forest: each study with its interval, each group with its mean and what the next will show.

    Diamonds are means with their intervals, the bar below a diamond is where the true effect of another
    such study is expected. The area of a square is the study's weight in its group. A dotted line is the
    effect above which there is a practical difference, where `zinbtools.tl.meta` was told of one.

    Parameters
    ----------
    found
        What :func:`zinbtools.tl.meta` returned.
    label
        Of the axis of effects, with their unit.

    Examples
    --------
    >>> import pandas as pd
    >>> import zinbtools as zt
    >>> table = pd.DataFrame({"effect": [1.0, 1.4, 0.7, 0.1], "se": 0.2}, list("abcd"))
    >>> ax = zt.pl.meta(zt.tl.meta(table), show=False)
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['a', 'b', 'c', 'd', 'all']
    """
    with style():
        names = [name for name in found.groups.index if name != ALL] or [ALL]
        rows = sum(len(found.studies[found.studies["group"] == name]) + 1 for name in names)
        rows += len(names) > 1
        height = 0.9 + 0.24 * rows
        target = plt.subplots(figsize=(1.6 * WIDTH, height), layout="constrained")[1] if ax is None else ax
        labels: list[str] = []
        for name in names:
            _draw_studies(target, found, name, labels)
            _draw_mean(target, found, name, labels)
        if len(names) > 1:
            _draw_mean(target, found, ALL, labels)
        target.axvline(0, color=text_color(), lw=0.5)
        if found.region is not None:
            target.axvline(found.region, color=text_color(), lw=0.8, ls=":")
        target.set(yticks=range(len(labels)), ylim=(len(labels) - 0.3, -0.7), xlabel=label)
        target.set_yticklabels(labels)
        interval = f"{100 * found.level:.0f} % interval"
        target.plot([], [], "s-", color=text_color(), ms=4, lw=0.8, label=f"study, {interval}")
        target.plot([], [], "D", color=COLORS["zinb"], ms=5, label=f"mean, {interval}")
        target.plot([], [], color=COLORS["zinb"], lw=2, label="where the next effect is expected")
        target.legend(
            loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, columnspacing=1.0, borderaxespad=0.2
        )
        return finish(target, "meta", given=ax is not None, show=show, return_fig=return_fig)


def _draw_studies(ax: Axes, found: MetaAnalysis, name: str, labels: list[str]) -> None:
    """A row for each study, with its interval by the normal distribution."""
    for study, row in found.studies[found.studies["group"] == name].iterrows():
        half = norm.isf((1 - found.level) / 2) * row["se"]
        ax.plot([row["effect"] - half, row["effect"] + half], [len(labels)] * 2, color=text_color(), lw=0.8)
        ax.plot(row["effect"], len(labels), "s", color=text_color(), ms=2 + 6 * np.sqrt(row["weight"]))
        labels.append(shortened(str(study), 36))


def _draw_mean(ax: Axes, found: MetaAnalysis, name: str, labels: list[str]) -> None:
    row, place = found.groups.loc[name], len(labels)
    if row["n_studies"] > 1:
        diamond = [row["low"], row["effect"], row["high"], row["effect"]]
        ax.fill(diamond, place + 0.28 * np.array([0, -1, 0, 1]), color=COLORS["zinb"], lw=0)
        ax.plot([row["next_low"], row["next_high"]], [place + 0.42] * 2, color=COLORS["zinb"], lw=2)
    labels.append(name if name == ALL else f"{shortened(name, 30)}, mean")
