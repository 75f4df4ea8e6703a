"""The tidy table of metrics in ``uns``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from anndata import AnnData

from .._record.keys import Keys
from .._record.parts import METRICS, Metric


def metrics_table(rows: Iterable[Metric]) -> pd.DataFrame:
    """Rows as a data frame."""
    return pd.DataFrame(list(rows), columns=METRICS.holds)


def in_order(rows: Sequence[Metric]) -> list[Metric]:
    """Sort rows by model, then by metric and split as they first come, then by restart."""
    kinds = list(dict.fromkeys((row.metric, row.split) for row in rows))
    return sorted(rows, key=lambda row: (row.model, kinds.index((row.metric, row.split)), row.restart))


def update_metrics(adata: AnnData, keys: Keys, rows: Iterable[Metric]) -> None:
    """Add rows to the table; they replace those of the same model, restart, split and metric."""
    results = adata.uns[keys.uns]
    earlier = [results[METRICS.name]] if METRICS.name in results else []
    table = pd.concat([*earlier, metrics_table(rows)], ignore_index=True)
    results[METRICS.name] = table.drop_duplicates(list(METRICS.holds[:4]), keep="last", ignore_index=True)
