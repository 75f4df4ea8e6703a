"""Judge whether the numbers of a study can be trusted, as a person would ask before believing them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .. import get
from .._record.parts import FAILURES, PARAMS, PPC_KS
from .._record.record import Record
from .._words.models import MODELS, model_name
from .._words.numbers import percent
from ..get._checks import check_words

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Level = Literal["good", "look", "bad"]

# Shares of cells of high Pareto k: a quarter is where `zinbtools.tl.marginal_ll` warns.
FEW_BAD_K, MANY_BAD_K = 0.25, 0.5
# Rise of the best validation ELBO over the last tenth of the epochs, as a share of the ELBO.
LEVEL, RISING = 5e-4, 2.5e-3
UNUSUAL = 0.975  # of the model's own draws are closer to its prediction than the data are


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
    """Make every check for which the results are there, in the order in which they matter.

    Parameters
    ----------
    adata
        Object on which the verbs of :mod:`zinbtools.tl` were run.
    key
        ``key_added`` of the fit to read.
    """
    record, metrics = Record.read(adata, key), get.metrics_df(adata, best=True, key=key)
    lights = [_restarts(adata, key), _convergence(get.history_df(adata, key=key))]
    if (metrics["metric"] == "bad_pareto_k").any():
        lights.append(_pareto(metrics))
    if {record.keys.marginal_ll(model) for model in MODELS} <= set(adata.obs):
        lights.append(_precision(adata, metrics, key))
    if PPC_KS in record:
        lights += _predictions(adata, key)
    return lights


def _restarts(adata: AnnData, key: str | None) -> Light:
    record = Record.read(adata, key)
    question = "Did every training run to its end?"
    n = int(record[PARAMS].get("n_restarts", 1))
    if len(failed := record.get(FAILURES, ())):
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
            "Yes, but there is one training per model: it is not known how much another seed would change.",
            "Use --restarts 5 or more.",
        )
    spread = ", ".join(
        f"{by_restart.max() - by_restart.min():.2g} ({model_name(model)})"
        for model, by_restart in _validation_elbo(adata, key).items()
    )
    return Light(
        "good",
        question,
        f"Yes, {n} of each model. Between seeds the validation ELBO differs by up to {spread} nats per cell.",
    )


def _validation_elbo(adata: AnnData, key: str | None) -> dict[str, pd.Series]:
    metrics = get.metrics_df(adata, key=key)
    rows = metrics[(metrics["metric"] == "elbo") & (metrics["split"] == "validation")]
    return {str(model): some["value"] for model, some in rows.groupby("model")}


def _convergence(history: pd.DataFrame) -> Light:
    """Judge the rise of the best validation ELBO over the last tenth of the epochs, worst restart."""
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
        f"({model_name(worst[0])}, restart {worst[1]})."
    )
    if not rises[worst] > LEVEL:
        return Light("good", question, found)
    return Light("look" if rises[worst] <= RISING else "bad", question, found, "Raise --max-epochs.")


def _pareto(metrics: pd.DataFrame) -> Light:
    rows = metrics[metrics["metric"] == "bad_pareto_k"].drop_duplicates("model", keep="last")
    shares = dict(zip(rows["model"], rows["value"], strict=True))
    found = ", ".join(f"{model_name(model)} {percent(share)}" for model, share in shares.items())
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
        return Light(
            "bad", question, found, "Fewer than 50 cells say little: put more cells into the test split."
        )
    if not monte_carlo <= gain.se:
        return Light("look", question, found, "Take more samples: n_samples of zinbtools.tl.marginal_ll.")
    return Light("good", question, found)


def _predictions(adata: AnnData, key: str | None) -> Iterator[Light]:
    """Judge each check that has a null: the models' own draws."""
    words = check_words(adata, key)
    for check, rows in get.ppc_ks_df(adata, key=key).groupby("check", sort=False):
        position = rows.set_index("model")["position"]
        if position.isna().all():
            continue
        unlike = [model_name(model) for model, place in position.items() if place > UNUSUAL]
        found = "; ".join(
            f"{model_name(row['model'])} distance {row['ks']:.3f}, its own draws {row['null_low']:.3f} to "
            f"{row['null_high']:.3f}"
            for _, row in rows.iterrows()
        )
        level: Level = "good" if not unlike else "look" if len(unlike) < len(position) else "bad"
        whose = " and ".join(unlike)
        yield Light(
            level,
            f"Would the models make such data: {words[check].short}?",
            f"{found}.",
            f"Data like these are unusual for the {whose}: what it says of single genes needs care."
            if unlike
            else "",
        )
