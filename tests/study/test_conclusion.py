from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from fake_fit import fake_fit

import zinbtools as zt
from zinbtools._words.count_kinds import CountKind
from zinbtools.get._sentence import cautions
from zinbtools.stats.equivalence import conclude, position
from zinbtools.study import conclusion, summary
from zinbtools.study._summary import table_cells, table_text


def with_difference(difference: float, half: float, verdict: str, position: str) -> AnnData:
    """The fake fit, compared on 80 test cells of NLL 200 under the NB, with a region of 0.2 nats."""
    adata = fake_fit()
    row = {"model": "zinb", "difference": difference, "low": difference - half, "high": difference + half}
    row |= {
        "n_cells": 80,
        "n_restarts": 5,
        "n_folds": 1,
        "nll": 200 - difference,
        "rope": 0.2,
        "position": position,
    }
    row |= {"se": half / 2, "df": 20.0, "sd_cells": 8 * half / 2, "sd_restarts": 0.1 * half}
    adata.uns["zinbtools"]["model_selection"] |= {
        "verdict": verdict,
        "explained_by": "",
        "excess_zeros": True,
        "differences": pd.DataFrame([row]),
        "by_restart": pd.DataFrame(),
        "tests": pd.DataFrame(),
        "zeros": pd.DataFrame({"observed": [600.0, 400.0]}),
        "pooled_zeros": {"n_cells": 800, "n_expected": 800.0},
        "calls": calls([]),
        "params": {"alpha": 0.05},
    }
    return adata


def calls(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["gene", "call", "explained_by", "on_in"], dtype=object)


@pytest.mark.parametrize(
    ("found", "opening", "relation"),
    [
        ((0.05, 0.1, "no practical difference", "inside"), "No practical difference: on", "within the"),
        ((0.19, 0.3, "undecided", "open"), "Undecided: on", "neither within nor beyond the"),
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
        f"{difference:+.2f} nats per cell (95 % interval {difference - half:.2f} to {difference + half:.2f}; "
    )
    assert f"of the NB's 200), {relation} ±0.20 that make no practical difference. " in said
    assert (
        "Of 1,600 entries (800 cells, 2 genes) 62.5 % are zero, where the NB expects 50.0 %: "
        "25.0 % more zeros, an excess" in said
    )
    assert "None of 2 genes is zero-inflated by itself." in said


def test_what_is_undecided_says_what_would_decide_it() -> None:
    """The error has to become .15 / (1.96 + 0.84). Of its square cells make 1.44 / N, restarts .0009 / R.

    The rest, 1.73 / (N R), shrinks with the cells as well:
    (1.44 + 1.73 / 5) / ((.15 / 2.80)^2 - .0009 / 5) = 664. More restarts alone would not do. Student's t
    takes some more; the lower edge does not matter.
    """
    adata = with_difference(0.05, 0.3, "undecided", "open")
    assert "If it stays as large, about 690 test cells have a chance of 80 % to decide it." in conclusion(
        adata
    )
    adata = with_difference(0.2, 0.3, "undecided", "open")
    assert (
        "Neither restarts nor test cells alone, up to 100,000, have a chance of 80 % to decide it."
        in conclusion(adata)
    )


@pytest.mark.parametrize(
    ("observed", "expected", "words"),
    [
        (100.0, 250.0, "6.2 % are zero, where the NB expects 15.6 %: 60.0 % fewer zeros, no excess"),
        (0.0, 210.0, "0 are zero, where the NB expects 210.0: no excess"),
        (1.0, 0.0, "1 are zero, where the NB expects 0.0: no excess"),
    ],
)
def test_zeros_and_those_that_are_expected_have_one_base(
    observed: float, expected: float, words: str
) -> None:
    adata = with_difference(0.05, 0.1, "no practical difference", "inside")
    found = adata.uns["zinbtools"]["model_selection"]
    found["zeros"] = pd.DataFrame({"observed": [observed, 0.0]})
    found["pooled_zeros"]["n_expected"], found["excess_zeros"] = expected, False
    assert words in conclusion(adata)


def test_genes_are_named_with_what_explains_their_zeros() -> None:
    adata = with_difference(0.05, 0.1, "no practical difference", "inside")
    rows = [
        ("A", "zero-inflated", "", ""),
        ("Xist", "zero-inflated", "obs['sex']", "f"),
        ("B", "zero-inflated", "", ""),
    ]
    rows += [("C", "undecided", "dispersion", "")]
    adata.uns["zinbtools"]["model_selection"]["calls"] = calls(rows)
    said = conclusion(adata)
    assert "2 of 2 genes are zero-inflated by themselves: A and B." in said
    assert "The zeros of Xist follow obs['sex'] (Xist is on in 'f' only): give it as a covariate." in said
    assert (
        "The zeros of 1 more gene are explained by a dispersion that depends on the state of the cell."
        in said
    )


@pytest.mark.parametrize(
    ("of_groups", "explained_by", "words"),
    [
        (["", ""], "", "No group could be compared by itself."),
        (["zinb", "nb", "zinb", ""], "", "Compared group by group, 2 of 3 are zero-inflated (a, c)."),
        (["zinb"], "", "Compared group by group, 1 of 1 is zero-inflated (a)."),
        (["nb", "undecided"], "", "none of 2 is shown to be zero-inflated; 1 undecided."),
        (["nb", "no practical difference"], "groups", "differences between the groups explain it."),
    ],
)
def test_groups_are_told_apart(of_groups: list[str], explained_by: str, words: str) -> None:
    adata = with_difference(20.0, 1.2, "zinb", "above")
    groups = pd.DataFrame({"group": list("abcd")[: len(of_groups)], "verdict": of_groups})
    adata.uns["zinbtools"]["model_selection"] |= {"groups": groups, "explained_by": explained_by}
    assert words in conclusion(adata)


def test_cautions_are_in_the_sentence() -> None:
    adata = with_difference(-20.0, 1.2, "nb", "below")
    adata.uns["zinbtools"]["model_selection"]["differences"]["n_restarts"] = 1
    adata.uns["zinbtools"]["model_selection"]["differences"]["n_cells"] = 30
    found = adata.uns["zinbtools"]["model_selection"]
    short = "training was cut short: at most 3 epochs, where 103 are asked for."
    said = " ".join(cautions(found, short, CountKind.MULTIPLES))
    for words in ("were multiplied", short, "with one restart", "fewer than 50 test cells", "train longer"):
        assert words in said
    assert not [
        *cautions(
            with_difference(1, 1, "zinb", "above").uns["zinbtools"]["model_selection"],
            "",
            CountKind.MOLECULES,
        )
    ]
    found["cautions"] = np.array(["Caution: look."], dtype=object)
    assert conclusion(adata).endswith("Caution: look.")


@pytest.mark.parametrize("seed", range(200))
def test_no_two_sentences_contradict_each_other(seed: int) -> None:
    """Whatever was found: each claim is read out of the text again and held against the others."""
    random = np.random.default_rng(seed)
    rope, difference, half = 0.2, float(random.normal(0, 0.5)), float(random.exponential(0.3))
    where = position(difference - half, difference + half, rope)
    excess, asked = bool(random.random() < 0.5), where == "above"
    of_rival = position(low := float(random.normal(0.2, 0.5)), low + 0.3, rope)
    survives = of_rival == "above" and bool(random.random() < 0.7)
    many = asked and excess and not survives and bool(random.random() < 0.3)  # genes are zero-inflated
    adata = with_difference(difference, half, conclude(where, excess and (survives or many)), where)
    found = adata.uns["zinbtools"]["model_selection"]
    rows = [("nb", difference, difference - half, difference + half, where, excess)]
    if asked:
        rows.append(("nb-gene-cell", low + 0.15, low, low + 0.3, of_rival, survives))
    names = ["model", "zinb_gain", "zinb_low", "zinb_high", "zinb_position", "excess_zeros"]
    expected = 1000 - random.integers(1, 900) if excess else random.integers(1000, 1600)
    words = random.choice(["zero-inflated", "undecided"], int(random.integers(0, 9)))
    by = [
        str(random.choice(["", "obs['sex']"])) if call == "zero-inflated" else "dispersion" for call in words
    ]
    genes = [(f"gene{k}", *pair, "") for k, pair in enumerate(zip(words, by, strict=True))]
    found |= {
        "rivals": pd.DataFrame(rows, columns=names),
        "excess_zeros": excess,
        "explained_by": "dispersion" if asked and not survives and not many else "",
        "pooled_zeros": {"n_cells": 800, "n_expected": float(expected)},
        "calls": calls(genes),
    }
    said = conclusion(adata)
    opening = said.partition(":")[0]
    ends = [float(x) for x in re.findall(r"95 % interval (\S+) to ([^;)]+)", said)[0]]
    assert (opening == "No practical difference") == (", within the ±" in said)
    rope = float(re.findall(r"the ±(\S+) that", said)[0])  # as it is written, to the digits of the ends
    if opening == "Do not zero-inflate":
        assert ends[1] <= rope
        assert (ends[1] <= -rope) if ", beyond the ±" in said else ", below or within the ±" in said
    if opening == "No practical difference":
        assert max(map(abs, ends)) <= rope
    assert (opening == "Undecided") == ("neither within nor beyond" in said) == ("decide it." in said)
    if opening == "Zero-inflate":
        assert ends[0] >= rope
        assert "an excess beyond chance" in said
        assert ("the dispersion does not explain them" in said) != (
            "but many genes are zero-inflated" in said
        )
    if opening == "Better fit, not zero inflation":
        assert (
            "no excess beyond chance" in said
            or "what the dispersion explains" in said
            or "explains them" in said
        )
    observed, told = (
        float(x) for x in re.findall(r"(\S+) % are zero, where the NB expects (\S+) %", said)[0]
    )
    assert (observed > told) or "no excess beyond chance" in said
    assert (observed > told) == ("more zeros, " in said)
    n_inflated = sum(call == "zero-inflated" and not column for _, call, column, _ in genes)
    assert f"{n_inflated or 'None'} of 2 genes" in said
    assert ("follow obs['sex']" in said) == ("obs['sex']" in by)
    assert "nan" not in said


@pytest.mark.parametrize("n_inflated", [0, 3])
def test_copies_explain_what_they_do(n_inflated: int) -> None:
    adata = with_difference(20.0, 1.2, "better fit, not zero inflation", "above")
    found = adata.uns["zinbtools"]["model_selection"]
    of_nb, of_copies = (-20.0, -21.2, -18.8, 20.0, 18.8, 21.2), (9.5, 7.0, 12.0, -0.1, -0.15, 0.05)
    ends = ["over_zinb", "over_zinb_low", "over_zinb_high", "zinb_gain", "zinb_low", "zinb_high"]
    dispersed = (0.1, -0.1, 0.3, 0.1, 0.0, 0.15)
    rows = [("nb", *of_nb, "above"), ("nb-amplified", *of_copies, "inside")]
    rows.append(("nb-gene-cell", *dispersed, "inside"))
    rivals = pd.DataFrame(rows, columns=["model", *ends, "zinb_position"]).assign(excess_zeros=True)
    genes = [(f"gene{k}", "zero-inflated", "", "") for k in range(n_inflated)]
    found |= {"explained_by": "amplification", "reads_per_molecule": 31.8, "rivals": rivals}
    found["calls"] = calls(genes)
    said = conclusion(adata)
    but = " of all but 3 genes" if n_inflated else ""
    start = "Each molecule was read about 32 times; its copies, not lost molecules, explain the zeros"
    assert f"{start}{but}. Gene by gene," in said
    assert (
        "is +9.5 nats per cell (95 % interval 7.0 to 12.0), and a dropout of molecules adds -0.10 (" in said
    )
    assert "but many genes are zero-inflated" not in said
    kept = [*cautions(found | {"excess_zeros": True}, "", CountKind.READS)]
    assert not any("look like reads" in caution for caution in kept)


def test_one_test_cell_has_no_interval() -> None:
    adata = with_difference(3.0, np.nan, "undecided", "open")
    adata.uns["zinbtools"]["model_selection"]["differences"]["n_cells"] = 1
    said = conclusion(adata)
    assert "on 1 test cell and 5 restarts" in said
    assert "(one test cell: no interval; 1.5 % of the NB's 200)" in said
    assert "nan" not in said


def test_without_a_zero_none_is_said_to_be() -> None:
    adata = zt.simulate.gamma_poisson(n_obs=200, n_vars=20, means=np.full(20, 1000.0))
    adata.X.data += 1
    adata.X = adata.X.toarray() + (adata.X.toarray() == 0)
    settings = {"n_restarts": 1, "folds": 1, "n_samples": 5, "n_null": 3, "max_epochs": 2, "progress": False}
    zt.tl.model_selection(adata, **settings)
    said = conclusion(adata)
    assert "Of 4,000 entries (200 cells, 20 genes) 0 are zero, where the NB expects " in said
    assert "nan" not in said


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
    zt.tl.model_selection(adata, n_restarts=3, folds=1, n_samples=5, n_null=3, max_epochs=3, progress=False)
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
