"""Set the numbers by which the two models are judged side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import get
from .._check.arguments import checked
from .._record.record import Record
from .._words.models import MODELS, model_name
from .._words.numbers import with_error
from ..get._checks import metric_name
from ..get._frames import compared_rows

if TYPE_CHECKING:
    from anndata import AnnData

COLUMNS = {
    "nll": "held-out NLL, nats per cell",
    **{m: metric_name(m) for m in ("ks_dropout_ratio", "ks_zeros_to_expression", "ks_cv", "mean_dropout")},
}


@checked
def summary(adata: AnnData, *, best: bool = False, key: str | None = None) -> pd.DataFrame:
    """Return one row per model with the numbers that it is judged by, of test cells.

    Parameters
    ----------
    adata
        Object on which the verbs of :mod:`zinbtools.tl` were run.
    best
        Of the restart that was best on validation alone, not the mean over restarts, which the verdict
        compares.

    Returns
    -------
    Indexed by model: ``nll`` and ``nll_se`` (held-out, nats per cell, with its Monte Carlo error),
    ``ks_dropout_ratio``, ``ks_zeros_to_expression``, ``ks_cv`` and ``mean_dropout`` (over all cells); NaN
    for what was not measured; and ``restarts``: how many are averaged, those that succeeded for both models,
    or with ``best`` which one it is.

    Raises
    ------
    KeyError
        If there is no fit under ``key``.
    """
    metrics, record = get.metrics_df(adata, key=key), Record.read(adata, key)
    shared = _shared_restarts(metrics)
    rows = {}
    for model in MODELS:
        ours = metrics[metrics["model"] == model]
        chosen = {record.best_restart(model)} if best and model in record.models else shared[model]
        ours = ours[ours["restart"].isin(chosen)]
        of_metric = {name: compared_rows(ours, name) for name in COLUMNS}
        rows[model] = {name: found["value"].mean() for name, found in of_metric.items()}
        # the restarts share their random numbers: the error of their mean may be as large as that of one
        rows[model]["nll_se"] = of_metric["nll"]["se"].mean()
        rows[model]["restarts"] = next(iter(chosen)) if best and len(ours) else ours["restart"].nunique()
    table = pd.DataFrame(rows).T.rename_axis("model").astype({"restarts": int})
    return table[["nll", "nll_se", *list(COLUMNS)[1:], "restarts"]]


def _shared_restarts(metrics: pd.DataFrame) -> dict[str, set[int]]:
    """The restarts that were evaluated for both models, as the verdict takes; else each model's own."""
    found = {}
    for model in MODELS:
        ours = metrics[metrics["model"] == model]
        judged = ours[ours["metric"] == "nll"]
        found[model] = set((ours if judged.empty else judged)["restart"])
    both = found["nb"] & found["zinb"]
    return {model: both or restarts for model, restarts in found.items()}


def table_cells(table: pd.DataFrame, best: bool = False) -> list[list[str]]:
    """Return a table of :func:`summary` as text: the model and its restarts, then a cell per COLUMNS."""
    rows = []
    for model, row in table.iterrows():
        numbers = ("–" if np.isnan(row[name]) else f"{row[name]:.3f}" for name in list(COLUMNS)[1:])
        rows.append(
            [_label(model, int(row["restarts"]), best), with_error(row["nll"], row["nll_se"]), *numbers]
        )
    return rows


def _label(model: object, restarts: int, best: bool) -> str:
    if best:
        return f"{model_name(model)}, best restart ({restarts})"
    return f"{model_name(model)}, {f'mean of {restarts} restarts' if restarts != 1 else 'one restart'}"


def table_text(table: pd.DataFrame, best: pd.DataFrame | None = None) -> str:
    """Lay out tables of :func:`summary` for a terminal: the means, then the best restarts."""
    rows = [["model", *COLUMNS.values()], *table_cells(table)]
    if best is not None and (table["restarts"] > 1).any():
        rows += table_cells(best, best=True)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    return "\n".join(lines)
