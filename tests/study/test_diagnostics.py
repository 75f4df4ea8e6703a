"""Each light is turned on by the numbers that it is for, and by no others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit

from zinbtools import get
from zinbtools._record.parts import FAILURES
from zinbtools._words.numbers import percent
from zinbtools.study._diagnostics import Light, diagnostics

QUESTIONS = {
    "counts": "counts of molecules",
    "restarts": "run to its end",
    "convergence": "long enough",
    "pareto": "likelihoods be trusted",
    "precision": "enough cells",
    "predictions": "such data",
}


@pytest.fixture
def adata() -> AnnData:
    """A fit without a flaw: level trainings, trusted likelihoods, data that the models make."""
    adata = fake_fit()
    results = adata.uns["zinbtools"]
    results["params"]["epochs_by_size"] = True
    results["ppc"]["ks"]["position"] = 0.5
    epochs = results["history"]["epoch"]
    results["history"]["validation_elbo"] = -200.0 - np.exp(-epochs)
    return adata


def light(adata: AnnData, which: str) -> Light:
    [found] = [light for light in diagnostics(adata) if QUESTIONS[which] in light.question]
    return found


def test_a_sound_study_is_all_good(adata: AnnData) -> None:
    lights = diagnostics(adata)
    assert len(lights) == len(QUESTIONS)
    assert {light.level for light in lights} == {"good"}
    assert not any(light.advice for light in lights)


@pytest.mark.parametrize(
    ("kind", "level", "advice"),
    [
        ("reads", "look", "copies of molecules"),
        ("scaled", "bad", "normalised"),
        ("multiples", "bad", "divide"),
    ],
)
def test_numbers_that_are_no_molecules(adata: AnnData, kind: str, level: str, advice: str) -> None:
    adata.uns["zinbtools"]["params"] |= {"counts": kind, "counts_sign": "a sign was seen"}
    found = light(adata, "counts")
    assert (found.level, found.finding) == (level, "A sign was seen.")
    assert advice in found.advice
    assert others(adata, "counts") == {"good"}


def test_a_fit_that_did_not_look_has_no_light_for_its_counts(adata: AnnData) -> None:
    del adata.uns["zinbtools"]["params"]["counts"]
    assert len(diagnostics(adata)) == len(QUESTIONS) - 1


def others(adata: AnnData, which: str) -> set[str]:
    return {light.level for light in diagnostics(adata) if QUESTIONS[which] not in light.question}


def set_k(adata: AnnData, share: float, k: float) -> None:
    """Give so many of the test cells a high k under the ZINB."""
    cells = np.flatnonzero(adata.obs["zinb_marginal_ll"].notna())
    adata.obs.iloc[cells[: round(share * len(cells))], adata.obs.columns.get_loc("zinb_pareto_k")] = k


@pytest.mark.parametrize(
    ("share", "k", "level"),
    [
        (0.1, 0.71, "good"),
        (0.125, 0.71, "look"),
        (0.25, 0.71, "look"),
        (0.275, 0.71, "bad"),
        (0.1, 0.51, "good"),
        (0.8, 0.51, "look"),  # 100 draws are too few, more would do
        (0.05, 1.1, "good"),
        (0.0625, 1.1, "bad"),
        (1.0, np.nan, "good"),  # of one model: the other's draws could tell
    ],
)
def test_pareto_k(adata: AnnData, share: float, k: float, level: str) -> None:
    set_k(adata, share, k)
    found = light(adata, "pareto")
    assert found.level == level
    for limit in (0.5, 0.7, 1):
        assert f"ZINB {percent(share * (k > limit))} above {limit}" in found.finding or np.isnan(k)
    assert others(adata, "pareto") == {"good"}


def test_too_few_draws_cannot_tell(adata: AnnData) -> None:
    for model in ("nb", "zinb"):
        adata.obs[f"{model}_pareto_k"] = np.nan
    assert light(adata, "pareto").level == "look"
    assert "Not known" in light(adata, "pareto").finding


@pytest.mark.parametrize(("n_draws", "level"), [(100, "look"), (10_000, "good")])
def test_with_more_draws_a_higher_k_will_do(adata: AnnData, n_draws: int, level: str) -> None:
    adata.uns["zinbtools"]["nll_by_draws"]["n_draws"] = n_draws
    set_k(adata, 0.5, 0.65)
    assert light(adata, "pareto").level == level


# An ELBO that rises in a straight line to -200 rises by a quarter of the whole in the last quarter.
@pytest.mark.parametrize(("rise", "level"), [(0.7, "good"), (2.0, "look"), (10.0, "bad")])
def test_a_rise_at_the_end(adata: AnnData, rise: float, level: str) -> None:
    history = adata.uns["zinbtools"]["history"]
    one = (history["model"] == "zinb") & (history["restart"] == 1)
    history.loc[one, "validation_elbo"] = -200.0 - rise * (1 - history.loc[one, "epoch"] / 39)
    found = light(adata, "convergence")
    assert found.level == level
    assert "(ZINB, restart 1)" in found.finding
    assert percent(rise * 10 / 39 / 200) in found.finding
    assert others(adata, "convergence") == {"good"}


@pytest.mark.parametrize(
    ("n_epochs", "level"), [(3, "bad"), (12, "bad"), (39, "bad"), (40, "look"), (59, "look"), (60, "good")]
)
def test_a_short_training_is_told_however_level(adata: AnnData, n_epochs: int, level: str) -> None:
    """240 training cells ask for 80 epochs."""
    results = adata.uns["zinbtools"]
    results["params"] |= {"epochs_by_size": False, "max_epochs": n_epochs}
    run = pd.DataFrame({"epoch": range(n_epochs), "train_elbo": -200.0, "validation_elbo": -200.0})
    of_all = [run.assign(model=m, restart=r, learning_rate=0.0) for m in ("nb", "zinb") for r in range(2)]
    results["history"] = pd.concat(of_all, ignore_index=True)
    found = light(adata, "convergence")
    assert found.level == level
    if level != "good":
        assert f"cut short: at most {n_epochs} epochs, where 80 are asked for" in found.finding
        assert "or give 80" in found.advice
    assert others(adata, "convergence") == {"good"}


def test_what_was_stopped_for_want_of_a_gain_is_not_short(adata: AnnData) -> None:
    adata.uns["zinbtools"]["params"] |= {"epochs_by_size": False, "max_epochs": 41}
    assert light(adata, "convergence").level == "good"


def test_the_study_s_protocol_asks_for_its_own_epochs(adata: AnnData) -> None:
    params = adata.uns["zinbtools"]["params"]
    params |= {"protocol": "blog2019", "epochs_by_size": False}
    assert "where 150 are asked for" in light(adata, "convergence").finding


def test_what_another_program_trained_has_no_number_of_epochs(adata: AnnData) -> None:
    adata.uns["zinbtools"]["params"] |= {
        "epochs_by_size": True,
        "max_epochs": 400,
        "trained_by": "scvi-tools",
    }
    history = adata.uns["zinbtools"]["history"]
    assert light(adata, "convergence").level == "good"
    history["validation_elbo"] = -200.0 + history["epoch"]
    assert light(adata, "convergence").level == "bad"
    assert light(adata, "convergence").advice == "Train longer."
    history["validation_elbo"] = np.nan
    assert light(adata, "convergence").finding == "Not known: no validation ELBO was recorded."


def test_what_another_program_trained_has_no_options(adata: AnnData) -> None:
    params = adata.uns["zinbtools"]["params"]
    del adata.uns["zinbtools"]["model_selection"]
    params["n_restarts"] = 1
    assert light(adata, "restarts").advice == "Use --restarts 5 or more."
    params["trained_by"] = "scvi-tools"
    assert light(adata, "restarts").advice.startswith("Train another pair with another seed")


def test_a_late_dip_is_no_lack_of_convergence(adata: AnnData) -> None:
    history = adata.uns["zinbtools"]["history"]
    history.loc[history["epoch"] > 36, "validation_elbo"] = -1e4  # the best weights were kept before it
    assert light(adata, "convergence").level == "good"


def fails(adata: AnnData, model: str, *checks: str) -> None:
    ks = adata.uns["zinbtools"]["ppc"]["ks"]
    ks.loc[ks["check"].isin(checks) & (ks["model"] == model), "position"] = 0.99


ALL = ("dropout_ratio", "zeros_to_expression", "cv")


@pytest.mark.parametrize(
    ("verdict", "favoured"),
    [
        ("zinb", "zinb"),
        ("better fit, not zero inflation", "zinb"),
        ("nb", "nb"),
        ("no practical difference", "nb"),
    ],
)
@pytest.mark.parametrize(("checks", "level"), [((), "good"), (("cv",), "look"), (ALL, "bad")])
def test_the_model_that_the_verdict_favours_is_judged(
    adata: AnnData, verdict: str, favoured: str, checks: tuple[str, ...], level: str
) -> None:
    adata.uns["zinbtools"]["model_selection"]["verdict"] = verdict
    fails(adata, favoured, *checks)
    found = light(adata, "predictions")
    assert found.level == level
    assert found.question.startswith(f"Would the {favoured.upper()}, which the verdict favours,")
    assert ("variation" in found.advice) == bool(checks)
    assert others(adata, "predictions") == {"good"}


def test_an_nb_that_lacks_the_zeros_is_the_finding_and_no_caution(adata: AnnData) -> None:
    adata.uns["zinbtools"]["model_selection"]["verdict"] = "zinb"
    fails(adata, "nb", "dropout_ratio", "cv")
    found = light(adata, "predictions")
    assert (found.level, found.advice) == ("good", "")
    told = "The NB is unlike the data in share of zeros, variation, which is what the verdict found"
    assert found.finding.endswith(f"{told} and no caution.")


def test_predictions_without_a_verdict_are_those_of_the_nb(adata: AnnData) -> None:
    del adata.uns["zinbtools"]["model_selection"]
    fails(adata, "nb", "cv")
    found = light(adata, "predictions")
    assert found.level == "look"
    assert found.question == "Would the NB make such data?"


def test_predictions_without_a_null_are_not_judged(adata: AnnData) -> None:
    adata.uns["zinbtools"]["ppc"]["ks"]["position"] = np.nan
    assert not any("such data" in light.question for light in diagnostics(adata))


@pytest.mark.parametrize(("n_failed", "n_restarts", "level"), [(1, 4, "look"), (2, 4, "bad"), (1, 2, "bad")])
def test_restarts_that_failed(adata: AnnData, n_failed: int, n_restarts: int, level: str) -> None:
    results = adata.uns["zinbtools"]
    results["params"]["n_restarts"] = n_restarts
    failed = [("nb", restart, 3, 7, "no single gene", "the loss") for restart in range(n_failed)]
    results["failures"] = pd.DataFrame(failed, columns=FAILURES.holds)
    found = light(adata, "restarts")
    assert found.level == level
    assert f"{n_failed} of {2 * n_restarts} trainings" in found.finding
    assert others(adata, "restarts") == {"good"}


def test_a_single_restart_says_nothing_of_seeds(adata: AnnData) -> None:
    adata.uns["zinbtools"]["params"]["n_restarts"] = 1
    assert light(adata, "restarts").level == "look"


def test_few_cells_and_a_large_monte_carlo_error(adata: AnnData) -> None:
    metrics = adata.uns["zinbtools"]["metrics"]
    metrics.loc[metrics["metric"] == "nll", "se"] = get.nll_difference(adata).se
    assert light(adata, "precision").level == "look"
    assert others(adata, "precision") == {"good"}
    known = adata.obs["nb_marginal_ll"].notna().to_numpy().nonzero()[0]
    adata.obs.iloc[known[40:], adata.obs.columns.get_loc("nb_marginal_ll")] = np.nan
    assert light(adata, "precision").level == "bad"
    assert "40 cells" in light(adata, "precision").finding


def test_what_was_not_run_is_not_judged(adata: AnnData) -> None:
    del adata.uns["zinbtools"]["ppc"], adata.obs["nb_marginal_ll"], adata.obs["zinb_marginal_ll"]
    assert [light(adata, which).level for which in ("restarts", "convergence")] == ["good", "good"]
    assert len(diagnostics(adata)) == 3
