"""The tables of a report: what they are called, their columns, their cells as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .. import get
from .._record.parts import PPC_KS, SELECTION
from .._record.record import Record
from .._words.models import model_name
from .._words.numbers import counted, with_ends
from ..get._checks import check_words, metric_name
from ._summary import COLUMNS, summary, table_cells

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ._pipeline import Study

ABSENT = "–"
POSITIONS = {
    "above": "beyond the region",
    "below": "beyond the region, on the NB's side",
    "inside": "within the region",
    "below or inside": "not beyond the region on the ZINB's side",
    "open": "over the upper edge of the region",
}


@dataclass(frozen=True)
class ReportTable:
    """A table to read and to sort.

    Attributes
    ----------
    caption
        What it shows.
    columns
        Headings.
    rows
        Text of each cell; the first of a row names it.
    note
        How to read it.
    words
        Columns that sort by letters and not by the number at their start.
    folded
        Shown on demand only.
    links
        Where the first cell of a row leads, by its text.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: frozenset[int] = field(default=frozenset({0}))
    folded: bool = False
    links: Mapping[str, str] = field(default_factory=dict)


def evidence(study: Study) -> list[ReportTable]:
    """Make every table of a study for which the results are there, the most important first."""
    adata, key = study.adata, study.key
    record, tables = Record.read(adata, key), [_models(study.table)]
    if PPC_KS in record:
        tables.append(_distances(adata, key))
    if SELECTION in record:
        tables.append(_rivals(get.rivals_df(adata, key=key)))
        tables.append(_restarts(get.model_selection_df(adata, key=key)))
    if (study.table["restarts"] > 1).any():
        tables.append(_best_restarts(summary(adata, best=True, key=key)))
    return [*tables, _metrics(get.metrics_df(adata, key=key))]


def _rivals(rivals: pd.DataFrame) -> ReportTable:
    rows = [
        [
            f"{model_name(row['model'])}, {counted(int(row['n_restarts']), 'restart')}",
            with_ends(*row[["gain", "gain_low", "gain_high"]]) if row["model"] != "nb" else ABSENT,
            with_ends(*row[["over_zinb", "over_zinb_low", "over_zinb_high"]]),
            with_ends(*row[["zinb_gain", "zinb_low", "zinb_high"]]),
            POSITIONS[row["zinb_position"]],
            "yes" if row["excess_zeros"] else "no",
        ]
        for _, row in rivals.iterrows()
    ]
    return ReportTable(
        "Does something else explain it?",
        ["model", "gain over the NB", "over the ZINB", "gain of its ZINB", "which is", "excess zeros"],
        rows,
        "Log likelihood of test cells, nats per cell, with its interval. An NB with the same dispersion in "
        "all cells lacks zeros where the gene is more dispersed, and a ZINB makes them. So where the ZINB's "
        "gain is beyond what makes no practical difference, both are compared again with a dispersion per "
        "gene and cell: it is zero inflation only if gain and excess zeros are there too. Reads are copies "
        "of molecules, which make a ZINB better too: gene by gene, around the NB's means, NB and ZINB are "
        "compared as such and of molecules that were copied.",
    )


def _restarts(tests: pd.DataFrame) -> ReportTable:
    return ReportTable(
        "The two models over restarts",
        ["metric", "NB, median", "ZINB, median", "restarts", "p, NB better", "p, ZINB better"],
        [
            [
                COLUMNS.get(row["metric"]) or metric_name(row["metric"]),
                f"{row['nb_median']:.4g}",
                f"{row['zinb_median']:.4g}",
                f"{row['nb_runs']}, {row['zinb_runs']}",
                f"{row['pval_nb_better']:.2g}",
                f"{row['pval_zinb_better']:.2g}",
            ]
            for _, row in tests.iterrows()
        ],
        "The 2019 study's comparison: one-sided rank-sum tests between the runs. They say whether another "
        "seed would favour the same model; not whether other cells would, or whether the difference matters.",
    )


def _models(table: pd.DataFrame) -> ReportTable:
    return ReportTable(
        "The two models",
        ["model", *COLUMNS.values()],
        table_cells(table),
        "Means over the restarts, as in the verdict. "
        "NLL: negative log likelihood of held-out cells by importance sampling, ± its Monte Carlo error; "
        "lower is better. The error of the difference in the verdict is another one: it says how much other "
        "cells would change it. KS: distance between the observed and the predicted values over genes, "
        "0 to 1; lower is better, but not even a perfect model reaches 0 (next table). Mean dropout: the "
        "ZINB's dropout probability over all entries; by itself it is no evidence, because at low means an "
        "NB makes the same zeros.",
    )


def _best_restarts(table: pd.DataFrame) -> ReportTable:
    return ReportTable(
        "The best restarts",
        ["model", *COLUMNS.values()],
        table_cells(table, best=True),
        "The same of one restart of each model, that of the highest validation ELBO. The "
        "embedding in the annotated file is its own, and so are log likelihoods of cells and gene scores. "
        "The verdict rests on all restarts.",
        folded=True,
    )


def _distances(adata: AnnData, key: str | None) -> ReportTable:
    words = check_words(adata, key)
    rows = [
        [
            f"{words[row['check']].short}, {model_name(row['model'])}",
            f"{row['ks']:.3f}",
            f"{row['null_low']:.3f} to {row['null_high']:.3f}" if _known(row) else ABSENT,
            f"{100 * row['position']:.0f} %" if _known(row) else ABSENT,
        ]
        for _, row in get.ppc_ks_df(adata, key=key).iterrows()
    ]
    return ReportTable(
        "Would the models make such data?",
        [
            "check, model",
            "KS distance of the data",
            "of the model's own draws (95 %)",
            "draws that are closer",
        ],
        rows,
        "For each check, the distance between the data and what a model predicts, beside the distances of "
        "draws of the model itself. Where nearly all draws are closer than the data, the model does not make "
        "data like these.",
    )


def _metrics(metrics: pd.DataFrame) -> ReportTable:
    rows = [
        [
            str(row["metric"]).replace("_", " "),
            model_name(row["model"]),
            str(row["restart"]),
            str(row["split"]),
            number(row["value"]),
            number(row["se"]),
        ]
        for _, row in metrics.iterrows()
    ]
    return ReportTable(
        "Every number, by restart",
        ["metric", "model", "restart", "cells", "value", "standard error"],
        rows,
        "ELBO and NLL in nats per cell. The same as metrics.csv.",
        words=frozenset({0, 1, 3}),
        folded=True,
    )


def number(value: float) -> str:
    """Write four digits, or a dash for what is not known."""
    return f"{value:.4g}" if np.isfinite(value) else ABSENT


def _known(row: pd.Series) -> bool:
    return bool(np.isfinite(row["position"]))


GENE_COLUMNS = {
    "call": "call",
    "class": "cause of zeros",
    "explained_by": "explained by",
    "score": "gain, nats per cell",
    "score_se": "standard error",
    "mean_count": "mean count",
    "observed_zero_fraction": "zeros, %",
    "nb_zero_fraction": "NB expects, %",
    "zinb_zero_fraction": "ZINB expects, %",
    "dropout": "dropout probability",
    "dropout_low": "from",
    "dropout_high": "to",
    "pval_adj": "adjusted p",
}
GENE_WORDS = {"explained_by", "class", "call"}
PERCENTAGES = {name for name in GENE_COLUMNS if name.endswith("_fraction")}


def gene_table(adata: AnnData, key: str | None) -> ReportTable:
    """List all genes, the largest gain first, with their calls where the method makes any."""
    genes = get.zi_genes_df(adata, key=key)
    there = [name for name in GENE_COLUMNS if name in genes]
    cells = [genes.index.astype(str).tolist()]
    for name in there:
        values = genes[name].tolist()
        cells.append([_cell(name, value) for value in values])
    called = "call" in there
    return ReportTable(
        "Genes",
        ["gene", *(GENE_COLUMNS[name] for name in there)],
        [list(row) for row in zip(*cells, strict=True)],
        "Gain: by how much zero inflation explains the gene better. "
        + (
            "A gene is called zero-inflated if it has more zeros than an NB given the state of each cell, "
            "at a false discovery rate (5 % unless asked for another), also where the dispersion may depend "
            "on that state; negligible if its dropout is at most 0.01; undecided if its counts do not tell, "
            "as always where fewer than 20 cells have one. 'Explained by' names a column of obs that tells "
            "where the zeros are, or the dispersion. The cause of the zeros is the simplest account that "
            "suffices: none (an NB), dispersion, a covariate, amplification (of reads), and of genes that "
            "these leave, bursting or dropout, whichever is closer to the counts."
            if called
            else "The largest of many gains is partly chance."
        )
        + " Everything that is known of the genes is in genes.csv.",
        words=frozenset({0, *(place for place, name in enumerate(there, 1) if name in GENE_WORDS)}),
    )


def _cell(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    shown = float(value)  # type: ignore[arg-type]
    if not np.isfinite(shown):
        return ABSENT
    return f"{100 * shown:.1f}" if name in PERCENTAGES else f"{shown:.3g}"
