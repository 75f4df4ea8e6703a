"""The figures of a report, each with its words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from .. import get, pl
from .._keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

DPI = 240
CHECKS = {
    "dropout_ratio": (
        "Share of zeros, predicted",
        "Each gene twice: its share of zeros in held-out cells against what each model predicts for them. "
        "Below the dotted line a model predicts too few zeros.",
    ),
    "zeros_to_expression": (
        "Zeros against expression, predicted",
        "The number of zeros over the mean non-zero count: the closer to the dotted line, the better a model "
        "knows how zeros and expression go together.",
    ),
    "cv": (
        "Variation, predicted",
        "Standard deviation over mean of each gene. Above the dotted line a model makes a gene more variable "
        "than it is, below it less.",
    ),
}


@dataclass(frozen=True)
class Picture:
    """One PNG with its title, one line on how to read it, and its alternative text."""

    name: str
    title: str
    reading: str
    alt: str
    png: bytes


def pictures(adata: AnnData, key: str | None) -> Iterator[Picture]:
    """Draw every plot for which the results are there, one at a time."""
    yield _picture(
        "dropout",
        "Zeros against the mean",
        "Grey: the genes as they are. A model whose marks or line lie below them expects too few zeros at "
        "that mean.",
        "Share of cells without a count of each gene against its mean count, with what NB and ZINB expect.",
        pl.dropout(adata, key=key, show=False, return_fig=True),
    )
    for check in get.ppc_df(adata, key=key)["check"].unique():
        title, reading = CHECKS.get(check, (check, "The closer to the dotted line, the better."))
        yield _picture(
            f"ppc_{check}",
            title,
            reading,
            f"Observed against predicted {check.replace('_', ' ')} of each gene under NB and ZINB.",
            pl.ppc(adata, checks=check, key=key, show=False, return_fig=True),
        )
    yield _picture(
        "zi_scores",
        "Genes that zero inflation helps",
        "To the right of zero the ZINB accounts better for a gene. Coloured are genes more than two standard "
        "errors from no difference; among many genes some are so by chance.",
        "Histogram of the gain of the ZINB over the NB per gene, in nats per cell.",
        pl.zi_scores(adata, key=key, show=False, return_fig=True),
    )
    if {Keys(key).dropout(), Keys(key).mean("zinb")} <= set(adata.layers):
        yield _picture(
            "zero_study",
            "What the ZINB makes of each zero",
            "Every zero by the NB mean and the dropout probability that the ZINB gives it; the darkest shade "
            "holds the densest 20 %, the palest 95 %. High up, an NB would not have made a zero.",
            "Density of log10 NB mean against log10 dropout probability over all zero entries.",
            pl.zero_study(adata, key=key, show=False, return_fig=True),
        )
    yield _picture(
        "history",
        "Training",
        "Full lines should have levelled off by their dot, which is the epoch whose weights were kept.",
        "Validation and training ELBO per epoch of each restart of NB and ZINB.",
        pl.history(adata, key=key, show=False, return_fig=True),
    )


def _picture(name: str, title: str, reading: str, alt: str, figure: Any) -> Picture:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    plt.close(figure)
    return Picture(name, title, reading, alt, buffer.getvalue())
