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
    "restarts": "run to its end",
    "convergence": "levelled off",
    "pareto": "likelihoods be trusted",
    "precision": "enough cells",
    "zeros": "such data: share of zeros",
    "expression": "such data: zeros / expression",
    "cv": "such data: variation",
}


@pytest.fixture
def adata() -> AnnData:
    """A fit without a flaw: level trainings, trusted likelihoods, data that the models make."""
    adata = fake_fit()
    results = adata.uns["zinbtools"]
    metrics = results["metrics"]
    k = [(m, r, "test", "bad_pareto_k", 0.04, np.nan) for m, r in (("nb", 1), ("zinb", 0))]
    results["metrics"] = pd.concat([metrics, pd.DataFrame(k, columns=metrics.columns)], ignore_index=True)
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


def others(adata: AnnData, which: str) -> set[str]:
    return {light.level for light in diagnostics(adata) if QUESTIONS[which] not in light.question}


@pytest.mark.parametrize(("share", "level"), [(0.25, "good"), (0.26, "look"), (0.6, "bad")])
def test_pareto_k(adata: AnnData, share: float, level: str) -> None:
    metrics = adata.uns["zinbtools"]["metrics"]
    metrics.loc[(metrics["metric"] == "bad_pareto_k") & (metrics["model"] == "zinb"), "value"] = share
    found = light(adata, "pareto")
    assert found.level == level
    assert f"NB 4.0 %, ZINB {100 * share:.1f} %" in found.finding
    assert others(adata, "pareto") == {"good"}


# An ELBO that rises in a straight line to -200 rises by a tenth of the whole in the last tenth of the epochs.
@pytest.mark.parametrize(("rise", "level"), [(0.5, "good"), (2.0, "look"), (10.0, "bad")])
def test_convergence(adata: AnnData, rise: float, level: str) -> None:
    history = adata.uns["zinbtools"]["history"]
    one = (history["model"] == "zinb") & (history["restart"] == 1)
    history.loc[one, "validation_elbo"] = -200.0 - rise * (1 - history.loc[one, "epoch"] / 39)
    found = light(adata, "convergence")
    assert found.level == level
    assert "(ZINB, restart 1)" in found.finding
    assert f"rose by {percent(rise * 4 / 39 / 200)}" in found.finding
    assert others(adata, "convergence") == {"good"}


def test_a_late_dip_is_no_lack_of_convergence(adata: AnnData) -> None:
    history = adata.uns["zinbtools"]["history"]
    history.loc[history["epoch"] > 36, "validation_elbo"] = -1e4  # the best weights were kept before it
    assert light(adata, "convergence").level == "good"


@pytest.mark.parametrize(("models", "level"), [((), "good"), (("nb",), "look"), (("nb", "zinb"), "bad")])
def test_predictions(adata: AnnData, models: tuple[str, ...], level: str) -> None:
    ks = adata.uns["zinbtools"]["ppc"]["ks"]
    ks.loc[(ks["check"] == "cv") & ks["model"].isin(models), "position"] = 0.99
    found = light(adata, "cv")
    assert found.level == level
    assert (" and ".join(m.upper() for m in models) in found.advice) or not models
    assert others(adata, "cv") == {"good"}


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
    del adata.uns["zinbtools"]["ppc"], adata.obs["nb_marginal_ll"]
    metrics = adata.uns["zinbtools"]["metrics"]
    adata.uns["zinbtools"]["metrics"] = metrics[metrics["metric"] != "bad_pareto_k"]
    assert [light(adata, which).level for which in ("restarts", "convergence")] == ["good", "good"]
    assert len(diagnostics(adata)) == 2
