"""One answer from many studies."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import zinbtools as zt
from zinbtools import cli
from zinbtools.stats.random_effects import random_effects
from zinbtools.study import read_genes, read_summaries, run_meta


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    n = 14
    se = random.uniform(0.1, 0.4, n)
    reads = np.arange(n) % 2
    effect = 1.0 + 2.0 * reads + random.normal(0, 0.3, n) + se * random.normal(size=n)
    counts = np.where(reads, "reads", "molecules")
    return pd.DataFrame(
        {"effect": effect, "se": se, "counts": counts, "depth": random.random(n)},
        index=[f"study {k}" for k in range(n)],
    )


def test_a_group_is_its_own_analysis(table):
    found = zt.tl.meta(table, by="counts")
    assert found.groups.index.tolist() == ["molecules", "reads", "all"]
    for name, part in [*table.groupby("counts"), ("all", table)]:
        own = random_effects(part["effect"], part["se"])
        row = found.groups.loc[name]
        low, high = own.interval()
        expected = [own.coefficients[0], own.se[0], low[0], high[0], *own.prediction(), own.i2]
        columns = ["effect", "se", "low", "high", "next_low", "next_high", "i2"]
        np.testing.assert_allclose(row[columns].astype(float), expected)


def test_what_a_moderator_tells_is_taken_from_the_variance(table):
    found = zt.tl.meta(table, moderators=["counts", "depth"])
    assert found.moderators.index.tolist() == ["intercept", "depth", "counts_reads"]
    row = found.moderators.loc["counts_reads"]
    assert row["low"] < 2 < row["high"]
    assert row["pval"] < 1e-4
    assert zt.tl.meta(table).moderators.empty


def test_weights_and_leaving_one_out(table):
    found = zt.tl.meta(table, by="counts").studies
    assert found.index.tolist() == table.index.tolist()
    np.testing.assert_allclose(found.groupby("group")["weight"].sum(), 1)
    rest = table[(table["counts"] == "reads") & (table.index != "study 3")]
    expected = random_effects(rest["effect"], rest["se"]).coefficients[0]
    assert found.loc["study 3", "without"] == pytest.approx(expected)


def test_small_studies_that_find_more_are_seen(table):
    small = table.assign(effect=table["effect"] + 12 * table["se"])
    assert zt.tl.meta(small).asymmetry_pval < 0.01
    assert np.isnan(zt.tl.meta(table[:9]).asymmetry_pval)


def test_few_studies_have_words_and_no_prediction(table):
    some = table.iloc[:5]
    found = zt.tl.meta(some.assign(counts=["a", "a", "a", "b", "b"]).iloc[:4], by="counts")
    assert found.groups[["next_low", "next_high"]].isna().all(axis=None)
    lines = str(found).splitlines()
    assert lines[0].endswith("fewer than 5 studies do not say what the next will show.")
    assert "nothing is known of others" in lines[1]
    assert "the next is expected between" in str(zt.tl.meta(some))


def test_how_probable_a_difference_is_in_the_next_study(table):
    reads = table[table["counts"] == "reads"]
    found = zt.tl.meta(reads, region=3.0)
    row = found.groups.loc["all"]
    assert found.groups["next_above"].between(0.2, 0.8).all()
    assert zt.tl.meta(reads, region=row["next_low"]).groups.loc["all", "next_above"] == pytest.approx(0.975)
    assert zt.tl.meta(reads, region=row["next_high"]).groups.loc["all", "next_above"] == pytest.approx(0.025)
    assert str(found).endswith(f"and beyond 3 with a probability of {100 * row['next_above']:.0f} %.")
    assert zt.tl.meta(reads).groups["next_above"].isna().all()
    assert zt.tl.meta(reads[:4], region=3.0).groups["next_above"].isna().all()


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda t: t, {"by": "protocol"}, KeyError, "no column 'protocol'"),
        (
            lambda t: t.assign(se=np.where(t.index == "study 2", np.nan, t["se"])),
            {},
            ValueError,
            "'study 2' has no",
        ),
        (lambda t: t.set_axis(["a"] * len(t)), {}, ValueError, "two studies are called 'a'"),
        (lambda t: t[:1], {}, ValueError, "no family"),
        (lambda t: t.assign(counts="all"), {"by": "counts"}, ValueError, "the name of all studies"),
        (lambda t: t.assign(se=0.0), {}, ValueError, "positive"),
        (lambda t: t[:3], {"moderators": ["counts", "depth"]}, ValueError, "too few"),
    ],
)
def test_bad_tables_are_told(table, change, options, error, message):
    with pytest.raises(error, match=message):
        zt.tl.meta(change(table), **options)


def summary(title, gain, nll=200.0, called=("g1",)):
    return {
        "zinbtools_summary": 1,
        "version": "0.1.0",
        "title": title,
        "data": {"n_cells": 500, "n_genes": 100, "counts": "molecules"},
        "verdict": {"answer": "zinb", "explained_by": ""},
        "difference": {"difference": gain, "se": 0.2, "nb_nll": nll},
        "zeros": {"observed": 0.5, "nb_expects": 0.4},
        "genes": {"n": 100, "zero_inflated": list(called)},
    }


@pytest.fixture
def folders(tmp_path):
    found = []
    for place, title in enumerate(["one", "two", "two"]):
        folder = tmp_path / f"study{place}"
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps(summary(title, 1.0 + place)))
        found.append(folder)
    return found


def test_summaries_are_a_table(folders):
    table = read_summaries([folders[0], folders[1] / "summary.json", folders[2]])
    assert table.index.tolist() == ["one", folders[1].as_posix(), folders[2].as_posix()]
    assert table["effect"].tolist() == [5.0, 10.0, 15.0]
    assert table["se"].tolist() == [1.0, 1.0, 1.0]
    assert table["excess_zeros"].iloc[0] == pytest.approx(0.2)
    assert table["calls_per_thousand"].tolist() == [10.0, 10.0, 10.0]
    assert zt.tl.meta(table).groups.loc["all", "n_studies"] == 3


def test_what_a_dropout_adds_beyond_what_explains_most(tmp_path):
    rivals = [
        {"model": "nb", "gain": 0.0, "zinb_gain": 1.0, "zinb_low": 0.5, "zinb_high": 1.5},
        {"model": "nb-amplified", "gain": 3.0, "zinb_gain": 0.1, "zinb_low": -0.292, "zinb_high": 0.492},
        {"model": "nb-gene-cell", "gain": 2.0, "zinb_gain": 0.7, "zinb_low": 0.6, "zinb_high": 0.8},
    ]
    for name, content in {
        "explained": {"rivals": rivals, "reads_per_molecule": 12.5},
        "not asked": {"rivals": rivals[:1]},
        "older": {},
    }.items():
        whole = summary(name, 1.0) | content
        whole["difference"] |= {"level": 0.95}
        (tmp_path / f"{name}.json").write_text(json.dumps(whole))
    table = read_summaries(tmp_path / f"{name}.json" for name in ("explained", "not asked", "older"))
    assert table["beyond"].iloc[:2].tolist() == [0.5, 5.0]
    np.testing.assert_allclose(table["beyond_se"].iloc[:2], [1.0, 1.0], rtol=1e-3)
    assert table.loc["older", ["beyond", "beyond_se"]].isna().all()
    assert table["reads_per_molecule"].iloc[0] == 12.5
    both = run_meta([tmp_path / "explained.json", tmp_path / "not asked.json"])
    assert set(both.measures) == {"gain", "beyond"}
    assert set(run_meta([tmp_path / "explained.json", tmp_path / "older.json"]).measures) == {"gain"}


def test_p_values_are_checked():
    with pytest.raises(ValueError, match="between 0 and 1"):
        zt.tl.replicated(pd.DataFrame({"a": [0.1, 1.5]}))


def test_genes_of_several_studies(tmp_path):
    def write(name, **columns):
        (tmp_path / name).mkdir()
        table = pd.DataFrame({"explained_by": "", **columns})
        table.to_csv(tmp_path / name / "genes.csv", index=False)

    yes, no = "zero-inflated", "undecided"
    write("a", gene=["Xist", "'=SUM", "Sox2"], pval=[1e-9, 1e-9, 0.5], call=[yes, yes, no])
    write("b", gene=["Sox2", "Xist", "NA"], pval=[0.4, 1e-8, ""], call=[no, yes, no])
    write("c", gene=["Xist", "=SUM"], pval=[1e-9, 1e-9], call=[yes, yes], explained_by=["sex", ""])
    write("d", gene=["Xist"], score=[1.0])
    paths = {name: tmp_path / name for name in "abcd"} | {"e": tmp_path / "absent" / "summary.json"}
    found = read_genes(paths)
    assert found.index.tolist() == ["=SUM", "Xist", "NA", "Sox2"]
    assert found["n_tested"].tolist() == [2, 3, 0, 2]
    assert found["n_called"].tolist() == [2, 2, 0, 0]
    assert found["n_replicated"].tolist() == [2, 2, 0, 0]
    assert found["called_in"].tolist() == ["a, c", "a, b", "", ""]


def test_the_command_line_writes_table_and_forest(folders, tmp_path, capsys):
    out = tmp_path / "family"
    about = tmp_path / "about.csv"
    names = ["one", folders[1].as_posix(), folders[2].as_posix()]
    about.write_text(
        "study,protocol\n" + "".join(f"{name},{p}\n" for name, p in zip(names, "xyy", strict=True))
    )
    words = ["meta", *map(str, folders), "--about", str(about), "--by", "protocol", "--out", str(out)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "x: one study, 5; nothing is known of others." in printed
    assert "all: 3 studies, on average +10 (" in printed
    assert {path.name for path in out.iterdir()} == {
        "report.html",
        "meta.csv",
        "studies.csv",
        "forest.png",
        "zinbtools_meta.json",
    }
    groups = pd.read_csv(out / "meta.csv", index_col="group")
    assert groups["n_studies"].to_dict() == {"x": 1, "y": 2, "all": 3}
    assert pd.read_csv(out / "studies.csv", index_col="study")["protocol"].tolist() == ["x", "y", "y"]
    about.write_text("study,protocol\none,x\n")
    assert cli.main(words) == 2
    assert "it needs one, with that name first" in capsys.readouterr().err
    assert cli.main(["meta", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "there is no" in capsys.readouterr().err


def test_what_is_no_summary_is_told(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no"):
        read_summaries([tmp_path / "nowhere"])
    (folders[0] / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="is not the summary"):
        read_summaries(folders)
    (folders[0] / "summary.json").write_text(json.dumps(summary("new", 1) | {"zinbtools_summary": 99}))
    with pytest.raises(ValueError, match="newer zinbtools"):
        read_summaries(folders)


def test_the_forest_has_every_study_and_mean(table):
    found = zt.tl.meta(table, by="counts")
    ax = zt.pl.meta(found, show=False)
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert len(labels) == len(table) + 3
    assert labels[-1] == "all"
    assert labels[7] == "molecules, mean"
    long = table.rename(index={"study 0": "a long way to a study " * 9})
    figure = zt.pl.meta(zt.tl.meta(long), show=False, return_fig=True)
    figure.canvas.draw()
    assert max(len(text.get_text()) for text in figure.axes[0].get_yticklabels()) <= 40
