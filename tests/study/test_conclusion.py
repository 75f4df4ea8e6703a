from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit

import zinbtools as zt
from zinbtools.study import conclusion, summary
from zinbtools.study._summary import table_cells, table_text


def with_difference(difference: float, half: float, verdict: str, position: str) -> AnnData:
    """The fake fit, compared on 80 test cells of NLL 200 under the NB, with a region of 0.2 nats."""
    adata = fake_fit()
    row = {"model": "zinb", "difference": difference, "low": difference - half, "high": difference + half}
    row |= {"n_cells": 80, "n_restarts": 5, "nll": 200 - difference, "rope": 0.2, "position": position}
    row |= {"se": half / 2}
    zeros = {"observed": [600.0, 400.0], "expected": [510.0, 300.0], "null_mean": [-10.0, 0.0]}
    adata.uns["zinbtools"]["model_selection"] |= {
        "verdict": verdict,
        "differences": pd.DataFrame([row]),
        "by_restart": pd.DataFrame(),
        "tests": pd.DataFrame(),
        "zeros": pd.DataFrame(zeros),
        "pooled_zeros": {"n_genes": 12, "n_tested": 60},
        "params": {"alpha": 0.05},
    }
    return adata


@pytest.mark.parametrize(
    ("found", "opening", "relation"),
    [
        ((0.05, 0.1, "no practical difference", "inside"), "No practical difference: on", "within the"),
        (
            (0.19, 0.3, "no practical difference", "open"),
            "No practical difference could be established: on",
            "neither within nor beyond the",
        ),
        ((20.0, 1.2, "zinb", "above"), "Zero-inflate: on", "beyond the"),
        ((-20.0, 1.2, "nb", "below"), "Do not zero-inflate: on", "beyond the"),
        (
            (20.0, 1.2, "better fit, not zero inflation", "above"),
            "Better fit, not zero inflation: on",
            "beyond the",
        ),
    ],
)
def test_the_answer_is_as_certain_as_the_numbers(
    found: tuple[float, float, str, str], opening: str, relation: str
) -> None:
    difference, half, *_ = found
    said = conclusion(with_difference(*found))
    assert said.startswith(
        f"{opening} 80 test cells and 5 restarts the ZINB's log likelihood minus the NB's is "
        f"{difference:+.3g} nats per cell (95 % interval {difference - half:.3g} to {difference + half:.3g}; "
    )
    assert f"of the NB's 200), {relation} ±0.2 that make no practical difference; " in said
    assert "there are 25.0 % more zeros than the NB would expect of its own counts, and " in said
    assert "significantly more in 12 of 60 genes. Of all entries " in said


@pytest.mark.parametrize(
    ("observed", "expected", "null_mean", "words"),
    [
        (100.0, 250.0, -50.0, "there are 50.0 % fewer zeros than the NB would expect of its own counts, and"),
        (900.0, 200.0, 100.0, "there are 200.0 % more zeros than the NB would expect of its own counts, and"),
        (0.0, 210.0, 0.0, "the number of zeros is 0, where the NB would expect 210.0 of its own counts, and"),
        (1.0, 0.9, -1.0, "the number of zeros is 1, where the NB would expect 0.0 of its own counts, and"),
    ],
)
def test_zeros_are_held_against_those_that_are_expected(
    observed: float, expected: float, null_mean: float, words: str
) -> None:
    adata = with_difference(0.05, 0.1, "no practical difference", "inside")
    table = pd.DataFrame({"observed": [observed], "expected": [expected], "null_mean": [null_mean]})
    adata.uns["zinbtools"]["model_selection"]["zeros"] = table
    assert words in conclusion(adata)


@pytest.mark.parametrize(
    ("of_groups", "answer", "words"),
    [
        (["", ""], "zinb", "No group could be compared by itself."),
        (["zinb", "nb", "zinb", ""], "zinb", "Compared group by group, 2 of 3 are zero-inflated (a, c)."),
        (["zinb"], "nb", "Compared group by group, 1 of 1 is zero-inflated (a)."),
        (["nb", "nb"], "nb", "Compared group by group, none of 2 is zero-inflated."),
        (
            ["nb", "no practical difference"],
            "zinb",
            "Compared group by group, none of 2 is zero-inflated: heterogeneity makes them look so together.",
        ),
    ],
)
def test_groups_are_told_apart(of_groups: list[str], answer: str, words: str) -> None:
    adata = with_difference(20.0, 1.2, answer, "above")
    groups = pd.DataFrame({"group": list("abcd")[: len(of_groups)], "verdict": of_groups})
    adata.uns["zinbtools"]["model_selection"]["groups"] = groups
    assert f"genes. {words} Of all entries" in conclusion(adata)


def test_one_test_cell_has_no_interval() -> None:
    adata = with_difference(3.0, np.nan, "no practical difference", "open")
    adata.uns["zinbtools"]["model_selection"]["differences"]["n_cells"] = 1
    said = conclusion(adata)
    assert "on 1 test cell and 5 restarts" in said
    assert "(one test cell: no interval; 1.5 % of the NB's 200)" in said
    assert "nan" not in said


def test_zeros_are_those_of_all_entries_and_it_says_of_which_cells() -> None:
    adata = fake_fit()
    observed = 100 * (adata.X.toarray() == 0).mean()
    nb, zinb = (100 * adata.var[f"{m}_zero_fraction"].mean() for m in ("nb", "zinb"))
    assert nb < observed - 1
    assert conclusion(adata).endswith(
        f"Of all entries of 400 cells, those that were trained on among them, {observed:.1f} % are zero; "
        f"the best NB expects {nb:.1f} % (restart 1) and the best ZINB {zinb:.1f} % (restart 0)."
    )


def test_without_a_zero_none_is_said_to_be() -> None:
    adata = zt.simulate.gamma_poisson(n_obs=200, n_vars=20, means=np.full(20, 1000.0))
    adata.X.data += 1
    adata.X = adata.X.toarray() + (adata.X.toarray() == 0)
    settings = {"n_restarts": 1, "n_samples": 5, "n_null": 3, "max_epochs": 2, "progress": False}
    zt.tl.model_selection(adata, **settings)
    said = conclusion(adata)
    assert "those that were trained on among them, none is zero; the best NB expects" in said
    assert "nan" not in said


def test_some_of_the_cells_are_not_held_against_what_is_expected_of_all() -> None:
    said = conclusion(fake_fit()[:150].copy())
    assert said.endswith("of 400 cells that they know it for, 150 are here.")
    assert "Of all entries" not in said
    before = fake_fit()
    del before.uns["zinbtools"]["params"]["n_cells"]  # as zinbtools 0.1.0 left it
    assert "Of all entries of 400 cells" in conclusion(before)


def test_the_table_is_the_mean_over_restarts_of_test_cells() -> None:
    adata = fake_fit(key="run2")
    metrics = adata.uns["run2"]["metrics"]
    elsewhere = metrics[metrics["metric"] == "nll"].assign(split="train", value=-1.0)
    failed = metrics[(metrics["model"] == "nb") & (metrics["restart"] == 0)].assign(restart=2, value=1e6)
    adata.uns["run2"]["metrics"] = pd.concat([metrics, elsewhere, failed], ignore_index=True)
    table, best = summary(adata, key="run2"), summary(adata, best=True, key="run2")
    assert list(table.index) == list(best.index) == ["nb", "zinb"]
    for model in table.index:
        nll = -adata.obs[f"run2_{model}_marginal_ll"].mean()  # of the best; the other is 1 nat worse
        assert best.loc[model, "nll"] == pytest.approx(nll)
        assert table.loc[model, "nll"] == pytest.approx(nll + 0.5)
        assert table.loc[model, "nll_se"] == best.loc[model, "nll_se"] == 0.02
        assert table.loc[model, "ks_cv"] == pytest.approx(best.loc[model, "ks_cv"] + 0.05)
    assert table["restarts"].tolist() == [2, 2]  # the third succeeded for the NB only
    assert best["restarts"].tolist() == [1, 0]
    assert np.isnan(table.loc["nb", "mean_dropout"])
    dropout = adata.layers["run2_zinb_dropout"].mean()
    assert best.loc["zinb", "mean_dropout"] == pytest.approx(dropout, rel=1e-5)
    assert table.loc["zinb", "mean_dropout"] == pytest.approx(dropout + 0.05, rel=1e-5)


def test_the_difference_of_the_table_is_that_of_the_sentence() -> None:
    adata = zt.simulate.zisynth(n_obs=300)
    zt.tl.model_selection(adata, n_restarts=3, n_samples=5, n_null=3, max_epochs=3, progress=False)
    table = summary(adata)
    told = zt.get.verdict(adata).differences.iloc[0]["difference"]
    assert table.loc["nb", "nll"] - table.loc["zinb", "nll"] == pytest.approx(told, abs=1e-6)


def test_the_table_reads_well() -> None:
    adata = fake_fit()
    table, best = summary(adata), summary(adata, best=True)
    nb, zinb = table_cells(table)
    assert nb[:2] == ["NB, mean of 2 restarts", f"{table.loc['nb', 'nll']:.3f} ± 0.020"]
    assert nb[-1] == "–"
    assert zinb[-1] == f"{table.loc['zinb', 'mean_dropout']:.3f}"
    assert [row[0] for row in table_cells(best, best=True)] == [
        "NB, best restart (1)",
        "ZINB, best restart (0)",
    ]
    lines = table_text(table, best).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    assert len(table_text(table).splitlines()) == 3


def test_with_one_restart_there_is_no_other_table() -> None:
    adata = fake_fit()
    metrics = adata.uns["zinbtools"]["metrics"]
    adata.uns["zinbtools"]["metrics"] = metrics[metrics["restart"] == 0]
    adata.uns["zinbtools"]["params"]["best_restart"] = {"nb": 0, "zinb": 0}
    lines = table_text(summary(adata), summary(adata, best=True)).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["NB, one restart", "ZINB, one restart"]


def test_a_fit_that_was_not_evaluated_has_a_table_too() -> None:
    adata = zt.simulate.zisynth(n_obs=200)
    zt.tl.fit_nb_zinb(adata, max_epochs=1, models="zinb", progress=False)
    for best in (False, True):
        table = summary(adata, best=best)
        assert table["nll"].isna().all()
        assert table.loc["zinb", "mean_dropout"] > 0
