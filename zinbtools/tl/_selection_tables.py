"""What `model_selection` leaves in uns: a comparison as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from .._record.parts import BY_RESTART, CALLS, DIFFERENCES, POOLED_ZEROS, RIVALS, TESTS, ZEROS
from .._words.answers import Call, Explanation
from ..get._frames import compared_rows
from ..stats.crossed import CrossedMean
from ..stats.equivalence import position
from ..stats.rank_tests import adjusted, rank_test
from ._comparison import Comparison
from ._gains import Gains, mean_gain


def interval(found: CrossedMean, alpha: float) -> dict[str, float]:
    """A mean difference with its error and its interval of level 1 - alpha."""
    low, high = found.interval(1 - alpha)
    return {"difference": found.mean, "se": found.se, "low": low, "high": high}


def differences_table(gains: Mapping[str, Gains], main: Comparison) -> pd.DataFrame:
    """One row per model that is compared with the NB."""
    rows = []
    for name, of_folds in gains.items():
        found = mean_gain(of_folds)
        low, high = found.interval(1 - main.method.alpha)
        spread = found.df, found.sd_columns, found.sd_rows, found.n_columns, found.n_rows, found.n_folds
        judged = main.nll - found.mean, main.rope, position(low, high, main.rope)
        rows.append((name, found.mean, found.se, low, high, *spread, *judged))
    return pd.DataFrame(rows, columns=DIFFERENCES.holds)


def by_restart_table(gains: Mapping[str, Gains]) -> pd.DataFrame:
    """One row per model that is compared with the NB, fold and restart."""
    rows = [
        (name, fold, restart, float(gain.mean()))
        for name, of_folds in gains.items()
        for fold, pairs in enumerate(of_folds)
        for restart, gain in pairs.items()
    ]
    return pd.DataFrame(rows, columns=BY_RESTART.holds)


def tests_table(table: pd.DataFrame, metrics: Sequence[str], alpha: float) -> pd.DataFrame:
    """The study's comparison over restarts, one row per metric, from the metrics of all restarts."""
    values = {
        (metric, model): rows["value"].to_numpy()
        for metric in metrics
        for model, rows in compared_rows(table, metric).groupby("model", sort=False)
    }
    tests = {metric: rank_test(values[metric, "nb"], values[metric, "zinb"]) for metric in metrics}
    together = adjusted(tests)
    rows = []
    for metric, test in tests.items():
        better = "nb" if test.pval_first <= alpha else "zinb" if test.pval_second <= alpha else ""
        rows.append((metric, *test, *together[metric], better))
    return pd.DataFrame(rows, columns=TESTS.holds)


def zeros_table(main: Comparison) -> pd.DataFrame:
    """One row per gene: its zeros, those that the NB expects, and how they compare with its own draws'."""
    counts, excess, genes = main.zeros, main.excess, main.fit.setup.sample.genes
    null = excess.null_mean, excess.null_sd, excess.pval, excess.pval_adj
    columns = genes.to_numpy(), counts.observed, counts.expected, *null
    return pd.DataFrame(dict(zip(ZEROS.holds, columns, strict=True)))


def calls_table(columns: Mapping[str, np.ndarray], genes: pd.Index, causes: pd.DataFrame) -> pd.DataFrame:
    """One row per gene that is called zero-inflated, or whose zeros are explained; the strongest first.

    ``causes`` is the `causes_table` of all genes.
    """
    table = pd.DataFrame({"gene": genes.to_numpy(), **{name: columns[name] for name in CALLS.holds[1:]}})
    table["cause"] = causes["cause"]
    kept = (table["call"] == Call.ZERO_INFLATED) | (table["explained_by"] != Explanation.NONE)
    order = np.argsort(-np.where(kept, columns["score"], -np.inf), kind="stable")[: int(kept.sum())]
    return table.iloc[order].reset_index(drop=True)


def pooled_zeros(main: Comparison) -> dict[str, Any]:
    """The same of all genes together; shares are of the zeros that are there."""
    excess, alpha = main.excess, main.method.alpha
    expected = max(float((main.zeros.expected + excess.null_mean).sum()), 0.0)
    shares = excess.share, excess.null_share, excess.null_share_sd, excess.pval_pooled
    found = excess.n_genes(alpha / 2), len(excess.pval), excess.found(alpha)
    counted = main.n_counted, expected
    return dict(zip(POOLED_ZEROS.holds, (*counted, *shares, *found), strict=True))


def rivals_table(main: Comparison) -> pd.DataFrame:
    """One row per rival: what it gains on the NB and on the ZINB, and what a dropout adds to it."""
    rows = []
    for rival in main.rivals:
        gains = (
            (gain.mean, *(gain.interval(1 - main.method.alpha) if gain.se > 0 else (gain.mean, gain.mean)))
            for gain in (rival.gain, rival.over_zinb, rival.of_zinb)
        )
        judged = rival.position, rival.has_excess, rival.of_zinb.n_rows
        rows.append((rival.model, *chain.from_iterable(gains), *judged))
    return pd.DataFrame(rows, columns=RIVALS.holds)
