"""``zinbtools atlas``: the studies of many data sets, and what they say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import pandas as pd
import pytest

from zinbtools import simulate
from zinbtools.cli import main
from zinbtools.cli.atlas import data_sets
from zinbtools.cli.options import parsed
from zinbtools.study import _write

QUICK = ["--folds", "1", "--restarts", "1", "--max-epochs", "2", "--n-top-genes", "20"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Two files of counts, one of them in a layer, a file of no counts, and a table of the three."""
    for number in range(2):
        adata = simulate.zisynth(n_obs=150, lam=10.0 * number, rng=number)
        if number:
            adata.layers["raw"] = adata.X.copy()
            adata.X = adata.X * 0.5
        adata.write_h5ad(tmp_path / f"{number}.h5ad")
    (tmp_path / "2.h5ad").write_text("no file of anndata")
    rows = [
        ("first", "0.h5ad", "", "x", 3),
        ("second", "1.h5ad", "raw", "y", 5),
        ("third", "2.h5ad", "", "y", 7),
    ]
    table = pd.DataFrame(rows, columns=["study", "file", "layer", "protocol", "depth"])
    table.to_csv(tmp_path / "sets.csv", index=False)
    return tmp_path


def test_an_atlas_has_every_study_and_one_answer(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = home / "atlas"
    words = ["atlas", "--sets", str(home / "sets.csv"), "--by", "protocol", *QUICK, "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "left out third: cannot read" in said.err
    assert "all: 2 studies" in said.out
    names = {path.name for path in out.iterdir()}
    assert names == {
        "studies",
        "report.html",
        "meta.csv",
        "studies.csv",
        "genes.csv",
        "forest.png",
        "zinbtools_atlas.json",
    }
    assert {path.name for path in (out / "studies").iterdir()} >= {"first", "second"}
    annotated = anndata.read_h5ad(out / "studies" / "second" / "annotated.h5ad")
    assert annotated.uns["zinbtools"]["params"]["layer"] == "raw"
    table = pd.read_csv(out / "studies.csv", index_col=0)
    assert table[["protocol", "depth", "group"]].to_numpy().tolist() == [["x", 3, "x"], ["y", 5, "y"]]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert '<a href="studies/first/report.html">first</a>' in page
    assert "Left out: third: cannot read" in page
    assert set(pd.read_csv(out / "meta.csv")["measure"]) == {"gain", "beyond"}


def test_a_study_without_its_report_counts(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = _write.report_html

    def but_for_one(*arguments: Any, title: str, **options: Any) -> str:
        if title == "first":
            raise RuntimeError("no room for a report")
        return written(*arguments, title=title, **options)

    monkeypatch.setattr(_write, "report_html", but_for_one)
    (home / "0.h5ad").rename(home / "first.h5ad")
    simulate.zisynth(n_obs=150, rng=5).write_h5ad(home / "last.h5ad")
    out = home / "atlas"
    assert (
        main(
            ["atlas", *(str(home / f"{name}.h5ad") for name in ("first", "last")), *QUICK, "--out", str(out)]
        )
        == 0
    )
    said = capsys.readouterr()
    assert "of first something is missing: " in said.err
    assert "could not make report.html (no room for a report)" in said.err
    assert "left out" not in said.err
    assert set(pd.read_csv(out / "studies.csv", index_col=0).index) == {"first", "last"}


def test_options_of_one_data_set_go_before_those_of_all(home: Path) -> None:
    pd.DataFrame(
        {"study": ["a", "b"], "file": ["0.h5ad", "1.h5ad"], "n_top_genes": ["", 30], "counts": ["", "reads"]}
    ).to_csv(home / "own.csv", index=False)
    words = [
        "atlas",
        "--sets",
        str(home / "own.csv"),
        "--n-top-genes",
        "50",
        "--resume",
        str(home),
        "--out",
        "o",
    ]
    first, second = data_sets(parsed(words)).values()
    assert (first.n_top_genes, first.counts, first.title) == (50, "auto", "a")
    assert (second.n_top_genes, second.counts, second.resume) == (30, "reads", home / "b")
    assert second.out == Path("o", "studies", "b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0.h5ad", "absent.h5ad"], "there is no file"),
        (["0.h5ad", "folder/0.h5ad"], "two data sets are called '0'"),
        (["0.h5ad", "1.h5ad", "--by", "protocol"], "no column 'protocol' of studies; there are counts,"),
        (["--sets", "sets.csv", "--moderators", "depth,age"], "no column 'age'"),
        (["--sets", "0.h5ad"], "0.h5ad is not a table in UTF-8"),
        (["--sets", "nameless.csv"], "needs a column 'file'"),
        (["--sets", "absent.csv"], "absent.csv"),
        (["0.h5ad"], "two are needed"),
    ],
)
def test_mistakes_are_told_before_any_study(
    words: list[str],
    message: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (home / "folder").mkdir()
    (home / "folder" / "0.h5ad").write_bytes((home / "0.h5ad").read_bytes())
    (home / "nameless.csv").write_text("study\na\nb\n")
    monkeypatch.chdir(home)
    assert main(["atlas", *words, "--out", "o"]) == 2
    assert message in capsys.readouterr().err
    assert not (home / "o" / "studies").exists()


def test_how_files_are_read_goes_for_all(home: Path) -> None:
    words = [
        "atlas",
        str(home / "0.h5ad"),
        str(home / "1.h5ad"),
        "--modality",
        "rna",
        "--transpose",
        "--out",
        "o",
    ]
    sets = data_sets(parsed(words)).values()
    assert [(own.modality, own.transpose) for own in sets] == [("rna", True)] * 2


def test_a_bad_option_in_the_table_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame({"study": ["a"], "file": ["0.h5ad"], "counts": ["letters"]})
    table.to_csv(home / "own.csv", index=False)
    with pytest.raises(SystemExit):
        main(["atlas", "--sets", str(home / "own.csv"), "--out", str(home / "o")])
    assert "letters" in capsys.readouterr().err
