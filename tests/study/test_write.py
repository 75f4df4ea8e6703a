from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anndata
import h5py
import matplotlib.image as mpl_image
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from compare import assert_same_anndata
from fake_fit import fake_fit

from zinbtools import get, pl
from zinbtools._record.parts import FAILURES
from zinbtools.study import (
    Incomplete,
    Study,
    _write,
    conclusion,
    parts,
    report_html,
    source_of,
    summary,
    summary_json,
    write_study,
)
from zinbtools.study._diagnostics import diagnostics
from zinbtools.study._manifest import FILES as KNOWN

FILES = {
    "annotated.h5ad",
    "report.html",
    "summary.json",
    "metrics.csv",
    "genes.csv",
    "ppc.csv",
    "history.csv",
    "differences.csv",
    "rivals.csv",
    "model_selection.csv",
    "figures/dropout.png",
    "figures/history.png",
    "figures/model_selection.png",
    "figures/verdict.png",
    "figures/ppc_cv.png",
    "figures/ppc_dropout_ratio.png",
    "figures/ppc_zeros_to_expression.png",
    "figures/zero_study.png",
    "figures/zi_scores.png",
    "figures/zero_causes.png",
    "figures/consequences.png",
}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def write(study: Study, folder: Path, **options: Any) -> str:
    folder.mkdir(exist_ok=True)
    write_study(study, folder, **({"title": "some counts"} | options))
    return (folder / "report.html").read_text(encoding="utf-8")


def test_everything_is_written_and_reads_back(study: Study, tmp_path: Path) -> None:
    write(study, tmp_path)
    assert files_in(tmp_path) == FILES
    adata = anndata.read_h5ad(tmp_path / "annotated.h5ad")
    for name in ("metrics", "ppc", "history"):
        frame = getattr(get, f"{name}_df")(adata)
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"{name}.csv"), frame, check_dtype=False)
    genes = pd.read_csv(tmp_path / "genes.csv", index_col="gene")
    expected = get.zi_genes_df(study.adata)
    # which have a type of their own in pandas 3
    of_text = [name for name in expected if expected[name].dtype == object]
    assert genes.index.tolist() == expected.index.tolist()
    assert genes[of_text].to_numpy().tolist() == expected[of_text].to_numpy().tolist()
    numbers = (frame.drop(columns=of_text).reset_index(drop=True) for frame in (genes, expected))
    pd.testing.assert_frame_equal(*numbers)
    for path in (tmp_path / "figures").iterdir():
        if path.stem not in ("model_selection", "zero_causes"):  # which have several panels
            assert mpl_image.imread(path).shape[1] == pytest.approx(3.4 * 240, abs=1)
    assert plt.get_fignums() == []


def test_the_annotated_file_is_compressed(study: Study, tmp_path: Path) -> None:
    study.adata.layers["more"] = np.zeros((400, 60), dtype="float32")
    write(study, tmp_path)
    with h5py.File(tmp_path / "annotated.h5ad") as file:
        assert file["layers/more"].compression == "gzip"
        assert file["layers/more"].id.get_storage_size() < 0.05 * 400 * 60 * 4


def test_the_layers_of_the_fit_are_written_on_request_only(study: Study, tmp_path: Path) -> None:
    study.adata.layers["mine"], study.adata.raw = study.adata.X.copy(), study.adata[:, :5].copy()
    before = study.adata.copy()
    (tmp_path / "whole").mkdir()
    write_study(study, tmp_path / "whole", title="x", layers=True)
    whole = anndata.read_h5ad(tmp_path / "whole" / "annotated.h5ad")
    assert set(whole.layers) - {None} == {"mine", "true_counts", "nb_mean", "zinb_mean", "zinb_dropout"}
    write(study, tmp_path)
    assert_same_anndata(study.adata, before)
    found = anndata.read_h5ad(tmp_path / "annotated.h5ad")
    assert set(found.layers) - {None} == {"mine", "true_counts"}
    for name in ("nb_mean", "zinb_mean", "zinb_dropout"):
        del whole.layers[name]
    assert_same_anndata(found, whole)
    assert found.raw.shape == (400, 5)


def test_without_layers_the_zero_study_is_left_out(study: Study, tmp_path: Path) -> None:
    del study.adata.layers["zinb_dropout"]
    report = write(study, tmp_path)
    assert files_in(tmp_path) == FILES - {"figures/zero_study.png"}
    assert report.count("<img") == 10


def test_what_changes_with_the_model_is_told_where_it_is_known(study: Study, tmp_path: Path) -> None:
    sentence = study.adata.uns["zinbtools"]["consequences"]["sentence"]
    with_it = Page(write(study, tmp_path / "with"))
    assert sentence in " ".join(with_it.words)
    told = json.loads((tmp_path / "with" / "summary.json").read_text("utf-8"))["consequences"]
    assert told == {"position": "outside", "sentence": sentence}
    del study.adata.uns["zinbtools"]["consequences"]
    without = Page(write(study, tmp_path / "without"))
    assert files_in(tmp_path / "without") == FILES - {"figures/consequences.png"}
    assert "What changes with the model" not in " ".join(without.words)
    told = json.loads((tmp_path / "without" / "summary.json").read_text("utf-8"))["consequences"]
    assert told == {"position": None, "sentence": None}


# the report


class Page(HTMLParser):
    """What a page loads, shows and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [values[name] or "" for name in ("src", "href", "srcset") if name in values]
        if tag == "img":
            self.alts.append(values.get("alt") or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_needs_nothing_but_itself(study: Study, tmp_path: Path) -> None:
    report = write(study, tmp_path)
    page = Page(report)
    pictures = [source for source in page.loads if not source.startswith("#")]
    assert len(pictures) == len(set(pictures)) == 22  # eleven of them, for a light page and for a dark one
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in pictures)
    assert not {"link", "iframe", "object", "base", "form"} & set(page.tags)
    assert "default-src 'none'" in report
    assert not re.search(r"https?://|@import|url\(", report)
    assert "viewport" in report
    assert all(len(alt) > 20 for alt in page.alts)


def test_the_verdict_comes_first_and_the_rest_is_there(study: Study, tmp_path: Path) -> None:
    page = Page(write(study, tmp_path, command="zinbtools study x.h5ad"))
    text = " ".join(" ".join(page.words).split())
    found = get.verdict(study.adata)
    parts = [
        found.headline,
        found.plain,
        *found.cautions,
        found.numbers,
        "The difference, and every restart",
        "Did every training",
        "The two models",
    ]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert page.tags.index("p") < page.tags.index("img") < page.tags.index("table")
    best = summary(study.adata, best=True)
    for model, which in (("nb", 1), ("zinb", 0)):
        assert f"{model.upper()}, mean of 2 restarts {study.table.loc[model, 'nll']:.3f} ± 0.020" in text
        assert f"{model.upper()}, best restart ({which}) {best.loc[model, 'nll']:.3f} ± 0.020" in text
    assert page.tags.count("details") == 2  # the best restarts, and every number
    for part in (
        "400 cells × 60 genes (240 train, 80 validation, 80 test cells)",
        "zinbtools study x.h5ad",
        "best restart nb: 1, zinb: 0",
        "anndata",
    ):
        assert part in text
    top = get.zi_genes_df(study.adata).index[:25]
    table = text[text.index("Gain: by how much") - 4000 :]
    positions = [table.index(f" {gene} ") for gene in top]
    assert positions == sorted(positions)


def test_a_check_of_ones_own_brings_its_words(study: Study, tmp_path: Path) -> None:
    results = study.adata.uns["zinbtools"]["ppc"]
    for table in (results["genes"], results["ks"], results["checks"]):
        table["check"] = table["check"].replace("cv", "fano")
    own = {"label": "variance over mean", "short": "Fano factor", "reading": "Poisson counts have one."}
    checks = results["checks"].set_index("check")
    checks.loc["fano", list(own)] = list(own.values())
    results["checks"] = checks.reset_index()
    page = Page(write(study, tmp_path))
    text = " ".join(" ".join(page.words).split())
    assert "Fano factor, predicted How to read it. Poisson counts have one." in text
    assert re.search(r"Distances of the data: .*Fano factor 0\.\d+, its own draws", text)
    assert "Fano factor, ZINB" in text
    assert (tmp_path / "figures" / "ppc_fano.png").is_file()
    assert pl.ppc(study.adata, checks="fano", show=False)[0].get_title() == "variance over mean"


def test_all_genes_can_be_searched(study: Study) -> None:
    genes = get.zi_genes_df(study.adata)
    rows = gene_data(report_html(study, [], title="counts"))
    assert [row[0] for row in rows] == genes.index.tolist()
    assert [float(row[2]) for row in rows] == pytest.approx(genes["score"], rel=5e-3, abs=1e-12)
    assert {len(row) for row in rows} == {8}


def gene_data(report: str) -> list[list[str]]:
    found = re.search(r'<script type="application/json" id="genes-data">(.*?)</script>', report, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_names_cannot_break_the_page(study: Study) -> None:
    best = get.zi_genes_df(study.adata).index[0]
    evil = f"</script><b>{best}"
    study.adata.var_names = [evil if name == best else name for name in study.adata.var_names]
    study.adata.uns["zinbtools"]["params"]["var_names"] = list(study.adata.var_names)
    report = report_html(study, [], title="<script>alert(1)</script>")
    page = Page(report)
    assert page.tags.count("script") == 2
    assert "b" not in page.tags
    assert evil in page.words
    assert gene_data(report)[0][0] == evil


def test_calls_are_counted_and_can_be_chosen(study: Study) -> None:
    study.adata.var["zi_call"] = pd.Categorical(
        np.repeat(["zero-inflated", "negligible", "undecided"], [10, 20, 30])
    )
    report = report_html(study, [], title="counts")
    assert "Of 60 genes: 10 zero-inflated, 30 undecided, 20 negligible." in report
    assert Page(report).tags.count("option") == 4


def test_hundreds_of_rows_are_not_printed(study: Study) -> None:
    assert "<details data-long>" not in report_html(study, [], title="counts")
    results = study.adata.uns["zinbtools"]
    results["metrics"] = pd.concat([results["metrics"]] * 5, ignore_index=True)
    assert report_html(study, [], title="counts").count("<details data-long>") == 1


def test_a_restart_that_failed_is_not_hidden(study: Study) -> None:
    message = "the loss of the ZINB model, restart 1, was not finite."
    assert message[1:] not in report_html(study, [], title="counts")
    failure = pd.DataFrame([("zinb", 1, 3, 7, "no single gene", message)], columns=FAILURES.holds)
    study.adata.uns["zinbtools"]["failures"] = failure
    assert "The loss of the ZINB model, restart 1, was not finite." in report_html(study, [], title="counts")


# what fails at the end


def broken(*_: object, **__: object) -> None:
    raise ValueError("something new")


@pytest.mark.parametrize(
    ("function", "missing", "rest"),
    [
        ("write_h5ad", "annotated.h5ad", FILES - {"annotated.h5ad"}),
        ("report_html", "report.html", FILES - {"report.html"}),
        ("pictures", "figures", {file for file in FILES if not file.startswith("figures/")}),
    ],
)
def test_what_fails_costs_nothing_else(
    function: str,
    missing: str,
    rest: set[str],
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_write, function, broken)
    with pytest.raises(Incomplete, match=rf"could not make {missing} \(something new\)$"):
        write_study(study, tmp_path, title="some counts")
    assert files_in(tmp_path) == rest


def test_half_a_file_does_not_stay(tmp_path: Path) -> None:
    def work() -> None:
        with parts(tmp_path) as part:
            with part("a.csv") as path:
                path.write_text("half")
                raise OSError(28, "No space left on device")
            with part("b.csv") as path:
                path.write_text("all")

    with pytest.raises(Incomplete, match=r"^--out: could not make a.csv \(No space left on device\)$"):
        work()
    assert files_in(tmp_path) == {"b.csv"}


def test_every_file_of_a_study_is_known_before(study: Study, tmp_path: Path) -> None:
    write(study, tmp_path)
    assert files_in(tmp_path) == set(KNOWN["study"])


# for programs


def test_the_summary_is_json_with_the_numbers_of_the_verdict(tmp_path: Path) -> None:
    adata = fake_fit(calls=True)
    study = Study(adata, None, summary(adata), conclusion(adata))
    adata.uns["zinbtools"]["model_selection"]["differences"]["se"] = np.nan
    write(study, tmp_path, title="some <counts>")
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    verdict, row = get.verdict(adata), get.verdict(adata).differences.iloc[0]
    assert (found["zinbtools_summary"], found["title"]) == (1, "some <counts>")
    assert found["verdict"]["answer"] == verdict.verdict == "zinb"
    assert found["verdict"]["sentence"] == verdict.sentence
    assert found["verdict"]["cautions"] == list(verdict.cautions)
    assert found["difference"]["low"] == row["low"]
    assert found["difference"]["se"] is None
    assert found["difference"]["nb_nll"] - found["difference"]["zinb_nll"] == pytest.approx(row["difference"])
    genes = get.zi_genes_df(adata)
    assert found["genes"]["n_zero_inflated"] == (genes["call"] == "zero-inflated").sum()
    assert set(found["genes"]["zero_inflated"]) <= set(genes.index[genes["call"] == "zero-inflated"])
    calls = ("n_zero_inflated", "n_negligible", "n_undecided")
    assert sum(found["genes"][name] for name in calls) == found["genes"]["n"] == adata.n_vars
    assert [light["level"] for light in found["diagnostics"]] == [light.level for light in diagnostics(adata)]


def test_report_and_summary_name_the_input(study: Study, tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("abc")
    source = source_of(tmp_path / "counts.csv")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of abc, FIPS 180-2
    report = write(study, tmp_path / "out", source=source)
    assert f"Input: counts.csv (3 bytes), SHA-256 <code>{sha256}</code>" in report
    found = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["input"]
    assert found == {"name": "counts.csv", "n_files": 1, "n_bytes": 3, "sha256": sha256}
    assert "SHA-256" not in report_html(study, [], title="x")
    assert json.loads(summary_json(study, title="x"))["input"] is None


def test_the_fields_of_the_summary_are_those_of_the_docs(study: Study) -> None:
    page = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    told = page[page.index("## For other programs") : page.index("## Data sets")]
    content = json.loads(summary_json(study, title="x", source=source_of(Path(__file__))))
    names = {*content, *(name for part in content.values() if isinstance(part, dict) for name in part)}
    assert [name for name in sorted(names) if f"`{name}`" not in told] == []
