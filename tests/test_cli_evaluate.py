"""`zinbtools evaluate`: models that scvi-tools saved. What needs scvi-tools is skipped without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from zinbtools import get, simulate
from zinbtools.cli import run as cli

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def scvi() -> Any:
    return pytest.importorskip("scvi", reason="scvi-tools is not installed")


@pytest.fixture
def counts(tmp_path: Path) -> AnnData:
    """Of 200 cells in two samples, in a layer."""
    adata = simulate.zisynth(n_obs=200)
    adata.obs["sample"] = pd.Categorical(np.where(np.arange(200) % 2, "a", "b"))
    adata.layers["raw"], adata.X = adata.X, np.log1p(adata.X)
    adata.write_h5ad(tmp_path / "counts.h5ad")
    return adata


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time."""
    monkeypatch.setattr("zinbtools.study._write.pictures", lambda *_: [])


def saved(scvi: Any, adata: AnnData, likelihood: str, folder: Path, seed: int = 0, **how: Any) -> Path:
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(adata, layer="raw", batch_key="sample")
    model = scvi.model.SCVI(adata, gene_likelihood=likelihood, n_hidden=16, use_observed_lib_size=False)
    model.train(max_epochs=20, accelerator="cpu", enable_progress_bar=False)
    model.save(str(folder), **how)
    return folder


def run(tmp_path: Path, *models: Path, file: str = "counts.h5ad") -> int:
    words = [word for model in models for word in ("--scvi", str(model))]
    return cli.main(["evaluate", str(tmp_path / file), *words, "--out", str(tmp_path / "out"), "--quiet"])


def test_a_saved_pair_gets_verdict_and_report(
    scvi: Any, counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = counts[:, 5:].copy()
    pair = [saved(scvi, trained, name, tmp_path / name) for name in ("zinb", "nb")]
    assert run(tmp_path, *pair) == 0
    printed = capsys.readouterr()
    assert "the 20 validation cells are taken for them" in printed.err
    assert "INFO" not in printed.out + printed.err
    found = anndata.read_h5ad(tmp_path / "out" / "annotated.h5ad")
    verdict = get.verdict(found, key="scvi")
    assert verdict.sentence in printed.out
    assert found.n_vars == 45
    assert (verdict.differences["n_cells"].iloc[0], verdict.differences["n_restarts"].iloc[0]) == (20, 1)
    assert any("training of the NB had not levelled off" in caution for caution in verdict.cautions)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["verdict"]["answer"] == verdict.verdict
    report = (tmp_path / "out" / "report.html").read_text()
    assert verdict.headline in report
    assert "figures" in {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.usefixtures("_no_pictures")
def test_one_model_is_checked_and_pairs_like_it_are_compared(
    scvi: Any, counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Saved with its own cells, it is evaluated on any: those that it knows are told by name."""
    model = saved(scvi, counts[:120].copy(), "zinb", tmp_path / "zinb", save_anndata=True)
    assert run(tmp_path, model) == 0
    printed = capsys.readouterr().out
    assert "The ZINB as scvi-tools trained it, on 80 test cells:" in printed
    assert "Pairs that zinbtools trained with its architecture and columns:" in printed
    found = anndata.read_h5ad(tmp_path / "out" / "annotated.h5ad")
    assert found.obs["scvi_split"].value_counts()[["train", "test"]].tolist() == [108, 80]
    assert found.obs["scvi_zinb_marginal_ll"].notna().sum() == 80
    params = found.uns["zinbtools"]["params"]
    assert (params["n_hidden"], params["layer"], params["batch_key"]) == (16, "raw", "sample")
    assert get.verdict(found).sentence in printed


def test_what_cannot_be_loaded_is_told(
    scvi: Any, counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(scvi, counts, "nb", tmp_path / "nb")
    counts[:150].copy().write_h5ad(tmp_path / "fewer.h5ad")
    counts[:, :40].copy().write_h5ad(tmp_path / "genes.h5ad")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.pt").write_bytes(b"no model")
    for file, folders, words in (
        ("fewer.h5ad", [model], r"was trained on 200 cells, and there are 150. Give the counts"),
        ("genes.h5ad", [model], r"the counts lack 10 genes of the model"),
        ("counts.h5ad", [tmp_path / "absent"], "must be a folder that SCVI.save made, found no model.pt"),
        ("counts.h5ad", [tmp_path / "broken"], "scvi-tools cannot read"),
        ("counts.h5ad", [model, model], "found nb, nb; evaluate each by itself"),
    ):
        assert run(tmp_path, *folders, file=file) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error


def test_a_pair_without_cells_that_are_new_to_both(
    scvi: Any, counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = counts[:30].copy()
    small.write_h5ad(tmp_path / "counts.h5ad")
    pair = [saved(scvi, small, name, tmp_path / name, seed) for seed, name in enumerate(("nb", "zinb"), 5)]
    assert run(tmp_path, *pair) == 2
    error = capsys.readouterr().err
    assert "cells are new to both models, and at least 2 are needed" in error
    assert "let zinbtools study train pairs of its own" in error


def test_more_than_two_models_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "counts.h5ad", *["--scvi", "model"] * 3, "--out", "out"])
    assert "--scvi goes with one model, or with an NB and a ZINB" in capsys.readouterr().err


def test_without_scvi_tools_it_says_what_to_install(
    counts: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "scvi.model", None)
    assert run(tmp_path, tmp_path / "model") == 2
    assert "--scvi needs scvi-tools: pip install scvi-tools." in capsys.readouterr().err
