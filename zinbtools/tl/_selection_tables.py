"""What `model_selection` leaves in uns: a comparison as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._record.parts import BY_RESTART, DIFFERENCES, POOLED_ZEROS, TESTS, ZEROS
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
        low, high = found.interval(1 - main.method.alpha)
        spread = found.df, found.sd_columns, found.sd_rows, found.n_columns, found.n_rows
        judged = main.nll - found.mean, main.rope, position(low, high, main.rope)
        rows.append((name, found.mean, found.se, low, high, *spread, *judged))
    return pd.DataFrame(rows, columns=DIFFERENCES.holds)


def by_restart_table(gains: Mapping[str, Mapping[int, np.ndarray]]) -> pd.DataFrame:
    """One row per model that is compared with the NB, and restart."""
    rows = [(name, r, float(gain.mean())) for name, by_r in gains.items() for r, gain in by_r.items()]
    return pd.DataFrame(rows, columns=BY_RESTART.holds)


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
        rows.append((metric, *test, *together[metric], better))
    return pd.DataFrame(rows, columns=TESTS.holds)


def zeros_table(counts: ZeroCalibration, excess: ZeroExcess, genes: pd.Index) -> pd.DataFrame:
    """One row per gene: its zeros, those that the NB expects, and how they compare with its own draws'."""
    null = excess.null_mean, excess.null_sd, excess.pval, excess.pval_adj
    columns = genes.to_numpy(), counts.observed, counts.expected, *null
    return pd.DataFrame(dict(zip(ZEROS.holds, columns, strict=True)))


def pooled_zeros(excess: ZeroExcess, alpha: float) -> dict[str, Any]:
    """The same of all genes together; shares are of the zeros that are there."""
    shares = excess.share, excess.null_share, excess.null_share_sd, excess.pval_pooled
    found = excess.n_genes(alpha / 2), len(excess.pval), excess.found(alpha)
    return dict(zip(POOLED_ZEROS.holds, (*shares, *found), strict=True))
