"""What `model_selection` leaves in uns: a comparison as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..model.zeros import ZeroCalibration
from ..stats.crossed import CrossedMean, crossed_mean
from ..stats.equivalence import position
from ..stats.rank_tests import adjusted, rank_test
from ..stats.zero_excess import ZeroExcess
from ._comparison import Comparison


def interval(found: CrossedMean, alpha: float) -> dict[str, float]:
    """A mean difference with its error and its interval of level 1 - alpha."""
    low, high = found.interval(1 - alpha)
    return {"difference": found.mean, "se": found.se, "low": low, "high": high}


def differences_table(gains: Mapping[str, Mapping[int, np.ndarray]], main: Comparison) -> pd.DataFrame:
    """One row per model that is compared with the NB."""
    rows = []
    for name, by_restart in gains.items():
        found = crossed_mean(np.stack(list(by_restart.values())))
        of_mean = interval(found, main.method.alpha)
        rows.append(
            {
                "model": name,
                **of_mean,
                "df": found.df,
                "sd_cells": found.sd_columns,
                "sd_restarts": found.sd_rows,
                "n_cells": found.n_columns,
                "n_restarts": found.n_rows,
                "nll": main.nll - found.mean,
                "rope": main.rope,
                "position": position(of_mean["low"], of_mean["high"], main.rope),
            }
        )
    return pd.DataFrame(rows)


def by_restart_table(gains: Mapping[str, Mapping[int, np.ndarray]]) -> pd.DataFrame:
    """One row per model that is compared with the NB, and restart."""
    rows = [(name, r, float(gain.mean())) for name, by_r in gains.items() for r, gain in by_r.items()]
    return pd.DataFrame(rows, columns=["model", "restart", "difference"])


def tests_table(table: pd.DataFrame, metrics: Sequence[str], alpha: float) -> pd.DataFrame:
    """The study's comparison over restarts, one row per metric, from the metrics of all restarts."""
    values = {
        (metric, model): rows["value"].to_numpy()
        for (metric, model), rows in table.groupby(["metric", "model"], sort=False)
        if metric in metrics
    }
    tests = {metric: rank_test(values[metric, "nb"], values[metric, "zinb"]) for metric in metrics}
    together = adjusted(tests)
    rows = []
    for metric, test in tests.items():
        better = "nb" if test.pval_first <= alpha else "zinb" if test.pval_second <= alpha else ""
        rows.append(
            {
                "metric": metric,
                "nb_median": test.first,
                "zinb_median": test.second,
                "nb_runs": test.n_first,
                "zinb_runs": test.n_second,
                "pval_nb_better": test.pval_first,
                "pval_zinb_better": test.pval_second,
                "pval_adj_nb_better": together[metric][0],
                "pval_adj_zinb_better": together[metric][1],
                "better": better,
            }
        )
    return pd.DataFrame(rows)


def zeros_table(counts: ZeroCalibration, excess: ZeroExcess, genes: pd.Index) -> pd.DataFrame:
    """One row per gene: its zeros, those that the NB expects, and how they compare with its own draws'."""
    return pd.DataFrame(
        {
            "gene": genes.to_numpy(),
            "observed": counts.observed,
            "expected": counts.expected,
            "null_mean": excess.null_mean,
            "null_sd": excess.null_sd,
            "pval": excess.pval,
            "pval_adj": excess.pval_adj,
        }
    )


def pooled_zeros(excess: ZeroExcess, alpha: float) -> dict[str, Any]:
    """The same of all genes together; shares are of the zeros that are there."""
    return {
        "share": excess.share,
        "null_share": excess.null_share,
        "null_share_sd": excess.null_share_sd,
        "pval": excess.pval_pooled,
        "n_genes": excess.n_genes(alpha / 2),
        "n_tested": len(excess.pval),
        "found": excess.found(alpha),
    }
