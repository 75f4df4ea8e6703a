"""`model_selection`: that the answer follows from its evidence, and the evidence from the verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData
from compare import assert_same, assert_same_anndata

import zinbtools as zt
from zinbtools.stats.crossed import crossed_mean
from zinbtools.stats.equivalence import conclude, default_rope, position
from zinbtools.tl._refits import FEWEST_CELLS

QUICK: dict[str, Any] = {"folds": 1, "max_epochs": 4, "n_samples": 5, "n_null": 5, "progress": False}


def compared(adata: AnnData, **settings: Any) -> dict[str, Any]:
    zt.tl.model_selection(adata, **{"n_restarts": 2, **QUICK, **settings})
    return adata.uns["zinbtools"]["model_selection"]


@pytest.fixture(scope="module")
def _everything(_simulated: AnnData) -> AnnData:
    adata = _simulated.copy()
    adata.obs["group"] = np.where(np.arange(300) < 40, "few", np.where(np.arange(300) % 2, "odd", "even"))
    compared(
        adata, n_restarts=3, models=("nb", "zinb", "poisson", "nb-gene-cell"), groupby="group", n_bootstrap=2
    )
    return adata


@pytest.fixture
def everything(_everything: AnnData) -> AnnData:
    """Compared with rivals, within groups and on twins."""
    return _everything.copy()


def test_the_difference_is_that_of_the_verbs(counts: AnnData) -> None:
    found = compared(counts)
    separate = counts.copy()
    del separate.uns["zinbtools"]
    zt.tl.fit_nb_zinb(separate, n_restarts=2, max_epochs=4, progress=False)
    zt.tl.marginal_ll(separate, n_samples=5)
    table = zt.get.metrics_df(separate).query("metric == 'nll'").set_index(["model", "restart"])["value"]
    by_restart = found["by_restart"].set_index("restart")["difference"]
    for restart in (0, 1):
        expected = table["nb", restart] - table["zinb", restart]
        assert by_restart[restart] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_array_equal(counts.obs["zinb_marginal_ll"], separate.obs["zinb_marginal_ll"])
    np.testing.assert_array_equal(counts.obsm["X_zinb"], separate.obsm["X_zinb"])


def test_the_row_follows_from_cells_and_restarts(counts: AnnData) -> None:
    row = compared(counts, alpha=0.1)["differences"].iloc[0]
    by_cell = []
    for restart in (0, 1):
        one = counts.copy()
        best = one.uns["zinbtools"]["params"]["best_restart"]
        best |= dict.fromkeys(best, restart)
        zt.tl.marginal_ll(one, n_samples=5)
        gain = (one.obs["zinb_marginal_ll"] - one.obs["nb_marginal_ll"]).dropna()
        by_cell.append(gain.to_numpy())
        nb = one.obs["nb_marginal_ll"]
    mean = crossed_mean(np.stack(by_cell))
    assert row["difference"] == pytest.approx(mean.mean)
    assert row["se"] == pytest.approx(mean.se)
    assert (row["low"], row["high"]) == pytest.approx(mean.interval(0.9))
    assert row["rope"] == pytest.approx(default_rope(-nb.mean()), rel=0.05)
    assert row["position"] == position(row["low"], row["high"], row["rope"])


def test_verdict_and_sentence_follow_from_the_evidence(everything: AnnData) -> None:
    found = everything.uns["zinbtools"]["model_selection"]
    row = found["differences"].set_index("model").loc["zinb"]
    assert found["verdict"] == conclude(row["position"], found["excess_zeros"])
    verdict = zt.get.verdict(everything)
    assert f"{row['difference']:+.3g} nats" in verdict.sentence == found["sentence"]
    for word in ("model", "nll", "ks_cv", "even"):
        assert word in str(verdict)


def test_rivals_are_compared_with_the_nb(everything: AnnData) -> None:
    table = everything.uns["zinbtools"]["model_selection"]["differences"].set_index("model")
    assert table.index.tolist() == ["zinb", "poisson", "nb-gene-cell"]
    assert table.loc["poisson", "high"] < 0  # these counts are far from Poisson
    rival = everything.copy()
    zt.tl.fit_nb_zinb(
        rival,
        models=["nb"],
        dispersion="none",
        split="zinbtools_split",
        max_epochs=4,
        n_restarts=3,
        progress=False,
    )
    zt.tl.marginal_ll(rival, n_samples=5)
    nll = zt.get.metrics_df(rival).query("metric == 'nll'")["value"].mean()
    assert table.loc["poisson", "nll"] == pytest.approx(nll, rel=1e-6)


def test_groups(everything: AnnData) -> None:
    groups = everything.uns["zinbtools"]["model_selection"]["groups"].set_index("group")
    assert groups["n_cells"].to_dict() == {"even": 130, "few": 40, "odd": 130}
    assert groups.loc["few", "verdict"] == ""
    assert str(FEWEST_CELLS) in groups.loc["few", "message"]
    judged = groups.drop("few")
    assert judged["message"].eq("").all()
    assert np.isfinite(judged["difference"]).all()


def test_twins(everything: AnnData) -> None:
    found = everything.uns["zinbtools"]["model_selection"]
    twins = found["bootstrap"]
    assert len(twins) == 2
    assert twins["difference"].nunique() == 2
    best = everything.uns["zinbtools"]["params"]["best_restart"]["zinb"]
    share = zt.get.metrics_df(everything).query("metric == 'excess_zeros'")["value"].iloc[best]
    assert found["bootstrap_pval"] == (1 + (twins["excess_zeros"] >= share).sum()) / 3


def test_the_study_s_table(everything: AnnData) -> None:
    table, metrics = zt.get.model_selection_df(everything), zt.get.metrics_df(everything)
    for _, row in table.iterrows():
        for model in ("nb", "zinb"):
            values = metrics[(metrics["metric"] == row["metric"]) & (metrics["model"] == model)]["value"]
            assert row[f"{model}_median"] == values.median()
            assert row[f"{model}_runs"] == 3
    assert (table["pval_adj_nb_better"] >= table["pval_nb_better"]).all()


def test_zeros_per_gene(everything: AnnData) -> None:
    found = everything.uns["zinbtools"]["model_selection"]
    observed = (everything.X.toarray() == 0).sum(0)
    assert found["pooled_zeros"]["n_cells"] == everything.n_obs
    np.testing.assert_array_equal(found["zeros"]["observed"], observed)
    share = (found["zeros"]["observed"] - found["zeros"]["expected"]).sum() / observed.sum()
    assert found["pooled_zeros"]["share"] == pytest.approx(share)


def test_a_fit_gives_its_settings_and_its_split(counts: AnnData) -> None:
    counts.layers["raw"], counts.X = counts.X, counts.X * 0 + counts.X.log1p()
    zt.tl.fit_nb_zinb(
        counts,
        layer="raw",
        mask_var="even",
        batch_key="sample",
        n_latent=3,
        n_hidden=16,
        max_epochs=4,
        rng=7,
        progress=False,
    )
    before = counts.copy()
    zt.tl.model_selection(counts, n_restarts=2, folds=1, n_samples=5, n_null=5, rng=7, progress=False)
    params = counts.uns["zinbtools"]["params"]
    for name in ("layer", "batch_key", "n_latent", "n_hidden", "max_epochs"):
        assert params[name] == before.uns["zinbtools"]["params"][name]
    np.testing.assert_array_equal(counts.obs["zinbtools_split"], before.obs["zinbtools_split"])
    first = {name: value[0] for name, value in before.uns["zinbtools"]["weights"]["nb"].items()}
    again = {name: value[0] for name, value in counts.uns["zinbtools"]["weights"]["nb"].items()}
    assert_same(first["scale.weight"], again["scale.weight"], "weights of the first restart")


def test_auto_stops_when_it_is_clear(counts: AnnData) -> None:
    assert compared(counts.copy(), n_restarts="auto", rope=1e6)["differences"]["n_restarts"].tolist() == [3]
    wide = compared(counts.copy(), n_restarts="auto", rope=0.0, metrics=["nll"], max_epochs=1)
    row = wide["differences"].iloc[0]
    assert row["n_restarts"] == 20 or row["position"] != "open"


def test_the_same_answer_from_workers_and_a_folder(counts: AnnData, tmp_path: Path) -> None:
    alone, elsewhere = counts.copy(), counts.copy()
    compared(alone)
    compared(elsewhere, n_jobs=2, executor="processes", resume=tmp_path)
    assert_same_anndata(alone, elsewhere)


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_comes_back_from_a_file(everything: AnnData, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"compared.{kind}"
    getattr(everything, f"write_{kind}")(path)
    back = getattr(ad, f"read_{kind}")(path)
    assert_same_anndata(everything, back)
    assert str(zt.get.verdict(back)) == str(zt.get.verdict(everything))


def test_the_study_s_protocol_evaluates_as_the_study_did(counts: AnnData) -> None:
    found = compared(counts, protocol="blog2019")
    assert found["params"]["proposal"] == "posterior"
    metrics = zt.get.metrics_df(counts)
    assert set(metrics.query("metric == 'ks_cv'")["split"]) == {"train"}
    assert set(metrics.query("metric == 'nll'")["split"]) == {"test"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_restarts": 0}, "n_restarts"),
        ({"models": ("nb",)}, "'nb' and 'zinb' among them"),
        ({"models": ("nb", "zinb", "zip")}, "'poisson'"),
        ({"metrics": ["ks_everything"]}, "'ks_dropout_ratio'"),
        ({"alpha": 1.5}, "alpha"),
        ({"rope": -1.0}, "rope"),
        ({"n_null": 1}, "n_null"),
        ({"n_bootstrap": -1}, "n_bootstrap"),
        ({"groupby": "absent"}, "absent"),
        ({"layer": "absent"}, "absent"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_changed(
    counts: AnnData, settings: dict[str, Any], message: str
) -> None:
    before = counts.copy()
    with pytest.raises((ValueError, KeyError), match=message):
        compared(counts, **settings)
    assert_same_anndata(before, counts)


def test_one_test_cell_is_refused_before_training(counts: AnnData) -> None:
    counts.obs["mine"] = ["test", "validation"] + ["train"] * (counts.n_obs - 2)
    before = counts.copy()
    with pytest.raises(ValueError, match="split 'mine' leaves 1 test cells of 300; at least 2 are needed"):
        compared(counts, split="mine")
    assert_same_anndata(before, counts)


def test_an_unknown_setting(counts: AnnData) -> None:
    with pytest.raises(TypeError, match="n_hiden"):
        compared(counts, n_hiden=3)


LONG: dict[str, Any] = {"n_restarts": 2, "folds": 1, "metrics": ["nll"], "n_samples": 20, "n_null": 20}


def test_zeros_that_were_put_in_are_found() -> None:
    adata = zt.simulate.zisynth(n_obs=1500, lam=0.0, p=0.2)
    zt.tl.model_selection(adata, **LONG, progress=False)
    verdict = zt.get.verdict(adata)
    assert verdict.verdict == "zinb"
    assert verdict.sentence.startswith("Zero-inflate:")


def test_no_zeros_are_found_where_none_were_put() -> None:
    adata = zt.simulate.gamma_poisson(n_obs=1500, n_vars=60, means=np.geomspace(0.5, 30, 60))
    zt.tl.model_selection(adata, **LONG | {"n_restarts": 1, "folds": 10}, progress=False)
    assert zt.get.verdict(adata).verdict in ("nb", "no practical difference")


def test_tuned_settings_go_with_twins_groups_and_rivals(counts: AnnData) -> None:
    counts.uns["run"] = {"tuning": {"best": {"nb": {"n_hidden": 32}, "zinb": {"n_hidden": 64}}}}
    zt.tl.fit_nb_zinb(
        counts, config="tuned", split=(0.8, 0.1, 0.1), max_epochs=1, progress=False, key_added="run"
    )
    zt.tl.model_selection(
        counts,
        n_restarts=1,
        models=("nb", "zinb", "poisson"),
        groupby="sample",
        n_bootstrap=1,
        n_samples=5,
        n_null=2,
        progress=False,
        key_added="run",
    )
    found = counts.uns["run"]["model_selection"]
    assert found["groups"]["message"].tolist() == ["", ""]
    assert len(found["bootstrap"]) == 1
    assert found["differences"]["model"].tolist() == ["zinb", "poisson"]


def test_settings_tuned_in_a_space_of_ones_own_are_kept(counts: AnnData) -> None:
    best = {"weight_decay": 0.01, "patience": 3}
    counts.uns["zinbtools"] = {"tuning": {"best": {"nb": best, "zinb": best}}}
    zt.tl.fit_nb_zinb(counts, config="tuned", split=(0.8, 0.1, 0.1), max_epochs=1, progress=False)
    zt.tl.model_selection(
        counts, n_restarts=1, folds=1, n_samples=5, n_null=2, metrics=["nll"], progress=False
    )
    params = counts.uns["zinbtools"]["params"]
    assert {name: params[name] for name in best} == best
    assert "tuning" in counts.uns["zinbtools"]


def test_counts_that_were_rounded_are_rounded_again(counts: AnnData) -> None:
    counts.X = counts.X + 0.25 * (counts.X > 0)
    with pytest.warns(UserWarning, match="not whole; they are rounded"):
        zt.tl.fit_nb_zinb(counts, check_counts=False, max_epochs=1, progress=False)
    with pytest.warns(UserWarning, match="not whole; they are rounded"):
        zt.tl.model_selection(
            counts, n_restarts=1, n_samples=5, n_null=2, n_bootstrap=1, metrics=["nll"], progress=False
        )
    assert not counts.uns["zinbtools"]["params"]["check_counts"]


@pytest.fixture
def never_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """More restarts are trained in two further rounds."""
    from zinbtools.tl import _comparison

    monkeypatch.setattr(_comparison, "AUTO_ROUNDS", (1, 2, 4))
    monkeypatch.setattr(_comparison, "position", lambda *_: "open")


@pytest.mark.usefixtures("never_clear")
def test_more_rounds_give_what_one_call_gives(counts: AnnData) -> None:
    """Restarts that are added one round after the other are those of a call that asks for all."""
    rounds, at_once = counts.copy(), counts.copy()
    compared(rounds, n_restarts="auto", max_epochs=1, n_samples=2)
    compared(at_once, n_restarts=4, max_epochs=1, n_samples=2)
    for adata in (rounds, at_once):
        assert len(adata.uns["zinbtools"]["model_selection"].pop("params"))
    first, second = (adata.uns["zinbtools"]["metrics"] for adata in (rounds, at_once))
    summed = first["metric"] == "mean_dropout"  # in another order where restarts are stacked otherwise
    np.testing.assert_allclose(first.loc[summed, "value"], second.loc[summed, "value"], rtol=1e-9)
    first.loc[summed, "value"] = second.loc[summed, "value"]
    assert_same_anndata(rounds, at_once)


@pytest.mark.usefixtures("never_clear")
def test_counts_are_read_and_models_described_once(counts: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    from zinbtools.tl import _setup, _trained

    calls: list[str] = []
    for module, name in ((_setup, "read_counts"), (_trained.Trained, "_describe")):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, _noting(function, name, calls))
    compared(counts, n_restarts="auto", max_epochs=1, n_samples=2, metrics=["nll"])
    assert calls == ["read_counts", "_describe", "_describe"]


def _noting(function: Any, name: str, calls: list[str]) -> Any:
    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return function(*args, **kwargs)

    return noted


def test_a_failure_while_comparing_leaves_the_object_as_it_was(
    counts: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zinbtools.tl import _verdict

    def fail(*_: Any) -> None:
        raise RuntimeError("made up")

    monkeypatch.setattr(_verdict, "_within_groups", fail)
    before = counts.copy()
    with pytest.raises(RuntimeError, match="made up"):
        compared(counts, groupby="sample")
    assert_same_anndata(before, counts)


def test_models_that_are_there_are_compared_as_they_are(counts: AnnData) -> None:
    """What a comparison says of one split does not depend on who trained the models, it or a fit before."""
    anew = compared(counts)
    there = counts.copy()
    del there.uns["zinbtools"]
    zt.tl.fit_nb_zinb(there, n_restarts=2, max_epochs=4, progress=False)
    kept = there.copy()
    zt.tl.model_selection(there, n_samples=5, n_null=5, retrain=False, progress=False)
    found = there.uns["zinbtools"]["model_selection"]
    for table in ("differences", "by_restart", "zeros", "rivals", "calls", "tests"):
        assert_same(found[table], anew[table], table)
    assert found["sentence"] == anew["sentence"]
    np.testing.assert_array_equal(there.obsm["X_zinb"], kept.obsm["X_zinb"])
    assert_same(there.uns["zinbtools"]["weights"], kept.uns["zinbtools"]["weights"], "weights")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n_restarts": 2}, "n_restarts must be left out with retrain=False"),
        ({"max_epochs": 3}, "max_epochs must be left out with retrain=False"),
        ({"groupby": "group"}, "groupby must be left out with retrain=False"),
    ],
)
def test_what_is_of_new_fits_is_refused_for_those_that_are_there(
    everything: AnnData, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        zt.tl.model_selection(everything, retrain=False, **given)


def test_there_must_be_two_models_and_test_cells(counts: AnnData) -> None:
    with pytest.raises(KeyError, match="holds no fit"):
        zt.tl.model_selection(counts, retrain=False)
    zt.tl.fit_nb_zinb(counts, models="nb", max_epochs=1, progress=False)
    with pytest.raises(ValueError, match="retrain must be True where there is only the NB"):
        zt.tl.model_selection(counts, retrain=False)
    zt.tl.fit_nb_zinb(counts, max_epochs=1, progress=False)
    counts.obs["zinbtools_split"] = "train"
    with pytest.raises(ValueError, match="0 of 300 cells are new to both models, and at least 2 are"):
        zt.tl.model_selection(counts, retrain=False)
