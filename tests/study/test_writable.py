"""What h5ad cannot hold is mended where that loses nothing, and refused in a sentence where it does."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from compare import assert_same_anndata

from zinbtools import simulate
from zinbtools.cli import run as cli
from zinbtools.study import writable, write_h5ad

N = 20
WORDS = [f"word {i}" for i in range(N)]
Change = Callable[[AnnData], object]


def strings(*, missing: bool = False) -> Any:
    return pd.array([None, *WORDS[1:]] if missing else WORDS, dtype="string")


def counts(change: Change) -> AnnData:
    adata = simulate.zisynth(n_obs=N)
    adata.raw = adata.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata on names that are not text
        change(adata)
    return adata


def mended(change: Change, tmp_path: Path) -> tuple[AnnData, str]:
    """The object as it comes back from a file, and what was said."""
    adata = counts(change)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = adata.copy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = writable(adata)
    assert_same_anndata(adata, before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata on slashes
        result.write_h5ad(tmp_path / "x.h5ad")
    assert len(caught) <= 1
    assert (result is adata) == (not caught)
    return anndata.read_h5ad(tmp_path / "x.h5ad"), str(caught[0].message) if caught else ""


def column(values: Any, name: Any = "new") -> Change:
    return lambda adata: adata.obs.__setitem__(name, values)


def item(value: Any, key: Any = "new") -> Change:
    return lambda adata: adata.uns.__setitem__(key, value)


@pytest.mark.parametrize(
    "change",
    [
        column(strings()),
        column(strings(missing=True)),
        column(pd.Categorical(strings(missing=True))),
        column(pd.array(["a", "b"] * 10, dtype="string")),
        lambda adata: setattr(adata, "obs_names", pd.Index(strings())),
        lambda adata: setattr(adata.var, "index", adata.var_names.astype("string")),
        lambda adata: adata.raw.var.__setitem__("new", adata.var_names.astype("string")),
        lambda adata: setattr(adata.raw.var, "index", adata.var_names.astype("string")),
        item(strings()),
        item({"deep": {"er": strings(missing=True)}}),
        item(pd.DataFrame({"a": strings(missing=True)}, index=pd.Index(strings()))),
        lambda adata: adata.obsm.__setitem__("new", pd.DataFrame({"a": strings()}, index=adata.obs_names)),
    ],
)
def test_nullable_strings_become_plain_ones_or_categories(change: Change, tmp_path: Path) -> None:
    found, said = mended(change, tmp_path)
    expected = counts(change)

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, pd.DataFrame):
            return [plain(value.index), *(plain(value[name]) for name in value)]
        return [None if pd.isna(part) else str(part) for part in value]

    for part in ("obs", "var"):
        assert plain(getattr(found, part)) == plain(getattr(expected, part))
    assert plain(found.raw.var) == plain(expected.raw.var)
    assert plain(dict(found.obsm)) == plain(dict(expected.obsm))
    assert plain(dict(found.uns).get("new", [])) == plain(dict(expected.uns).get("new", []))
    assert said == "" or "string to" in said


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ([None, *WORDS[1:]], 1),
        ([np.nan, *[True] * (N - 1)], 1),
        ([None, *range(N - 1)], 1),
        ([None] * N, N),
        (pd.array([None, *[2.5] * (N - 1)], dtype="Float64"), 1),
        (pd.array([None, *[True] * (N - 1)], dtype="boolean"), 1),
        (pd.array([None, *[3] * (N - 1)], dtype="Int64"), 1),
    ],
)
def test_values_of_one_kind_are_kept_with_what_is_missing(values: Any, missing: int, tmp_path: Path) -> None:
    values = values if hasattr(values, "dtype") else np.array(values, dtype=object)
    found, _ = mended(column(values), tmp_path)
    kept = found.obs["new"]
    assert kept.isna().sum() == missing
    assert [*kept[~kept.isna()]] == [value for value in values if not pd.isna(value)]


@pytest.mark.parametrize("place", ["obs", "var", "raw.var"])
@pytest.mark.parametrize(
    ("names", "renamed"),
    [
        (["_index"], ["index_"]),
        (["_index", "index_"], ["index__", "index_"]),
        ([""], ["_"]),
        (["."], ["_"]),
        (["a\0b"], ["ab_"]),
        ([3, ("a", 1)], ["3", "('a', 1)"]),
    ],
)
def test_columns_whose_names_h5ad_needs_or_cannot_hold_are_renamed(
    place: str, names: list[Any], renamed: list[str], tmp_path: Path
) -> None:
    def frame(adata: AnnData) -> pd.DataFrame:
        return adata.raw.var if place == "raw.var" else getattr(adata, place)

    def change(adata: AnnData) -> None:
        for number, name in enumerate(names):
            frame(adata)[[name] if isinstance(name, tuple) else name] = number

    found, said = mended(change, tmp_path)
    assert [[*frame(found)].index(name) for name in renamed] == [
        *range(-len(names) + len([*frame(found)]), len([*frame(found)]))
    ]
    assert f"column {names[0]!r} of {place} is renamed to {renamed[0]!r}" in said


@pytest.mark.parametrize(
    ("name", "expected"), [("total", "total_"), ("same", "same"), (5, "5"), ("", "_"), ("_index", None)]
)
def test_the_index_gets_a_name_that_it_can_have(name: Any, expected: str | None, tmp_path: Path) -> None:
    def change(adata: AnnData) -> None:
        adata.obs["total"], adata.obs["same"] = 1, adata.obs_names
        adata.obs.index.name = name

    found, _ = mended(change, tmp_path)
    assert found.obs.index.name == expected
    assert found.obs["total"].eq(1).all()


def test_uns_is_mended_where_nothing_is_lost(tmp_path: Path) -> None:
    def change(adata: AnnData) -> None:
        adata.uns["new"] = {1: ("a", "b"), "set": {"y", "x"}, "list": [1, 2], "none": None, "text": "t"}
        adata.uns["nothing"] = {}

    found, said = mended(change, tmp_path)
    new = found.uns["new"]
    assert [*new["1"]] == ["a", "b"]
    assert [*new["set"]] == ["x", "y"]
    assert [*new["list"]] == [1, 2]
    assert new.get("none") is None
    assert new["text"] == "t"
    assert found.uns["nothing"] == {}
    assert "key 1 of uns['new'] becomes text; uns['new'][1], a tuple, is now a list" in said


def nested(depth: int) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for _ in range(depth):
        content = {"k": content}
    return content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (column([1, "a"] * 10), "adata.obs['new'] holds values of type object"),
        (column(pd.date_range("2020", periods=N)), "make it text, as .astype(str) does, or delete it"),
        (
            column(pd.timedelta_range("1h", periods=N)),
            "adata.obs['new'] holds values of type timedelta64[",
        ),
        (column(pd.period_range("2020", periods=N)), "adata.obs['new'] holds values of type period"),
        (column(pd.cut(np.arange(N), 3)), "adata.obs['new'] holds values of type category of interval"),
        (lambda adata: adata.obs.insert(0, "total", 1, allow_duplicates=True), "two columns named 'total'"),
        (lambda adata: (column(1, 5)(adata), column(1, "5")(adata)), "two columns named '5'"),
        (item(print), "adata.uns['new'] holds a builtin_function_or_method"),
        (item([{"a": 1}]), "adata.uns['new'] holds a list"),
        (item({"a": pd.Series([1])}), "adata.uns['new']['a'] holds values of type int64"),
        (item(nested(300)), "dictionaries deep"),
        (item({1: 2, "1": 3}), "two keys '1' of different types"),
        (item(1, "a/b"), "adata.uns['a/b']: a name in h5ad cannot"),
        (item({"a": {"": 1}}), "adata.uns['new']['a']['']: a name in h5ad cannot"),
        (item(1, "a\0"), "NUL"),
        (item("a\udc80"), r"adata.uns['new'] holds 'a\udc80', with a character that no file can hold"),
        (
            lambda adata: setattr(adata, "var_names", ["a\0", *adata.var_names[1:]]),
            r"adata.var_names holds 'a\x00'",
        ),
        (
            lambda adata: setattr(adata, "obs_names", ["\ud800", *WORDS[1:]]),
            r"adata.obs_names holds '\ud800'",
        ),
        (
            item(pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_product([["x"], [1, 2]]))),
            "adata.uns['new'] index holds",
        ),
    ],
)
def test_what_could_only_be_written_with_a_loss_is_named(change: Change, words: str) -> None:
    def with_total(adata: AnnData) -> None:
        adata.obs["total"] = 1
        change(adata)

    adata = counts(with_total)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are below
        writable(adata)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_with_a_slash_are_kept_or_renamed_as_anndata_has_it(tmp_path: Path) -> None:
    found, said = mended(column(1, "G1/S"), tmp_path)
    assert ("G1_S" if said else "G1/S") in found.obs
    if hasattr(anndata.settings, "disallow_forward_slash_in_h5ad"):
        with anndata.settings.override(disallow_forward_slash_in_h5ad=True):
            found, said = mended(lambda adata: (column(1, "G1_S")(adata), column(2, "G1/S")(adata)), tmp_path)
        assert "column 'G1/S' of obs is renamed to 'G1_S_'" in said
        assert found.obs["G1_S_"].eq(2).all()


def test_one_warning_tells_all_and_counts_the_rest() -> None:
    adata = counts(lambda adata: [column(1, number)(adata) for number in range(12)])
    with pytest.warns(UserWarning, match=r"column 0 of obs is renamed to '0'; .*; and 4 more\.$"):
        writable(adata)


def test_what_a_user_writes_is_mended_in_the_file_only(tmp_path: Path) -> None:
    adata = counts(column(1, "_index"))
    with pytest.warns(UserWarning, match="'index_'"):
        write_h5ad(adata, tmp_path / "x.h5ad")
    assert "index_" in anndata.read_h5ad(tmp_path / "x.h5ad").obs
    assert "_index" in adata.obs


# the command line


@pytest.fixture
def seurat(tmp_path: Path) -> Path:
    """A file as SeuratDisk writes it: a column ``_index`` beside the index."""
    adata = simulate.zisynth(n_obs=100)
    adata.raw = adata.copy()
    adata.write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        var = file["raw/var"]
        var.move(var.attrs["_index"], "features")
        var.create_dataset("_index", data=adata.var_names.to_numpy(object), dtype=h5py.string_dtype())
        var["_index"].attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        var.attrs["_index"] = "features"
        var.attrs["column-order"] = np.array(["_index"], dtype=object)
    return tmp_path / "x.h5ad"


@pytest.mark.filterwarnings("default:some of the data:UserWarning")
@pytest.mark.parametrize("verb", ["study", "tune"])
def test_it_is_said_before_the_work(
    verb: str,
    seurat: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from zinbtools import tl

    def stop(adata: AnnData, **_: object) -> None:
        assert "index_" in adata.raw.var
        raise RuntimeError("seen enough")

    for name in ("model_selection", "tune"):
        monkeypatch.setattr(tl, name, stop)
    assert cli.main([verb, str(seurat), "--out", str(tmp_path / "out")]) == 1
    assert "column '_index' of raw.var is renamed to 'index_'" in capsys.readouterr().err
