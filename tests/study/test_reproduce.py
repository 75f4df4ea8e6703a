"""The study's tables again."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anndata import AnnData

from zinbtools import tl
from zinbtools.cli import run as cli
from zinbtools.study import _reproduce, reproduce
from zinbtools.study._printed import METRICS, ROWS

IN_FILE = {
    "nll": "negative_LL",
    "ks_dropout_ratio": "dropout_ratio_KS",
    "ks_zeros_to_expression": "zeros_to_expression_KS",
    "ks_cv": "coefficient_of_variation_KS",
}


def test_printed_figures_are_those_of_the_transcription(shared_data: Path) -> None:
    with (shared_data / "reference" / "blog_tables.csv").open() as file:
        printed = list(csv.DictReader(file))
    ours = {(row.name, IN_FILE[m]): (row, row.metrics[m]) for row in ROWS for m in METRICS}
    assert len(printed) == len(ours) == 60
    for line in printed:
        row, figures = ours[line["dataset"], line["metric"]]
        assert row.table == int(line["table"])
        assert row.mean_dropout == float(line["average_zero_inflation"])
        assert figures == (float(line["nb_median"]), float(line["zinb_median"]), line["bold"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Few cells, few epochs; a list of the comparisons that were made."""
    made: list[Any] = []
    whole, search, simulate = tl.model_selection, tl.tune, _reproduce.simulate.zisynth

    def short(adata: AnnData, **settings: Any) -> None:
        made.append(settings)
        whole(adata, **settings, max_epochs=2, n_samples=5, n_null=5)

    def short_search(adata: AnnData, **settings: Any) -> None:
        made.append({"search": settings})
        search(adata, **settings, max_epochs=2, n_samples=5)

    monkeypatch.setattr(_reproduce.tl, "model_selection", short)
    monkeypatch.setattr(_reproduce.tl, "tune", short_search)
    monkeypatch.setattr(_reproduce.simulate, "zisynth", lambda **given: simulate(n_obs=200, **given))
    return made


def test_rows_stand_beside_the_printed_ones(quick: list[Any]) -> None:
    found = reproduce(1, n_restarts=3, max_evals=0, names=["0", "10"], progress=False)
    assert [settings["protocol"] for settings in quick] == ["blog2019", "default"] * 2
    table = found.table
    assert len(table) == 2 * 2 * 4
    first = table.iloc[0]
    assert (first["nb_printed"], first["zinb_printed"], first["better_printed"]) == (185.108, 166.256, "zinb")
    assert table["nb_runs"].eq(3).all()
    same = table["better"] == table["better_printed"]
    assert (table["agreement"] == "agree").equals(same)
    assert np.isfinite(found.data["mean_dropout"]).all()
    for words in ("protocol blog2019", "protocol default", "ZISynth lambda=10"):
        assert words in str(found)


def test_the_study_searched_for_settings_first(quick: list[Any], tmp_path: Path) -> None:
    names: dict[str, Any] = {"names": ["1"], "resume": tmp_path, "progress": False}
    found = reproduce(1, n_restarts=2, max_evals=2, **names)
    search, tuned, default = quick
    assert (search["search"]["space"], search["search"]["shared"]) == ("blog2019", False)
    assert (tuned["config"], tuned["split"]) == ("tuned", (0.8, 0.0, 0.2))
    assert "config" not in default
    assert np.isfinite(found.table[["nb", "zinb"]]).all(axis=None)
    again = reproduce(1, n_restarts=2, max_evals=2, **names)
    assert len(quick) == 3
    assert found.table.to_csv() == again.table.to_csv()


def test_what_is_finished_is_not_done_again(quick: list[Any], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"names": ["0.1"], "resume": tmp_path, "progress": False}
    first = reproduce(1, n_restarts=2, protocols=["default"], **settings)
    again = reproduce(1, n_restarts=2, protocols=["default"], **settings)
    assert len(quick) == 1
    assert first.table.to_csv() == again.table.to_csv()
    assert first.data.to_csv() == again.data.to_csv()
    reproduce(1, n_restarts=3, protocols=["default"], **settings)
    assert len(quick) == 2


def test_data_sets_that_are_not_there_are_named(quick: list[Any], shared_data: Path, tmp_path: Path) -> None:
    zheng = shared_data / "data" / "ercc_zheng2017_gemcode.h5ad"
    files = {"zheng_ercc": zheng, "klein_ercc": tmp_path / "absent.h5ad"}
    found = reproduce(
        2,
        n_restarts=2,
        names=["zheng_ercc", "klein_ercc"],
        protocols=["default"],
        files=files,
        progress=False,
    )
    assert set(found.table["dataset"]) == {"Zheng 2017 ERCC"}
    assert "does not exist" in found.left_out["Klein 2015 ERCC"]
    with pytest.raises(ValueError, match="none of the data sets of table 2"):
        reproduce(2, names=["klein_ercc"], files=files, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, {}), "table must be one of 1, 2, 3, .all., found 4"),
        ((1, {"max_evals": -1}), "max_evals"),
        ((1, {"names": ["7"]}), "'7'"),
        ((1, {"protocols": ["old"]}), "'old'"),
    ],
)
def test_what_there_is_not(arguments: tuple[Any, dict[str, Any]], message: str) -> None:
    table, settings = arguments
    with pytest.raises(ValueError, match=message):
        reproduce(table, **settings)


def test_all_tables_at_once(quick: list[Any], shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"zheng_ercc": shared_data / "data" / "ercc_zheng2017_gemcode.h5ad"}
    found = reproduce("all", n_restarts=2, names=["10", "zheng_ercc"], protocols=["default"], files=files)
    assert found.data[["table", "dataset"]].to_numpy().tolist() == [
        [1, "ZISynth lambda=10"],
        [2, "Zheng 2017 ERCC"],
    ]
    assert found.table["table"].value_counts().to_dict() == {1: 4, 2: 4}
    said = capsys.readouterr().out
    assert "ZISynth lambda=10: simulated" in said
    assert f"Zheng 2017 ERCC: from {files['zheng_ercc']}" in said
    with pytest.raises(ValueError, match=r"there is no 'zebra' in the three tables; there are 0, 0\.001"):
        reproduce("all", names=["zebra"])


def test_the_command_writes_the_table(
    quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table1"
    words = ["reproduce", "--table", "1", "--restarts", "2", "--dataset", "0.01", "--protocol", "default"]
    assert cli.main([*words, "--quiet", "--out", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == [
        "data.csv",
        "table.csv",
        "table.txt",
        "zinbtools_reproduce.json",
    ]
    assert "ZISynth lambda=0.01" in capsys.readouterr().out
    assert "--dataset 0.01" in (out / "table.txt").read_text()
    words = [*words[:1], "--all", *words[3:], "--dataset", "1", "--out", str(tmp_path / "all")]
    assert cli.main(words) == 0
    assert "Tables 1 to 3" in (tmp_path / "all" / "zinbtools_reproduce.json").read_text()
