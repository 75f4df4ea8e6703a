"""`power`: what it writes, and that more cells, more depth and more dropout decide more."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import zinbtools as zt
from zinbtools.stats.crossed import CrossedMean
from zinbtools.stats.power import PilotCalls, gene_power, verdict_needs, verdict_power


@pytest.fixture(scope="module")
def pilot() -> AnnData:
    """Known genes: NB counts, of which a third lose a fifth."""
    random = np.random.default_rng(0)
    mean, theta = np.exp(random.uniform(-1, 3, 60)), np.exp(random.normal(0.7, 0.5, 60))
    mu = random.lognormal(0, 0.3, 400)[:, None] * mean
    counts = random.poisson(random.gamma(theta, mu / theta))
    counts[:, ::3] *= random.random((400, 20)) >= 0.2
    adata = AnnData(counts.astype(np.float32))
    adata.var["true_mean"], adata.var["true_theta"] = mean, theta
    zt.tl.fit_nb_zinb(adata, models="nb", max_epochs=40, progress=False)
    zt.tl.zi_scores(adata)
    zt.tl.power(adata, n_cells=[400, 1600, 6400], dropout=[0.1, 0.2, 0.0], depth=[1.0, 2.0])
    return adata


@pytest.fixture
def judged(pilot: AnnData) -> AnnData:
    """With a comparison that is undecided."""
    adata = pilot.copy()
    row = {"model": "zinb", "difference": 0.5, "se": 0.16, "low": 0.17, "high": 0.83, "df": 20.0}
    row |= {
        "sd_cells": 1.0,
        "sd_restarts": 0.05,
        "n_cells": 40,
        "n_restarts": 3,
        "n_folds": 1,
        "nll": 250.0,
        "rope": 0.25,
    }
    found = dict.fromkeys(["by_restart", "tests", "zeros", "pooled_zeros", "rivals", "calls"], 0)
    found |= {"params": {}, "excess_zeros": True, "verdict": "undecided", "explained_by": "", "sentence": ""}
    adata.uns["zinbtools"]["model_selection"] = found | {
        "differences": pd.DataFrame([row | {"position": "open"}])
    }
    zt.tl.power(adata, n_cells=[400, 1600], n_restarts=[3, 10])
    return adata


def test_power_is_that_of_the_true_genes(pilot: AnnData) -> None:
    """Means, dispersions and level are estimates of 400 cells."""
    table = zt.get.power_df(pilot, of="genes").query("dropout == 0.2 and depth == 1 and n_cells == 1600")
    depths = np.random.default_rng(1).lognormal(0, 0.3, 1000)
    tested = ~pilot.var["zi_pval_adj"].isna()
    level = PilotCalls(pilot.var["zi_pval"][tested].to_numpy()).level(2.0, 0.05)
    known = zip(pilot.var["true_mean"], pilot.var["true_theta"], strict=True)
    true = [float(gene_power(m * depths, theta, 0.2, 1600, level=level)) for m, theta in known]
    assert np.abs(table["power"].to_numpy() - true).mean() < 0.05
    assert 0.1 < np.mean(true) < 0.9


def test_more_cells_depth_and_dropout_decide_more(pilot: AnnData) -> None:
    table = (
        zt.get.power_df(pilot, of="genes")
        .set_index(["dropout", "depth", "n_cells", "gene"])["power"]
        .sort_index()
    )
    by_cells = {n: some.droplevel("n_cells") for n, some in table.groupby("n_cells")}
    assert (by_cells[400] <= by_cells[1600] + 1e-9).all()
    assert (by_cells[1600] <= by_cells[6400] + 1e-9).all()
    assert (table[0.1] <= table[0.2] + 1e-9).all()
    assert table[0.1, 2.0].mean() > table[0.1, 1.0].mean() + 0.02


def test_the_cells_needed_have_the_power(pilot: AnnData) -> None:
    needed = zt.get.power_df(pilot)
    assert needed.groupby(["gene", "dropout", "depth"]).size().eq(1).all()
    genes = zt.get.power_df(pilot, of="genes").merge(needed, on=["gene", "dropout", "depth"])
    enough = genes["n_cells_x"] >= genes["n_cells_y"]
    assert enough.any()
    assert (enough == (genes["power"] >= 0.8)).all()
    of_depth = needed.set_index(["depth", "dropout", "gene"])["mean"]
    assert of_depth[2.0].to_numpy() == pytest.approx(2 * of_depth[1.0].to_numpy())


def test_beside_every_undecided_gene_stands_what_would_decide_it(pilot: AnnData) -> None:
    is_open = (pilot.var["zi_call"] == "undecided").to_numpy()
    cells = pilot.var["zi_cells_needed"].to_numpy()
    assert 0 < is_open.sum() < len(is_open)
    assert np.array_equal(np.isnan(cells), ~is_open)
    none = is_open & (pilot.var["zi_dropout"] <= 0.01).to_numpy()
    needed = zt.get.power_df(pilot).query("dropout == 0 and depth == 1").set_index("gene")["n_cells"]
    assert cells[none] == pytest.approx(needed[pilot.var_names[none]].to_numpy())


def test_some_genes_in_any_order(pilot: AnnData) -> None:
    names = [pilot.var_names[9], pilot.var_names[3]]
    some = zt.tl.power(pilot, genes=names, n_cells=[400], copy=True)
    assert some is not None
    found, all_of = (zt.get.power_df(adata).query("dropout == 0.1 and depth == 1") for adata in (some, pilot))
    assert sorted(found["gene"]) == sorted(names)
    assert found["n_cells"].tolist() == all_of[all_of["gene"].isin(names)]["n_cells"].tolist()
    turned = pilot[:, ::-1].copy()
    zt.tl.power(turned, n_cells=[400])
    again = zt.get.power_df(turned).set_index("gene")["n_cells"]
    assert again.to_dict() == all_of.set_index("gene")["n_cells"].to_dict()


def test_the_verdict_is_foretold_from_the_components(judged: AnnData) -> None:
    table = zt.get.power_df(judged, of="verdict")
    assert table["n_test_cells"].tolist() == [40, 40, 160, 160]
    pilot = CrossedMean(0.5, 0.16, 20.0, 1.0, 0.05, 3, 40)
    expected = verdict_power(pilot, 0.25, [40, 40, 160, 160], [3, 10, 3, 10])
    assert table["above"].to_numpy() == pytest.approx(expected.above)
    assert (table["expected_above"] < table["above"])[2:].all()
    zt.tl.power(judged, n_cells=[400], n_restarts=[3], difference=0.0)
    none = zt.get.power_df(judged, of="verdict").iloc[0]
    assert none["difference"] == 0
    assert none["above"] < 0.025


def test_the_sentence_and_the_table_have_one_formula(judged: AnnData) -> None:
    pilot = CrossedMean.of(judged.uns["zinbtools"]["model_selection"]["differences"].iloc[0])
    _, cells = verdict_needs(pilot, 0.25)
    zt.tl.power(judged, n_cells=[round(10 * cells) - 10, round(10 * cells)], n_restarts=[3])
    below, above = zt.get.power_df(judged, of="verdict")["above"]
    assert below < 0.8 <= above


def test_it_is_written_and_read(judged: AnnData, tmp_path: Path) -> None:
    judged.uns["zinbtools"].pop("model_selection")
    judged.write_h5ad(tmp_path / "power.h5ad")
    again = anndata.read_h5ad(tmp_path / "power.h5ad")
    for of in ("needed", "genes", "verdict"):
        pd.testing.assert_frame_equal(
            zt.get.power_df(again, of=of), zt.get.power_df(judged, of=of), check_dtype=False
        )


def test_a_new_test_takes_the_cells_needed_away(pilot: AnnData) -> None:
    adata = pilot.copy()
    zt.tl.zi_scores(adata)
    assert "zi_cells_needed" not in adata.var


def test_what_is_missing_is_said(pilot: AnnData) -> None:
    fitted = zt.simulate.zisynth(n_obs=300)
    zt.tl.fit_nb_zinb(fitted, models="nb", max_epochs=1, progress=False)
    with pytest.raises(KeyError, match="zi_scores"):
        zt.tl.power(fitted)
    with pytest.raises(KeyError, match="holds no 'power'; run zt.tl.power"):
        zt.get.power_df(fitted)
    with pytest.raises(KeyError, match="there is no verdict to foretell; run zt.tl.model_selection"):
        zt.get.power_df(pilot, of="verdict")
    with pytest.raises(KeyError, match="genes: 'none' is not among"):
        zt.tl.power(pilot, genes=["none"])
    with pytest.raises(ValueError, match="dropout must be above negligible_dropout"):
        zt.tl.power(pilot, dropout=[0.1, 0.005])
    with pytest.raises(ValueError, match=r"tl.power was asked about \(0.1, 0.2, 0\), found 0.3"):
        zt.pl.power(pilot, dropout=0.3)


def test_plots_have_what_was_found(judged: AnnData, pilot: AnnData) -> None:
    verdict, genes = zt.pl.power(judged, show=False)
    lines = {line.get_label(): line.get_ydata() for line in verdict.lines}
    table = zt.get.power_df(judged, of="verdict").query("n_restarts == 10")
    assert lines["above the region"].tolist() == table["above"].tolist()
    assert "(10 restarts)" in verdict.get_ylabel()
    (alone,) = zt.pl.power(pilot, dropout=0.0, show=False)
    assert alone.get_ylabel() == "power to call genes negligible"
    assert genes.get_ylabel() == "power to call a dropout of 0.1"
    means = zt.get.power_df(pilot).query("dropout == 0 and depth == 1")["mean"]
    classes = np.unique(np.digitize(means, [0.1, 0.3, 1, 3, 10]))
    assert len(alone.get_legend().get_texts()) == len(classes)
    assert stats.rankdata([line.get_ydata()[-1] for line in alone.lines[: len(classes)]]).tolist() == [
        *range(1, len(classes) + 1)
    ]
