"""The figures of a report, each with its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from .. import get, pl
from .._record.keys import Keys
from .._record.parts import CONSEQUENCES, SELECTION, ZERO_CAUSES
from .._record.record import Record
from .._words.models import model_name
from ..get._checks import check_words

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

DPI = 240
MOST_OF_A_COLUMN = 4  # inches
INK = "#e4e7ec"  # --ink of a dark page in report.css
INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")


@dataclass(frozen=True)
class Picture:
    """A figure with its words.

    Attributes
    ----------
    name, title, reading, alt
        Of its file, over it, how to read it, and instead of it.
    png, size
        The file, and its width and height in pixels.
    dark
        The same for a dark page, whose ground shows through; empty where it was not drawn.
    """

    name: str
    title: str
    reading: str
    alt: str
    png: bytes
    size: tuple[int, int]
    dark: bytes = b""

    @property
    def is_wide(self) -> bool:
        """Whether it needs more than one column to be read."""
        return self.size[0] > MOST_OF_A_COLUMN * DPI


def pictures(adata: AnnData, key: str | None) -> Iterator[Picture]:
    """Draw every plot for which the results are there, one at a time."""
    if SELECTION in Record.read(adata, key):
        yield _verdict(adata, key)
        yield picture(
            "model_selection",
            "The difference, and every restart",
            "Left: log likelihood beyond the NB's, with its interval and a tick per restart; within the grey "
            "it makes no practical difference. Right: a dot per restart, a bar at the median, a star over "
            "the model that is significantly better over restarts.",
            f"Interval of the ZINB's log likelihood beyond the NB's. {get.verdict(adata, key=key).sentence}",
            partial(pl.model_selection, adata, key=key),
        )
    yield picture(
        "dropout",
        "Zeros against the mean",
        "Grey: the genes as observed. A model whose marks or line lie below them expects too few zeros at "
        "that mean.",
        "Scatter of the genes: share of cells without a count against mean count, with what NB and ZINB "
        "expect.",
        partial(pl.dropout, adata, key=key),
    )
    distances = get.ppc_ks_df(adata, key=key)
    for check, words in check_words(adata, key).items():
        yield picture(
            f"ppc_{check}",
            f"{words.short[:1].upper()}{words.short[1:]}, predicted",
            words.reading,
            f"Scatter of the genes: predicted against observed {words.short} under NB and ZINB. "
            f"{_distances(distances, check)}",
            partial(pl.ppc, adata, checks=check, key=key),
        )
    yield _scores(adata, key)
    if ZERO_CAUSES in Record.read(adata, key):
        yield picture(
            "zero_causes",
            "Why there are zeros",
            "Left: the share of the genes that have each cause, by mean count. Right: each gene by its mean "
            "count and the share of its zeros that an NB given the state of the cells does not make.",
            f"Shares of the causes of zeros by mean count, and a map of the genes. {_shares(adata, key)}",
            partial(pl.zero_causes, adata, key=key),
        )
    if CONSEQUENCES in Record.read(adata, key):
        told = Record.read(adata, key)[CONSEQUENCES]["sentence"]
        yield picture(
            "consequences",
            "What changes with the model",
            f"{told} Each dot is two restarts, a bar their mean, 1 the same. Where the grey lies below both "
            "colours the model changes more than another seed, and a star marks what is significant.",
            f"Agreement of every two restarts in neighbours, clusters, variable genes and markers. {told}",
            partial(pl.consequences, adata, key=key),
        )
    if {Keys(key).dropout(), Keys(key).mean("zinb")} <= set(adata.layers):
        yield picture(
            "zero_study",
            "What the ZINB makes of each zero",
            "Every zero by the NB mean and the dropout probability that the ZINB gives it; the darkest shade "
            "holds the densest 20 %, the palest 95 %. High up, an NB would not have made a zero.",
            "Contours on logarithmic axes: density of NB mean against dropout probability over all zeros.",
            partial(pl.zero_study, adata, key=key),
        )
    yield picture(
        "history",
        "Training",
        "Full lines should have levelled off by their dot, which is the epoch whose weights were kept.",
        "Validation and training ELBO per epoch of each restart of NB and ZINB.",
        partial(pl.history, adata, key=key),
    )


def _verdict(adata: AnnData, key: str | None) -> Picture:
    found = get.verdict(adata, key=key)
    return picture(
        "verdict",
        "The verdict",
        "What a ZINB gains on cells that it has not seen, with its interval; within the grey it makes no "
        "practical difference. It is zero inflation where every row lies to the right of the grey.",
        f"Intervals of the gain of the ZINB against what makes no practical difference. {found.plain}",
        partial(pl.verdict, adata, key=key),
    )


def _distances(distances: pd.DataFrame, check: str) -> str:
    rows = distances[distances["check"] == check]
    found = (f"{model_name(row['model'])} {row['ks']:.3f}" for _, row in rows.iterrows())
    return f"Distance over genes: {', '.join(found)}."


def _shares(adata: AnnData, key: str | None) -> str:
    """Say how many genes have which cause."""
    found = get.zero_causes_df(adata, key=key)["cause"].value_counts()
    return f"Genes: {', '.join(f'{n:,} {cause}' for cause, n in found.items())}."


def _scores(adata: AnnData, key: str | None) -> Picture:
    """Draw gains by mean and call where there are calls, else their histogram."""
    genes = get.zi_genes_df(adata, key=key)
    best = ", ".join(genes.index[genes["score"] > 0][:5].astype(str))
    if "call" in genes:
        return picture(
            "zi_scores",
            "Does zero inflation help a gene?",
            "Each gene by its mean count and by how much zero inflation explains it better. Orange genes are "
            "called zero-inflated given the state of the cells, blue ones have no more dropout than is of "
            "interest; grey ones have too few counts to tell.",
            "Scatter of the genes: gain of zero inflation, in nats per cell, against mean count, coloured by "
            f"call. The largest gains: {best or 'none'}.",
            partial(pl.zi_scores, adata, kind="mean", key=key),
        )
    return picture(
        "zi_scores",
        "Does zero inflation help a gene?",
        "To the right of zero the ZINB accounts better for a gene. Coloured are genes more than two standard "
        "errors from no difference; among many genes some are so by chance.",
        "Histogram of the gain of the ZINB over the NB per gene, in nats per cell. "
        f"The largest gains: {best or 'none'}.",
        partial(pl.zi_scores, adata, key=key),
    )


def picture(name: str, title: str, reading: str, alt: str, plot: Callable[..., Any]) -> Picture:
    """Draw for a light page and for a dark one what ``plot(show=False, return_fig=True)`` gives."""
    figure = plot(show=False, return_fig=True)
    width, height = figure.get_size_inches() * DPI
    png = as_png(figure)
    with plt.style.context(["dark_background", dict.fromkeys(INKED, INK)]):
        dark = as_png(plot(show=False, return_fig=True), transparent=True)
    return Picture(name, title, reading, alt, png, (int(width), int(height)), dark)


def as_png(figure: Any, *, transparent: bool = False) -> bytes:
    """Write a figure as a PNG file has it, and close it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, transparent=transparent)
    plt.close(figure)
    return buffer.getvalue()
