"""The tidy table of metrics in ``uns``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from .._record.keys import Keys


class Metric(NamedTuple):
    """One row of the table."""

    model: str
    restart: int
    split: str
    metric: str
    value: float
    se: float = np.nan


def metrics_table(rows: Iterable[Metric]) -> pd.DataFrame:
    """Rows as a data frame."""
    return pd.DataFrame(list(rows), columns=list(Metric._fields))


def in_order(rows: Sequence[Metric]) -> list[Metric]:
    """Sort rows by model, then by metric and split as they first come, then by restart."""
    kinds = list(dict.fromkeys((row.metric, row.split) for row in rows))
    return sorted(rows, key=lambda row: (row.model, kinds.index((row.metric, row.split)), row.restart))


def update_metrics(adata: AnnData, keys: Keys, rows: Iterable[Metric]) -> None:
    """Add rows to the table; they replace those of the same model, restart, split and metric."""
    results = adata.uns[keys.uns]
    earlier = [results["metrics"]] if "metrics" in results else []
    table = pd.concat([*earlier, metrics_table(rows)], ignore_index=True)
    results["metrics"] = table.drop_duplicates(list(Metric._fields[:4]), keep="last", ignore_index=True)
