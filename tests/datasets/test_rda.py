"""Tables that R saved, from files in R's format."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dataset_files import write_rda

from zinbtools.datasets._rda import read_rda

TABLE = pd.DataFrame(
    {
        "n": np.array([3, -4, 70_000]),
        "share": [0.5, 0.25, np.nan],
        "name": ["a", "é", ""],
        "kind": pd.Categorical(["x", None, "y"]),
    },
    index=["r1", "r2", "r3"],
)


@pytest.mark.parametrize("version", [2, 3])
def test_a_table_comes_back_as_it_was(version: int, tmp_path: Path) -> None:
    numbered = TABLE.reset_index(drop=True)
    read = read_rda(write_rda(tmp_path / "x.rda", {"first": TABLE, "second": numbered}, version))
    assert list(read) == ["first", "second"]
    for name, table in (("first", TABLE), ("second", numbered)):
        assert read[name].index.tolist() == table.index.tolist()
        assert read[name].columns.tolist() == table.columns.tolist()
        np.testing.assert_array_equal(read[name]["n"], table["n"])
        np.testing.assert_array_equal(read[name]["share"], table["share"])
        assert read[name]["name"].tolist() == table["name"].tolist()
        assert read[name]["kind"].tolist() == table["kind"].tolist()


@pytest.mark.parametrize("packed", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_it_may_be_packed_in_four_ways(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write_rda(tmp_path / "x.rda", {"table": TABLE})
    path.write_bytes(packed(bz2.decompress(path.read_bytes())))
    assert read_rda(path)["table"]["n"].tolist() == [3, -4, 70_000]


def test_every_cut_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    content = bz2.decompress(write_rda(tmp_path / "x.rda", {"table": TABLE}).read_bytes())
    path = tmp_path / "cut.rda"
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=str(path)) as caught:
            read_rda(path)
        assert "\n" not in str(caught.value)


def test_what_no_table_needs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.rda"
    content = bz2.decompress(write_rda(path, {"table": TABLE}).read_bytes())
    for old, new, match in (
        (b"RDX3\nX\n", b"RDA3\nA\n", "no file of R's save"),
        (b"data.frame", b"data.table", "something else than data frames"),
        (b"\0\0\3\x13", b"\0\0\3\x03", "kind 3, which no table"),  # a function for a list
        (b"\0\0\0\x0e\0\0\0\3", b"\0\0\0\x0e\xff\xff\xff\xff", "longer than any"),
    ):
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
        with pytest.raises(ValueError, match=match):
            read_rda(path)
    path.write_bytes(bz2.compress(content))
    monkeypatch.setattr("zinbtools.datasets._rda.LARGEST", len(content) - 1)
    with pytest.raises(ValueError, match=r"x\.rda has more than [\d,]+ bytes unpacked"):
        read_rda(path)
