"""The evidence of a comparison of NB and ZINB, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from .._words.answers import Answer, Call, Explanation
from .._words.sentence import sentence as one_line
from ..get._settings import FitSettings
from ..stats.equivalence import conclude
from ..stats.groups import within_regions
from ._comparison import Comparison, Method
from ._gains import Gains
from ._refits import FEWEST_CELLS, on_the_same_split, part_of, twin_of
from ._selection_tables import (
    by_restart_table,
    differences_table,
    interval,
    pooled_zeros,
    rivals_table,
    zeros_table,
)
from ._setup import Sample, Seeds
from ._trained import train_folds

MANY_INFLATED = 0.05  # of the genes that are tested; of genes without dropout fewer than one in a hundred are
RIVALS: dict[str, dict[str, Any]] = {
    "poisson": {"dispersion": "none"},
    "nb-gene-cell": {"dispersion": "gene-cell"},
}


def evidence_of(
    main: Comparison,
    rivals: Sequence[str],
    dropped: Mapping[int, float],
    labels: pd.Series | None,
    n_twins: int,
    genes: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Evidence and verdict, but for what columns of ``obs`` and the metrics of all restarts say."""
    alpha = main.method.alpha
    gains = {"zinb": main.gains} | {rival: _gains_of_rival(rival, main) for rival in rivals}
    has_excess, explained = main.excess.found(alpha), main.explained_by
    if _many_inflated(genes) and _may_be_dropout(main, explained):
        explained = Explanation.NONE
    result: dict[str, Any] = {
        "differences": differences_table(gains, main),
        "by_restart": by_restart_table(gains),
        "zeros": zeros_table(main),
        "pooled_zeros": pooled_zeros(main),
        "rivals": rivals_table(main),
    }
    if n_twins:
        twins = pd.DataFrame(_twins(main, n_twins))
        best = dropped[main.fit.best_restart("zinb")]
        pval = (1 + (twins["excess_zeros"] >= best).sum()) / (1 + n_twins)
        result |= {"bootstrap": twins, "bootstrap_pval": float(pval)}
        has_excess &= pval <= max(alpha, 1 / (1 + n_twins))
    if main.by_gene:
        result["reads_per_molecule"] = main.reads_per_molecule
    if labels is not None:
        groups = result["groups"] = pd.DataFrame(_within_groups(main, labels))
        inflated = main.position == "above" and has_excess and not explained
        if inflated and _explain(groups, alpha):
            explained = Explanation.GROUPS
    return result | {
        "excess_zeros": bool(has_excess),
        "verdict": conclude(main.position, has_excess and not explained),
        "explained_by": explained.value,
    }


def _may_be_dropout(main: Comparison, explained: Explanation) -> bool:
    """Whether what explains the gain leaves room for a dropout that genes show.

    A dispersion does; copies if a dropout adds to them on test cells, be it less than the region.
    """
    if explained is not Explanation.AMPLIFICATION:
        return True
    return next(rival.has_excess for rival in main.rivals if rival.explains is explained)


def _many_inflated(genes: Mapping[str, np.ndarray]) -> bool:
    """Whether a dispersion that depends on the state of the cell leaves many of the genes zero-inflated."""
    inflated = (genes["call"] == Call.ZERO_INFLATED) & (genes["explained_by"] == Explanation.NONE)
    return bool(inflated.sum() >= MANY_INFLATED * max((~np.isnan(genes["pval_adj"])).sum(), 1))


def _explain(groups: pd.DataFrame, alpha: float) -> bool:
    """Whether no group is zero-inflated, and together they show that there is nothing within them."""
    judged = groups[groups["verdict"] != ""]
    if not len(judged) or (judged["verdict"] == Answer.ZINB).any():
        return False
    numbers = judged[["n_cells", "difference", "se", "rope"]].to_numpy(dtype=np.float64)
    n_cells, difference, se, rope = numbers.T
    return within_regions(n_cells, difference, se, rope, alpha)


def ask_columns(result: dict[str, Any], main: Comparison, genes: Mapping[str, np.ndarray]) -> None:
    """Withdraw the verdict if the excess zeros are those of genes whose zeros a column of ``obs`` tells."""
    told = (genes["call"] == Call.ZERO_INFLATED) & (genes["explained_by"] != Explanation.NONE)
    alone = ~told
    if result["verdict"] != Answer.ZINB or not told.any() or not alone.any():
        return
    if not main.excess_among(alone).found(main.method.alpha):
        result["verdict"] = conclude(main.position, inflated=False)
        result["explained_by"] = Explanation.COVARIATE.value


def _gains_of_rival(rival: str, main: Comparison) -> Gains:
    """Log likelihood of each test cell under a rival minus that under the NB."""
    if rival == "nb-gene-cell" and main.rival is not None:
        return main.gains_of(main.rival.estimates)
    settings = main.fit.settings.of_models(["nb"]).changed(**RIVALS[rival])
    setups = [replace(fit.setup, settings=settings) for fit in main.fits]
    seeds = Seeds.spawn(main.method.seed, main.fit.n_restarts * len(setups))
    return main.gains_of(main.method.evaluate(train_folds(setups, seeds, main.method.run)))


def _twins(main: Comparison, n_twins: int) -> Iterator[dict[str, Any]]:
    """The comparison on counts that the NB's best restart has drawn, one restart on that fit's split."""
    sample, settings = on_the_same_split(main.fit)
    method, nb = main.method.apart().once(), main.fit.load("nb", main.data.device)
    for seed in range(method.seed, method.seed + n_twins):
        yield _on_twin(method, *twin_of(sample, nb, main.data, settings, seed))


def _on_twin(method: Method, twin: Sample, settings: FitSettings) -> dict[str, Any]:
    """The comparison on one twin, whose counts are gone before the next is drawn."""
    found = method.compare(twin, settings)
    return {
        "difference": found.difference.mean,
        "se": found.difference.se,
        "excess_zeros": found.dropped()[found.fit.best_restart("zinb")],
        "zero_share": found.excess.share,
        "n_genes_with_excess": found.excess.n_genes(method.alpha / 2),
        "verdict": found.verdict,
    }


def _within_groups(main: Comparison, labels: pd.Series) -> Iterator[dict[str, Any]]:
    """The comparison within each group; why not, where a group cannot be fitted."""
    fit, method = main.fit, main.method.apart()
    sample, settings = (fit.setup.sample, fit.settings) if len(main.fits) > 1 else on_the_same_split(fit)
    for name, cells in labels.groupby(labels, observed=True).indices.items():
        yield {"group": str(name), **_within(method, *part_of(sample, settings, cells))}


def _within(method: Method, part: Sample, settings: FitSettings) -> dict[str, Any]:
    """The comparison of some cells, whose counts are gone before those of the next are taken."""
    row: dict[str, Any] = {
        "n_cells": part.n_obs,
        **dict.fromkeys(("difference", "se", "low", "high", "rope", "nll"), np.nan),
        **{"position": "", "zero_share": np.nan},
        **dict.fromkeys(("verdict", "explained_by", "message"), ""),
    }
    if part.n_obs < FEWEST_CELLS:
        return row | {"message": f"fewer than {FEWEST_CELLS} cells"}
    try:
        found = method.compare(part, settings)
    except (ValueError, KeyError) as error:  # what is too few for one group is no reason to stop
        return row | {"message": one_line(error)}
    return row | {
        **interval(found.difference, method.alpha),
        "rope": found.rope,
        "nll": found.nll,
        "position": found.position,
        "zero_share": found.excess.share,
        "verdict": found.verdict,
        "explained_by": found.explained_by.value,
    }
