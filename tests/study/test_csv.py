from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zinbtools.study import unescaped, write_csv
from zinbtools.study._csv import _harmless

FORMULAS = [
    "=1+1", "+1+1", "-2+3", "@SUM(1+1)", "=cmd|'/C calc'!A0", "\t=1+1", "\r=1+1", "\tx", "＝1+1", " =1+1",
    "'=1+1", "a;=1+1", "a,=1+1", "a\t=1+1", "a\n=1+1", "a|@x", "a; -1+1", "-1.5",
]  # fmt: skip
PLAIN = [
    "",
    "NA",
    "nan",
    "None",
    "-",
    "=",
    "+",
    "a=b",
    "HLA-A",
    "c,d",
    'a"b',
    "e\nf",
    "g'h",
    " lead",
    "1e5",
    "😀",
]


def starts_no_formula(text: str) -> bool:
    """Whether no cell begins with what is computed, wherever a spreadsheet splits."""
    cells = [text]
    for separator in ",;|\t\r\n":
        cells += [part for cell in cells for part in cell.split(separator)]
    return all(cell.strip()[:1] not in tuple("=+-@＝＋－＠") or len(cell.strip()) < 2 for cell in cells)


def read(path: Path, **options: object) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, **options)


def test_text_is_escaped_wherever_it_stands_and_comes_back(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "number": np.arange(len(FORMULAS)) - 5.5,
            "text": FORMULAS,
            "category": pd.Categorical(FORMULAS),
            "=1+1": pd.array(FORMULAS, dtype="string"),
        },
        index=pd.Index(FORMULAS, name="@gene"),
    )
    before = frame.copy()
    write_csv(frame, tmp_path / "x.csv", index=True)
    pd.testing.assert_frame_equal(frame, before)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["'@gene", "number", "text", "category", "'=1+1"]
    assert [float(row.pop(1)) for row in rows] == frame["number"].tolist()
    for row in rows:
        assert all(starts_no_formula(cell) for cell in row), row
        assert {unescaped(cell) for cell in row} <= set(FORMULAS)
    assert [unescaped(name) for name in (row[0] for row in rows)] == FORMULAS


def test_other_text_stays_as_it_is(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"x": 1.0}, index=pd.Index(PLAIN, name="gene")), tmp_path / "x.csv", index=True)
    assert read(tmp_path / "x.csv", index_col=0).index.tolist() == PLAIN


def test_all_names_come_back_beside_numbers_that_are_missing(tmp_path: Path) -> None:
    names = [*FORMULAS, *PLAIN]
    frame = pd.DataFrame({"score": [0.5, *[math.nan] * (len(names) - 1)]}, index=pd.Index(names, name="gene"))
    write_csv(frame, tmp_path / "genes.csv", index=True)
    names_read = read(tmp_path / "genes.csv", usecols=["gene"])["gene"]  # as docs/files.md does it
    found = pd.read_csv(tmp_path / "genes.csv").set_index(names_read.map(unescaped)).drop(columns="gene")
    assert found.index.tolist() == names
    assert found["score"].tolist()[0] == 0.5
    assert found["score"].iloc[1:].isna().all()


def test_tables_without_text_are_those_of_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"a": [1, -2], "b": [math.nan, -0.5], "c": [True, False], "d": pd.array([None, -3], "Int64")}
    )
    write_csv(frame, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == frame.to_csv(index=False)
    write_csv(pd.DataFrame({"a": ["x", None], "b": [None, None]}), tmp_path / "y.csv")
    assert (tmp_path / "y.csv").read_text() == "a,b\nx,\n,\n"


@given(st.text(st.sampled_from("=+-@'\t\r\n,; a＝"), max_size=12) | st.text(max_size=12))
def test_every_text_comes_back(text: str) -> None:
    assert unescaped(_harmless(text)) == text
    assert starts_no_formula(_harmless(text))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_quote_is_what_makes_it_harmless(text: str) -> None:
    assert _harmless(text).replace("'", "") == text.replace("'", "")
    assert _harmless(text) != text
