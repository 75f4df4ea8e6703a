"""Whether the numbers of a study can be trusted, as a person would ask before believing them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .. import get
from .._record.keys import Keys
from .._words.numbers import percent

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Level = Literal["good", "look", "bad"]

# Shares of cells of high Pareto k: a quarter is where `zinbtools.tl.marginal_ll` warns.
FEW_BAD_K, MANY_BAD_K = 0.25, 0.5
# Rise of the best validation ELBO over the last tenth of the epochs, as a share of the ELBO.
LEVEL, RISING = 5e-4, 2.5e-3
UNUSUAL = 0.975  # of the model's own draws are closer to its prediction than the data are
CHECKS = {"dropout_ratio": "share of zeros", "zeros_to_expression": "zeros / expression", "cv": "variation"}


@dataclass(frozen=True)
class Light:
    """One question, its answer in numbers, and how good the answer is.

    Attributes
    ----------
    level
        ``"good"``; ``"look"``: something to know; ``"bad"``: the verdict should not rest on it.
    question, finding, advice
        What is asked, what was found, and what to do (empty where there is nothing to do).
    """

    level: Level
    question: str
    finding: str
    advice: str = ""


def diagnostics(adata: AnnData, key: str | None = None) -> list[Light]:
    """All checks for which the results are there, in the order in which they matter.

    Parameters
    ----------
    adata
        Object on which the verbs of :mod:`zinbtools.tl` were run.
    key
        ``key_added`` of the fit to read.
    """
    metrics = get.metrics_df(adata, best=True, key=key)
    lights = [_restarts(adata, key), _convergence(get.history_df(adata, key=key))]
    if (metrics["metric"] == "bad_pareto_k").any():
        lights.append(_pareto(metrics))
    if {Keys(key).marginal_ll(model) for model in ("nb", "zinb")} <= set(adata.obs):
        lights.append(_precision(adata, metrics, key))
    if "ks" in adata.uns[Keys(key).uns].get("ppc", {}):
        lights += _predictions(get.ppc_ks_df(adata, key=key))
    return lights


def _restarts(adata: AnnData, key: str | None) -> Light:
    results = adata.uns[Keys(key).uns]
    question = "Did every training run to its end?"
    n = int(results["params"].get("n_restarts", 1))
    failed = results.get("failures")
    if failed is not None and len(failed):
        worst = int(failed["model"].value_counts().max())
        return Light(
            "bad" if 2 * worst >= n else "look",
            question,
            f"{len(failed)} of {2 * n} trainings broke off, as their loss was not finite; they are left out.",
            "Try a smaller learning rate, and look for extreme counts.",
        )
    if n == 1:
        return Light(
            "look",
            question,
            "Yes, but there is one training per model: how much another seed would change is not known.",
            "Use --restarts 5 or more.",
        )
    spread = ", ".join(
        f"{model.upper()} {by_restart.max() - by_restart.min():.2g}"
        for model, by_restart in _validation_elbo(adata, key).items()
    )
    return Light(
        "good",
        question,
        f"Yes, all {n} of each model. Validation ELBOs of the seeds span {spread} nats per cell.",
    )


def _validation_elbo(adata: AnnData, key: str | None) -> dict[str, pd.Series]:
    metrics = get.metrics_df(adata, key=key)
    rows = metrics[(metrics["metric"] == "elbo") & (metrics["split"] == "validation")]
    return {str(model): some["value"] for model, some in rows.groupby("model")}


def _convergence(history: pd.DataFrame) -> Light:
    """How much the best validation ELBO rose over the last tenth of the epochs, worst of all restarts."""
    rises = {}
    for (model, restart), run in history.groupby(["model", "restart"], observed=True):
        best = np.fmax.accumulate(run.sort_values("epoch")["validation_elbo"].to_numpy(dtype=float))
        if np.isfinite(best[-1]):
            rises[str(model), str(restart)] = (best[-1] - best[int(0.9 * (len(best) - 1))]) / abs(best[-1])
    question = "Had the trainings levelled off?"
    if not rises:
        return Light("look", question, "Not known: no validation ELBO was recorded.")
    worst = max(rises, key=lambda which: rises[which])
    found = (
        f"Over the last tenth of the epochs the best validation ELBO rose by {percent(rises[worst])} at most "
        f"({worst[0].upper()}, restart {worst[1]})."
    )
    if not rises[worst] > LEVEL:
        return Light("good", question, found)
    return Light("look" if rises[worst] <= RISING else "bad", question, found, "Raise --max-epochs.")


def _pareto(metrics: pd.DataFrame) -> Light:
    rows = metrics[metrics["metric"] == "bad_pareto_k"].drop_duplicates("model", keep="last")
    shares = dict(zip(rows["model"], rows["value"], strict=True))
    found = ", ".join(f"{model.upper()} {percent(share)}" for model, share in shares.items())
    worst = max(shares.values())
    level: Level = "good" if worst <= FEW_BAD_K else "look" if worst <= MANY_BAD_K else "bad"
    return Light(
        level,
        "Can the held-out likelihoods be trusted?",
        f"Cells whose estimate rests on too few importance samples (Pareto k above 0.7): {found}.",
        "" if level == "good" else "Take ten times as many samples: n_samples of zinbtools.tl.marginal_ll.",
    )


def _precision(adata: AnnData, metrics: pd.DataFrame, key: str | None) -> Light:
    gain = get.nll_difference(adata, key=key)
    rows = metrics[metrics["metric"] == "nll"].drop_duplicates("model", keep="last")
    monte_carlo = float(np.sqrt((rows["se"] ** 2).sum()))
    found = (
        f"The difference is a mean over {gain.n_cells:,} cells, known to ± {gain.se:.2g} nats; drawing the "
        f"importance samples again would change it by about ± {monte_carlo:.2g}."
    )
    question = "Are there enough cells and samples?"
    if not gain.n_cells >= 50:
        return Light("bad", question, found, "Fewer than 50 cells say little: give more cells to the test.")
    if not monte_carlo <= gain.se:
        return Light("look", question, found, "Take more samples: n_samples of zinbtools.tl.marginal_ll.")
    return Light("good", question, found)


def _predictions(distances: pd.DataFrame) -> Iterator[Light]:
    """One light per check that has a null: the models' own draws."""
    for check, rows in distances.groupby("check", sort=False):
        position = rows.set_index("model")["position"]
        if position.isna().all():
            continue
        unlike = [str(model).upper() for model, place in position.items() if place > UNUSUAL]
        words = "; ".join(
            f"{str(row['model']).upper()} distance {row['ks']:.3f}, its own draws {row['null_low']:.3f} to "
            f"{row['null_high']:.3f}"
            for _, row in rows.iterrows()
        )
        level: Level = "good" if not unlike else "look" if len(unlike) < len(position) else "bad"
        whose = " and ".join(unlike)
        yield Light(
            level,
            f"Would the models make such data: {CHECKS.get(str(check), str(check).replace('_', ' '))}?",
            f"{words}.",
            f"Data like these are unusual for the {whose}: what it says of single genes needs care."
            if unlike
            else "",
        )
