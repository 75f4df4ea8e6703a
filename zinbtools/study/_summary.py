"""Set the numbers by which the two models are judged side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import get
from .._check.arguments import checked
from .._words.models import MODELS, model_name
from .._words.numbers import with_error
from ..get._checks import metric_name

if TYPE_CHECKING:
    from anndata import AnnData

COLUMNS = {
    "nll": "held-out NLL, nats per cell",
    **{m: metric_name(m) for m in ("ks_dropout_ratio", "ks_zeros_to_expression", "ks_cv", "mean_dropout")},
}


@checked
def summary(adata: AnnData, *, key: str | None = None) -> pd.DataFrame:
    """Return one row per model with the numbers that it is judged by.

    Parameters
    ----------
    adata
        Object on which the verbs of :mod:`zinbtools.tl` were run.

    Returns
    -------
    Indexed by model: ``nll`` and ``nll_se`` (held-out, nats per cell, with its Monte Carlo error),
    ``ks_dropout_ratio``, ``ks_zeros_to_expression``, ``ks_cv`` and ``mean_dropout``, each of the restart
    that was best on validation; NaN for what was not measured.

    Raises
    ------
    KeyError
        If there is no fit under ``key``.
    """
    metrics = get.metrics_df(adata, best=True, key=key)
    rows = {}
    for model in MODELS:
        ours = metrics[metrics["model"] == model].drop_duplicates("metric", keep="last").set_index("metric")
        rows[model] = ours["value"].reindex(list(COLUMNS))
        rows[model]["nll_se"] = ours["se"].get("nll", np.nan)
    table = pd.DataFrame(rows).T.rename_axis("model")
    return table[["nll", "nll_se", *list(COLUMNS)[1:]]]


def table_cells(table: pd.DataFrame) -> list[list[str]]:
    """Return a table of :func:`summary` as text: the model's name, then a cell per entry of COLUMNS."""
    rows = []
    for model, row in table.iterrows():
        numbers = ("–" if np.isnan(row[name]) else f"{row[name]:.3f}" for name in list(COLUMNS)[1:])
        rows.append([model_name(model), with_error(row["nll"], row["nll_se"]), *numbers])
    return rows


def table_text(table: pd.DataFrame) -> str:
    """Lay out a table of :func:`summary` for a terminal."""
    rows = [["model", *COLUMNS.values()], *table_cells(table)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        aligned = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *aligned]))
    return "\n".join(lines)
