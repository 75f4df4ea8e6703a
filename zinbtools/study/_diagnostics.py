"""Judge whether the numbers of a study can be trusted, as a person would ask before believing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .. import get
from .._record.parts import FAILURES, PARAMS, PPC_KS, SELECTION
from .._record.record import Record
from .._words.answers import Answer
from .._words.count_kinds import CountKind, advice
from .._words.models import MODELS, model_name
from .._words.numbers import in_words, percent
from ..get._checks import check_words
from ..get._health import TrainingHealth, health_of_fit, pareto_shares

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from ..get._health import SharesOfK

Level = Literal["good", "look", "bad"]

WORSE = {"good": 0, "look": 1, "bad": 2}
# Below half of the epochs that are asked for, and above this rise, another training would be another one.
HALF, STEEP = 0.5, 5e-3
ANOTHER_SEED = "Train another pair with another seed, or let zinbtools study train pairs."  # of an import
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
    lights = [*_counts(record), _restarts(adata, key), _convergence(health_of_fit(adata, key))]
    if shares := pareto_shares(adata, key):
        lights.append(_pareto(shares))
    if {record.keys.marginal_ll(model) for model in MODELS} <= set(adata.obs):
        lights.append(_precision(adata, metrics, key))
    if PPC_KS in record and (predictions := _predictions(adata, key)):
        lights.append(predictions)
    return lights


def _counts(record: Record) -> Iterator[Light]:
    """Judge what the numbers are, if the fit looked."""
    params = record[PARAMS]
    if "counts" not in params:
        return
    kind, sign = CountKind(str(params["counts"])), str(params.get("counts_sign", ""))
    question = "Are these counts of molecules?"
    if kind == CountKind.MOLECULES:
        yield Light("good", question, "Nothing in the numbers speaks against it.")
        return
    finding = f"{sign[0].upper()}{sign[1:]}."
    mild = kind in (CountKind.READS, CountKind.DOWNSAMPLED)
    yield Light("look" if mild else "bad", question, finding, f"{advice(kind)}.")


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
    if (n_folds := len(pairs := _pairs_by_fold(record))) > 1:
        found = f"{sum(pairs)} of {n * n_folds} pairs of trainings, {n} in each of {in_words(n_folds)} folds"
        is_good = sum(pairs) == n * n_folds
        return Light("good" if is_good else "look", question, f"{'Yes' if is_good else 'No'}, {found}.")
    if n == 1:
        return Light(
            "look",
            question,
            "Yes, but there is one training per model: it is not known how much another seed would change.",
            ANOTHER_SEED if record.is_imported else "Use --restarts 5 or more.",
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


def _pairs_by_fold(record: Record) -> list[int]:
    """How many pairs of trainings each fold of the comparison has; none without a comparison."""
    if SELECTION not in record:
        return []
    found = record[SELECTION]
    n_folds = int(found["differences"].set_index("model").loc["zinb", "n_folds"])
    of_zinb = found["by_restart"].query("model == 'zinb'")["fold"].value_counts()
    return [int(of_zinb.get(fold, 0)) for fold in range(n_folds)]


def _validation_elbo(adata: AnnData, key: str | None) -> dict[str, pd.Series]:
    metrics = get.metrics_df(adata, key=key)
    rows = metrics[(metrics["metric"] == "elbo") & (metrics["split"] == "validation")]
    return {str(model): some["value"] for model, some in rows.groupby("model")}


def _convergence(health: TrainingHealth | None) -> Light:
    """Judge the worst training: its epochs beside those that were asked for, and the rise at its end."""
    question = "Were the trainings long enough?"
    if health is None:
        advice = "Train with check_val_every_n_epoch=1, and scvi-tools records it."
        return Light("look", question, "Not known: no validation ELBO was recorded.", advice)
    found = (
        f"Over the last quarter of the epochs the best validation ELBO rose by {percent(health.rise)} at "
        f"most ({model_name(health.model)}, restart {health.restart})."
    )
    if health.state == "finished":
        return Light("good", question, found)
    told = f"{health.caution[0].upper()}{health.caution[1:]}"
    if health.state == "short" and health.asked is not None:
        level: Level = "bad" if health.max_epochs < HALF * health.asked else "look"
        advice = f"Leave --max-epochs out, or give {health.asked}: a short training levels off as well."
        return Light(level, question, f"{told} {found}", advice)
    more = "Raise --max-epochs." if health.asked else "Train longer."  # which is another program's to do
    return Light("bad" if health.rise > STEEP else "look", question, told, more)


_SAMPLES = "(--n-samples, or n_samples in Python)"


def _pareto(shares: Mapping[str, SharesOfK | None]) -> Light:
    """Judge the model whose likelihoods can be trusted least."""
    question = "Can the held-out likelihoods be trusted?"
    advice = f"Take ten times as many samples {_SAMPLES} and see whether the difference stays where it is."
    known = {model: found for model, found in shares.items() if found is not None}
    if not known:
        return Light("look", question, "Not known: fewer than 25 draws per cell cannot tell.", advice)
    level: Level = max((found.trust for found in known.values()), key=WORSE.__getitem__)
    limit = next(iter(known.values())).limit
    high = {
        "unreliable": "above 0.7, where an estimate is unreliable",
        "without_bound": "above 1, where its error has no bound",
    }
    if limit < 0.7:
        high = {"needs_draws": f"above {limit:.2g}, the limit for this number of draws"} | high
    told = []
    for name, words in high.items():
        shares_of = (f"{model_name(model)} {percent(getattr(one, name))}" for model, one in known.items())
        told.append(f"{', '.join(shares_of)} {words}")
    return Light(
        level,
        question,
        f"Share of the cells whose importance weights have a Pareto k: {'; '.join(told)}.",
        "" if level == "good" else advice,
    )


def _precision(adata: AnnData, metrics: pd.DataFrame, key: str | None) -> Light:
    n_cells, se = _compared(adata, key)
    rows = metrics[metrics["metric"] == "nll"].drop_duplicates("model", keep="last")
    monte_carlo = float(np.sqrt((rows["se"] ** 2).sum()))
    found = (
        f"The difference is a mean over {n_cells:,} cells, known to ± {se:.2g} nats; drawing the "
        f"importance samples again would change it by about ± {monte_carlo:.2g}."
    )
    question = "Are there enough cells and samples?"
    if not n_cells >= 50:
        return Light("bad", question, found, "Fewer than 50 cells say little: compare more of them.")
    if not monte_carlo <= se:
        return Light("look", question, found, f"Take more samples {_SAMPLES}.")
    return Light("good", question, found)


def _compared(adata: AnnData, key: str | None) -> tuple[int, float]:
    """How many cells are compared, and the error of the difference: by folds that of the verdict."""
    record = Record.read(adata, key)
    if len(_pairs_by_fold(record)) > 1:
        row = record[SELECTION]["differences"].set_index("model").loc["zinb"]
        return int(row["n_cells"]), float(row["se"])
    gain = get.nll_difference(adata, key=key)
    return gain.n_cells, gain.se


def _predictions(adata: AnnData, key: str | None) -> Light | None:
    """Judge the model that the verdict favours by all checks that have a null, its own draws."""
    distances = get.ppc_ks_df(adata, key=key).dropna(subset=["position"])
    if distances.empty:
        return None
    words = check_words(adata, key)
    favoured, verdict = _favoured(adata, key)
    if favoured not in set(distances["model"]):
        favoured = str(distances["model"].iloc[0])
    ours = distances[distances["model"] == favoured]
    unlike = {
        str(model): [words[check].short for check in rows.loc[rows["position"] > UNUSUAL, "check"]]
        for model, rows in distances.groupby("model", sort=False)
    }
    wrong = unlike.pop(favoured)
    found = "; ".join(
        f"{words[row['check']].short} {row['ks']:.3f}, "
        f"its own draws {row['null_low']:.3f} to {row['null_high']:.3f}"
        for _, row in ours.iterrows()
    )
    others = "".join(
        f" The {model_name(model)} is unlike the data in {', '.join(checks)}{_why_not(verdict)}."
        for model, checks in unlike.items()
        if checks
    )
    level: Level = "good" if not wrong else "look" if len(wrong) < len(ours) else "bad"
    which = f"{model_name(favoured)}, which the verdict favours," if verdict else model_name(favoured)
    advice = (
        f"The data are unlike its draws in {', '.join(wrong)}: zinbtools.pl.ppc shows in which genes; "
        "take what it says of them with care, and give samples or donors as --batch-key."
    )
    return Light(
        level,
        f"Would the {which} make such data?",
        f"Distances of the data: {found}.{others}",
        advice if wrong else "",
    )


def _favoured(adata: AnnData, key: str | None) -> tuple[str, str]:
    """The model by which the data are to be described, and the verdict, empty where there is none."""
    verdict = str(Record.read(adata, key).get(SELECTION, {"verdict": ""})["verdict"])
    return ("zinb" if verdict in (Answer.ZINB, Answer.BETTER_FIT_ONLY) else "nb"), verdict


def _why_not(verdict: str) -> str:
    """Say why it is no caution that the other model fails."""
    favours_zinb = verdict in (Answer.ZINB, Answer.BETTER_FIT_ONLY)
    return ", which is what the verdict found and no caution" if favours_zinb else ""
