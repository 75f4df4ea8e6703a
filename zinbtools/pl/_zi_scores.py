"""The genes that zero inflation helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .._check.arguments import checked
from .._words.answers import Call
from ..get import zi_genes_df
from ._names import gene_labels, shortened
from ._style import COLORS, finish, legend_above, new_axes, plain_numbers, root_figure, style, text_color

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

TALL = 50  # genes in the tallest bar beyond which the axis is logarithmic
CALLED = {Call.NEGLIGIBLE.value: COLORS["nb"], Call.ZERO_INFLATED.value: COLORS["zinb"]}
SMALLEST_PVAL, SMALLEST_GAIN = 1e-300, 1e-6  # drawn there where they are smaller
NAMED_BELOW = 0.05  # p value
NAME_SIZE = 6.0  # points
LONGEST_UPRIGHT = 11  # characters of a name over the bars
BARS_TO = 0.63  # share of the height that the bars take


@checked
def zi_scores(
    adata: AnnData,
    *,
    kind: Literal["histogram", "volcano", "mean"] = "histogram",
    n_labels: int = 5,
    gene_symbols: str | None = None,
    key: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the scores of the genes; positive scores are genes that the ZINB accounts better for.

    In the histogram all genes are grey; in front of them are those that are called zero-inflated, or, where
    the method makes no calls, whose score is more than two standard errors from zero. With many genes their
    number is on a logarithmic axis, because a few lie far out. Undecided genes are those whose mean
    is too low to tell.

    Parameters
    ----------
    adata
        Object on which :func:`zinbtools.tl.zi_scores` was run.
    kind
        ``"histogram"``; ``"volcano"``, p values of the default method against dropout probabilities; or
        ``"mean"``, scores against mean counts, both on logarithmic axes.
    n_labels
        Number of genes named, from the largest score on (positive scores only); in the volcano from the
        smallest p value on, and none above 0.05.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.zisynth(n_obs=400)
    >>> zt.tl.fit_nb_zinb(adata, max_epochs=2, progress=False)
    >>> zt.tl.zi_scores(adata)
    >>> ax = zt.pl.zi_scores(adata, show=False)
    >>> ax.get_xlabel()
    'ZINB gain (nats per cell)'
    """
    genes = zi_genes_df(adata, key=key)
    genes = genes[genes["score"].notna()]
    genes.index = genes.index.astype(str).map(gene_labels(adata, gene_symbols)).map(shortened)
    if kind == "volcano" and "pval" not in genes:
        raise KeyError("there are no p values; run zt.tl.zi_scores(adata) first.")
    with style():
        target = ax if ax is not None else new_axes()[0]
        if kind == "histogram":
            _draw_bars(target, genes)
            target.axvline(0.0, color=text_color(), lw=0.6, ls=":")
            _name_genes(target, genes[genes["score"] > 0].head(n_labels))
            target.set(xlabel="ZINB gain (nats per cell)", ylabel="genes")
        else:
            _draw_points(target, genes, kind, n_labels)
        legend_above(target)
        return finish(target, "zi_scores", given=ax is not None, show=show, return_fig=return_fig)


def _draw_bars(ax: Axes, genes: pd.DataFrame) -> None:
    score, margin = genes["score"].to_numpy(), 2 * genes["score_se"].to_numpy()
    edges = _edges_with_zero(score)
    tallest = float(np.histogram(score, bins=edges)[0].max(initial=1))
    logarithmic = tallest > TALL
    # In front of all genes, and not stacked on others: heights stay readable on a logarithmic axis.
    classes = {"all": (np.ones(len(score), dtype=bool), COLORS["neutral"])}
    if "call" in genes:
        classes |= {call: ((genes["call"] == call).to_numpy(), color) for call, color in CALLED.items()}
    else:
        classes |= {
            "NB better": (score < -margin, COLORS["nb"]),
            "ZINB better": (score > margin, COLORS["zinb"]),
        }
    for label, (members, color) in classes.items():
        name = f"{label} ({members.sum():,})"
        ax.hist(score[members], bins=list(edges), color=color, label=name, log=logarithmic)
    _leave_room(ax, tallest, logarithmic)


def _draw_points(ax: Axes, genes: pd.DataFrame, kind: str, n_labels: int) -> None:
    """Draw one point per gene, coloured by its call; what is as good as 0 is drawn at the axis."""
    if kind == "volcano":
        x, y = genes["dropout"].to_numpy(), -np.log10(np.maximum(genes["pval"].to_numpy(), SMALLEST_PVAL))
        ax.set(xlabel="dropout probability", ylabel="-log10 p value")
    else:
        x, y = genes["mean_count"].to_numpy(), np.maximum(genes["score"].to_numpy(), SMALLEST_GAIN)
        ax.set(xlabel="mean count per cell", ylabel="ZINB gain (nats per cell)", xscale="log", yscale="log")
    grey = COLORS["neutral"]
    calls = genes["call"].astype(object).to_numpy() if "call" in genes else np.full(len(genes), "all genes")
    for call, color in {"all genes": grey, Call.UNDECIDED.value: grey, **CALLED}.items():
        members = calls == call
        if members.any():
            ax.scatter(x[members], y[members], s=6, c=color, alpha=0.7, linewidths=0, label=call)
    if kind == "mean":
        plain_numbers(ax.xaxis)
    if kind == "mean" and (y <= SMALLEST_GAIN).any():
        at = (1.0, SMALLEST_GAIN)
        ax.text(*at, "no gain", transform=ax.get_yaxis_transform(), ha="right", va="bottom", size=NAME_SIZE)
    order, is_named = np.arange(len(genes)), (genes["score"] > 0).to_numpy()
    if kind == "volcano":
        order, is_named = np.argsort(-y, kind="stable"), is_named & (y > -np.log10(NAMED_BELOW))
    named = order[is_named[order]][:n_labels]
    _name_points(ax, genes.index[named].tolist(), np.c_[x, y][named])


def _name_points(ax: Axes, names: list[str], points: NDArray[np.float64]) -> None:
    """Write names beside points, a line lower where another name is in the way, and within the axes."""
    ax.autoscale_view()
    box, pixel = ax.get_window_extent(), root_figure(ax).dpi / 72
    taken: list[tuple[float, float, float]] = []
    for name, at in zip(names, points, strict=True):
        x, y = ax.transData.transform(at)
        width = 0.65 * NAME_SIZE * len(name) * pixel
        to_left = x + width > box.x1
        left, line = x - width if to_left else x, NAME_SIZE * pixel
        while any(abs(y - other) < line and left < b and a < left + width for a, b, other in taken):
            y -= line
        taken.append((left, left + width, y))
        align = "right" if to_left else "left"
        offset = (-2 if to_left else 2, 2 + (y - ax.transData.transform(at)[1]) / pixel)
        leader = {"arrowstyle": "-", "lw": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 1}
        ax.annotate(
            name,
            (at[0], at[1]),
            xytext=offset,
            textcoords="offset points",
            fontsize=NAME_SIZE,
            ha=align,
            arrowprops=leader if offset[1] < -NAME_SIZE / 2 else None,
        )


def _edges_with_zero(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return edges of bins of equal width, none of which holds scores of both signs."""
    n_bins = int(np.clip(2 * len(score) ** 0.5, 15, 50))
    width = max(float(np.ptp(score)) / n_bins, 1e-12)
    # what lies below zero by rounding gets no bin of its own
    first, last = np.floor(score.min() / width + 1e-9), np.floor(score.max() / width) + 1
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
            shortened(str(gene), LONGEST_UPRIGHT),
            xy=(score, 1.0),
            xytext=(place, BARS_TO + 0.03),
            textcoords=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.5"},
        )
