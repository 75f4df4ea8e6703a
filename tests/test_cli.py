from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import anndata
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from zinbtools import get, simulate, tl
from zinbtools.cli import run as cli
from zinbtools.cli._hints import in_shell
from zinbtools.cli.verbs import VERBS, Outcome

QUICK_FIT = ["--max-epochs", "1"]
QUICK = ["--folds", "1", *QUICK_FIT]


@pytest.fixture(autouse=True)
def _no_window() -> None:
    mpl.use("Agg")


@pytest.fixture
def counts(tmp_path: Path) -> AnnData:
    adata = simulate.zisynth(n_obs=200)
    adata.obs["sample"] = pd.Categorical(np.where(np.arange(200) % 2, "a", "b"))
    adata.write_h5ad(tmp_path / "counts.h5ad")
    return adata


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of a small study."""
    monkeypatch.setattr("zinbtools.study._write.pictures", lambda *_: [])


def run(tmp_path: Path, *words: str) -> int:
    return cli.main(["study", *words, "--out", str(tmp_path / "out")])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    *_, last = printed.err.splitlines()
    return last


def test_help_is_quick_to_load() -> None:
    script = "import sys; from zinbtools.cli import options, run; options.parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "scanpy", "anndata", "matplotlib", "numpy", "pandas"} & set(loaded.stdout.split())


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["study", "--help"],
        ["genes", "--help"],
        ["reads", "--help"],
        ["tune", "--help"],
        ["--version"],
    ],
)
def test_help_and_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^0$"):
        cli.main(words)
    printed = capsys.readouterr().out
    if words == ["--version"]:
        assert printed == f"zinbtools {version('zinbtools')}\n"
    else:
        assert "usage: zinbtools" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND"),
        (["study", "--out", "o"], "one of the arguments INPUT --simulate is required"),
        (["study", "a.h5ad"], "--out"),
        (["study", "a.h5ad", "--simulate", "zisynth", "--out", "o"], "not allowed with argument"),
        (
            ["study", "a.h5ad", "--restarts", "0", "--out", "o"],
            "--restarts: must be a whole number of at least 1 and below 2^31 or 'auto', found '0'",
        ),
        (
            ["study", "a.h5ad", "--counts", "fragments", "--out", "o"],
            "--counts: must be one of 'auto', 'molecules', 'reads', found 'fragments'",
        ),
        (
            ["study", "a.h5ad", "--folds", "two", "--out", "o"],
            "--folds: must be a whole number of at least 1",
        ),
        (
            ["study", "a.h5ad", "--n-jobs", "0", "--out", "o"],
            "--n-jobs: must be a whole number of at least 1",
        ),
        (["study", "a.h5ad", "--n-top-genes", "ten", "--out", "o"], "--n-top-genes: must be a whole number"),
        (["study", "a.h5ad", "--min-detection", "1", "--out", "o"], "must be a number from 0 to below 1"),
        (["study", "a.h5ad", "--lam", "0", "--out", "o"], "--lam is of simulated counts, and does not go"),
        (["genes", "a.h5ad", "--n-obs", "9", "--out", "o"], "--n-obs is of simulated counts"),
        (["study", "a.h5ad", "--raw", "--layer", "x", "--out", "o"], "give one of --raw and --layer"),
        (["study", "--simulate", "zisynth", "--modality", "rna", "--out", "o"], "--modality is of files"),
        (["study", "a.h5ad", "--test-share", "0", "--out", "o"], "must be a number between 0 and 1"),
        (["study", "a.h5ad", "--test-share", "0.2", "--folds", "5", "--out", "o"], "goes with --folds 1"),
        (["study", "a.h5ad", "--test-share", "0.2", "--config", "tuned", "--out", "o"], "of the search"),
        (["study", "a.h5ad", "--categorical-covariates", "a,", "--out", "o"], "must be a non-empty string"),
        (["reads", "a.h5ad", "--simulate", "zisynth", "--out", "o"], "unrecognized arguments: --simulate"),
        (["study", "a.h5ad", "--protocol", "blog2018", "--out", "o"], "--protocol: must be one of 'default'"),
        (["study", "a.h5ad", "--device", "tpu", "--out", "o"], "--device: must be 'auto', 'cpu' or 'cuda'"),
        (["study", "a.h5ad", "--layer", "", "--out", "o"], "--layer: must be a non-empty string, found ''"),
        (["study", "a.h5ad", "--seed", "-1", "--out", "o"], "--seed: must be a whole number of at least 0"),
        (["study", "a.h5ad", "--lam", "nan", "--out", "o"], "--lam: must be a finite number of at least 0"),
        (["study", "a.h5ad", "--resume", "", "--out", "o"], "--resume: must be a folder, found no name"),
        (["study", "a.h5ad", "--out", ""], "--out: must be a folder, found no name"),
        (["tune", "a.h5ad", "--space", "wide", "--out", "o"], "--space: must be one of 'default'"),
        (
            ["reproduce", "--table", "1", "--max-evals", "-1", "--out", "o"],
            "must be a whole number of at least 0",
        ),
    ],
)
def test_wrong_use_is_explained(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="^2$"):
        cli.main(words)
    assert message in capsys.readouterr().err


def with_raw(adata: AnnData, path: Path) -> Path:
    """Corrected counts in ``raw``, logarithms in X."""
    adata.X = adata.X.toarray() * 0.9
    adata.raw = adata
    adata.X = np.log1p(adata.X)
    adata.write_h5ad(path)
    return path


@pytest.mark.filterwarnings("ignore:.*they are rounded")
@pytest.mark.usefixtures("_no_pictures")
def test_counts_may_be_in_raw_and_corrected(
    counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(with_raw(counts, tmp_path / "raw.h5ad"))
    assert run(tmp_path, path, *QUICK) == 2
    assert "perhaps --layer true_counts or --raw; or round them" in error_of(capsys)
    assert run(tmp_path, path, "--raw", *QUICK) == 2
    assert error_of(capsys).endswith("if they are corrected counts: --round.")
    assert run(tmp_path, path, "--raw", "--round", "--restarts", "1", *QUICK) == 0
    found = anndata.read_h5ad(tmp_path / "out" / "annotated.h5ad")
    np.testing.assert_allclose(found.X, counts.raw.X[:, :50])
    tuning = [
        "tune",
        path,
        "--raw",
        "--round",
        "--max-evals",
        "1",
        *QUICK_FIT,
        "--out",
        str(tmp_path / "tuned"),
    ]
    assert cli.main(tuning) == 0


def test_raw_that_is_not_there_is_named(
    counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, str(tmp_path / "counts.h5ad"), "--raw", *QUICK) == 2
    assert "the input has no raw" in error_of(capsys)


def test_a_file_becomes_a_folder_of_results(
    counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        tmp_path,
        str(tmp_path / "counts.h5ad"),
        "--batch-key",
        "sample",
        "--n-top-genes",
        "20",
        "--seed",
        "5",
        *QUICK,
    )
    printed = capsys.readouterr().out
    assert code == 0
    assert "counts.h5ad: 200 cells x 50 genes\nkept 20 genes; dropped 0 cells" in printed
    assert "held-out NLL" in printed
    assert "20 test cells" in printed
    out = tmp_path / "out"
    adata = anndata.read_h5ad(out / "annotated.h5ad")
    assert adata.shape == (200, 20)
    assert not {"nb_mean", "zinb_mean", "zinb_dropout"} & set(adata.layers)
    source = json.loads((out / "summary.json").read_text(encoding="utf-8"))["input"]
    assert source["sha256"] == hashlib.sha256((tmp_path / "counts.h5ad").read_bytes()).hexdigest()
    params = adata.uns["zinbtools"]["params"]
    assert (params["batch_key"], params["max_epochs"]) == ("sample", 1)
    assert set(adata.var_names) == set(counts.var_names[np.argsort(-counts.X.toarray().var(axis=0))[:20]])
    nll = pd.read_csv(out / "metrics.csv").query("metric == 'nll'")
    assert set(nll["model"]) == {"nb", "zinb"}
    assert "--batch-key sample" in (out / "report.html").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"counts.h5ad", "out"}


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
@pytest.mark.usefixtures("_no_pictures")
def test_zarr_and_h5ad_give_the_same(
    counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("zarr")
    counts.layers["counts"], counts.X = counts.X, np.log1p(counts.X.toarray())
    counts.write_zarr(tmp_path / "logged.zarr")
    found = []
    for i, words in enumerate([["logged.zarr", "--layer", "counts"], ["counts.h5ad"]]):
        out = tmp_path / str(i)
        assert (
            cli.main(["study", str(tmp_path / words[0]), *words[1:], "--out", str(out), "--quiet", *QUICK])
            == 0
        )
        found.append((out / "metrics.csv").read_bytes())
    assert found[0] == found[1]
    printed = capsys.readouterr().out
    assert printed.count("model ") == 2
    assert "fitting" not in printed


@pytest.mark.usefixtures("_no_pictures")
def test_counts_can_be_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--simulate", "zisynth", "--lam", "0.1", "--n-obs", "150", "--layers", "--n-samples", "7"]
    assert run(tmp_path, *words, *QUICK) == 0
    assert "ZISynth, lambda = 0.1: 150 cells x 50 genes" in capsys.readouterr().out
    adata = anndata.read_h5ad(tmp_path / "out" / "annotated.h5ad")
    expected = simulate.zisynth(lam=0.1, n_obs=150)
    assert (adata.X != expected.X).nnz == 0
    assert set(adata.layers) - {None} == {"true_counts", "nb_mean", "zinb_mean", "zinb_dropout"}
    assert adata.uns["zinbtools"]["model_selection"]["params"]["n_samples"] == 7
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["input"] is None


@pytest.mark.usefixtures("_no_pictures")
def test_empty_cells_and_unseen_genes_are_dropped_and_told(
    counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense = counts.X.toarray()
    dense[:3] = 0
    dense[:, 7] = 0
    AnnData(dense).write_h5ad(tmp_path / "gaps.h5ad")
    assert run(tmp_path, str(tmp_path / "gaps.h5ad"), *QUICK) == 0
    assert "kept 49 genes; dropped 3 cells without a count of these" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.h5ad"], "there is no file .*absent.h5ad"),
        (["broken.h5ad"], "cannot read .*broken.h5ad as h5ad"),
        (["counts.bam"], r"counts.bam is of no kind that is read: .h5ad, .zarr"),
        (["counts.h5ad", "--modality", "rna"], "error: --modality rna is a part of an .h5mu file"),
        (["counts.h5ad", "--layer", "raw"], "layer 'raw' is not among the layers"),
        (["counts.h5ad", "--batch-key", "plate"], "error: --batch-key: 'plate' is no column of obs"),
        (["counts.h5ad", "--groupby", "type"], "error: --groupby: 'type' is no column of obs"),
        (["counts.h5ad", "--categorical-covariates", "x"], "error: --categorical-covariates: 'x' is no col"),
        (["twice.csv"], "found 'a' twice; add --var-names-make-unique"),
        (["turned.csv"], "its cells seem to be genes .*; give --transpose"),
        (["logged.h5ad"], "not whole, as .*log-transformed or normalised numbers are"),
    ],
)
@pytest.mark.usefixtures("counts")
def test_what_cannot_be_used_is_said_in_one_line_and_nothing_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.h5ad").write_text("this is not HDF5")
    (tmp_path / "counts.bam").write_text("1 2 3")
    (tmp_path / "turned.csv").write_text(",AAACCTGA-1,AAACCTGC-1\nRPL3,1,2\nMT-CO1,1,0\n")
    (tmp_path / "twice.csv").write_text(",a,a,b\nc1,1,2,3\nc2,0,1,1\nc3,2,0,1\n")
    AnnData(np.log1p(np.arange(12.0, dtype="float32").reshape(4, 3))).write_h5ad(tmp_path / "logged.h5ad")
    before = set(tmp_path.iterdir())
    assert run(tmp_path, str(tmp_path / words[0]), *words[1:]) == 2
    line = error_of(capsys)
    assert line.startswith("zinbtools: error: ")
    assert pd.Series([line]).str.contains(message).all(), line
    assert "'\"" not in line
    assert set(tmp_path.iterdir()) == before


def test_a_fit_that_fails_is_told_apart_from_wrong_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No fit:\n  the loss was not finite")

    monkeypatch.setattr(tl, "model_selection", fail)
    assert run(tmp_path, "--simulate", "zisynth", "--n-obs", "50") == 1
    assert error_of(capsys) == "zinbtools: the fit failed: No fit: the loss was not finite"


@pytest.mark.parametrize("mistake", [lambda: None + 1, lambda: {}["absent"], lambda: np.ones(2) + np.ones(3)])
def test_a_mistake_in_the_program_is_no_sentence_about_the_input(
    mistake: Callable[[], object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tl, "model_selection", lambda *_, **__: mistake())
    with pytest.raises((TypeError, KeyError, ValueError)) as caught:
        run(tmp_path, "--simulate", "zisynth", "--n-obs", "50", "--restarts", "1", *QUICK)
    assert "please report it" in caught.value.__notes__[0]
    assert "zinbtools: error" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ("auto", "threads")),
        (["--n-jobs", "3"], (3, "threads")),
        (["--n-jobs", "auto", "--processes"], ("auto", "processes")),
    ],
)
def test_the_number_of_workers_reaches_the_fit(
    words: list[str], expected: tuple[object, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def stop(*_: object, n_jobs: object, executor: object, **__: object) -> None:
        found.append((n_jobs, executor))
        raise RuntimeError("seen enough")

    monkeypatch.setattr(tl, "model_selection", stop)
    assert run(tmp_path, "--simulate", "zisynth", "--n-obs", "50", *words) == 1
    assert found == [expected]


@pytest.mark.parametrize(
    ("words", "expected"), [([], "auto"), (["--cells", "all"], "all"), (["--cells", "500"], 500)]
)
def test_how_many_cells_reaches_the_comparison(
    words: list[str], expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def stop(*_: object, cells: object, **__: object) -> None:
        found.append(cells)
        raise RuntimeError("seen enough")

    monkeypatch.setattr(tl, "model_selection", stop)
    assert run(tmp_path, "--simulate", "zisynth", "--n-obs", "50", *words) == 1
    assert found == [expected]


def test_what_the_models_are_told_and_how_they_are_compared_reaches_the_verb(
    counts: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts.obs["sex"], counts.obs["age"] = counts.obs["sample"], np.arange(200.0)
    counts.write_h5ad(tmp_path / "counts.h5ad")
    found: dict[str, object] = {}

    def stop(*_: object, **settings: object) -> None:
        found.update(settings)
        raise RuntimeError("seen enough")

    monkeypatch.setattr(tl, "model_selection", stop)
    words = (
        "--categorical-covariates sample,sex --continuous-covariates age --groupby sex --rope 2 --alpha 0.1"
    )
    path = str(tmp_path / "counts.h5ad")
    assert run(tmp_path, path, *words.split(), "--test-share", "0.28") == 1
    assert found["categorical_covariate_keys"] == ["sample", "sex"]
    assert found["continuous_covariate_keys"] == ["age"]
    assert (found["groupby"], found["rope"], found["alpha"]) == ("sex", 2.0, 0.1)
    assert found["split"] == pytest.approx((0.64, 0.08, 0.28))
    assert run(tmp_path, path, "--test-share", "0.28", "--protocol", "blog2019") == 1
    assert found["split"] == pytest.approx((0.72, 0, 0.28))


@pytest.mark.usefixtures("_no_pictures")
def test_genes_of_the_same_name_are_told_apart_on_request(counts: AnnData, tmp_path: Path) -> None:
    counts.to_df().rename(columns={counts.var_names[1]: counts.var_names[0]}).to_csv(tmp_path / "x.csv.gz")
    assert (
        run(tmp_path, str(tmp_path / "x.csv.gz"), "--var-names-make-unique", "--restarts", "1", *QUICK) == 0
    )
    genes = pd.read_csv(tmp_path / "out" / "genes.csv", index_col=0)
    assert {counts.var_names[0], f"{counts.var_names[0]}-1"} <= set(genes.index)


def test_genes_are_tested_without_a_study(
    counts: AnnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [str(tmp_path / "counts.h5ad"), "--batch-key", "sample", *QUICK_FIT, "--out", str(out)]
    assert cli.main(["genes", *words]) == 0
    assert "of 50 genes are zero-inflated" in capsys.readouterr().out
    table = pd.read_csv(out / "genes.csv", index_col="gene")
    tl.fit_nb_zinb(counts, models="nb", batch_key="sample", max_epochs=1, progress=False)
    tl.explain_zeros(counts)
    expected = get.zi_genes_df(counts)
    assert table["class"].tolist() == expected["class"].tolist()
    assert table.index.tolist() == expected.index.tolist()
    assert table["call"].tolist() == expected["call"].astype(str).tolist()
    np.testing.assert_allclose(table["score"], expected["score"])
    assert {path.name for path in out.iterdir()} == {"genes.csv", "zinbtools_genes.json"}
    assert cli.main(["genes", *words]) == 0
    assert "replacing the gene test of counts.h5ad" in capsys.readouterr().out


def test_reads_per_molecule_are_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reads = simulate.amplify(simulate.gamma_poisson(n_obs=300, n_vars=400), copies=10)
    reads.obs["plate"] = pd.Categorical(np.where(np.arange(300) % 2, "p1", "p2"))
    reads.write_h5ad(tmp_path / "reads.h5ad")
    out = tmp_path / "out"
    words = ["reads", str(tmp_path / "reads.h5ad"), "--batch-key", "plate", "--out", str(out), "--quiet"]
    assert cli.main(words) == 0
    assert "reads_per_molecule" in capsys.readouterr().out
    batches, cells = pd.read_csv(out / "reads.csv"), pd.read_csv(out / "cells.csv", index_col="cell")
    assert batches["batch"].tolist() == ["p1", "p2"]
    assert batches["reads_per_molecule"].between(9, 14).all()
    assert cells.columns.tolist()[:2] == ["plate", "reads_per_molecule"]
    assert len(cells) == 300


@pytest.mark.parametrize("verb", ["study", "genes", "tune"])
def test_a_device_that_is_not_there_is_told_before_a_file_is_read(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "broken.h5ad").write_text("this is not HDF5")
    words = [verb, str(tmp_path / "broken.h5ad"), "--device", "cuda", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 2
    assert "device is 'cuda', but torch sees no CUDA device" in error_of(capsys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layer 'x' is no layer", "layer 'x' is no layer"),  # a word of English stays one
        ("cannot read /a/layer=x/batch_key.h5ad", "cannot read /a/layer=x/batch_key.h5ad"),
        (
            "perhaps layer=None (X) or layer='raw counts'",
            "perhaps X (leave out --layer) or --layer 'raw counts'",
        ),
        ("config='tuned', but there is none", "--config tuned, but there is none"),
        ("min_detection=0.5 leaves no gene", "--min-detection 0.5 leaves no gene"),
        ("the batch_key; leave it out", "the --batch-key; leave it out"),
        ("rng must be a number", "--seed must be a number"),
    ],
)
def test_arguments_are_options_in_the_shell(text: str, expected: str) -> None:
    assert in_shell(text) == expected


@pytest.mark.parametrize("step", ["zinbtools.tl.model_selection", "zinbtools.study._pipeline.summary"])
def test_an_interrupt_leaves_nothing_behind(
    step: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step, interrupt)
    assert run(tmp_path, "--simulate", "zisynth", "--n-obs", "100", *QUICK) == 130
    assert error_of(capsys) == f"zinbtools: interrupted; nothing was written to {tmp_path / 'out'}"
    assert list(tmp_path.iterdir()) == []


def test_a_warning_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(arguments: object, *, command: str) -> Outcome:
        warnings.simplefilter("always")
        warnings.warn("mind the\n gap", UserWarning, stacklevel=1)
        return Outcome("", lambda folder: None)

    monkeypatch.setitem(VERBS, "study", warn)
    assert run(tmp_path, "--simulate", "zisynth") == 0
    assert capsys.readouterr().err == "zinbtools: UserWarning: mind the gap\n"


@pytest.mark.usefixtures("_no_pictures")
def test_names_are_in_utf8_in_every_locale(counts: AnnData, tmp_path: Path) -> None:
    """LC_ALL=C gives Python each byte of a word as one character that nobody can print."""
    counts.obs["größe"] = counts.obs["sample"]
    counts.write_h5ad(tmp_path / "größe.h5ad")
    key = "größe".encode().decode("ascii", "surrogateescape")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        assert run(tmp_path, str(tmp_path / "größe.h5ad"), "--batch-key", key, *QUICK) == 0
    assert "--batch-key &#39;größe" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("_no_pictures")
def test_what_was_made_is_kept_when_the_h5ad_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zinbtools.study._write.write_h5ad", fail)
    assert run(tmp_path, "--simulate", "zisynth", "--n-obs", "100", *QUICK) == 2
    printed = capsys.readouterr()
    assert "held-out NLL" in printed.out
    out = tmp_path / "out"
    reason = "could not make annotated.h5ad (No space left on device)"
    assert printed.err.splitlines()[-1] == f"zinbtools: error: --out: {reason}; the rest is in {out}."
    assert {"report.html", "genes.csv", "zinbtools_study.json"} <= {path.name for path in out.iterdir()}


def test_another_thread_of_a_program_leaves_signals_alone(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    found = []
    thread = threading.Thread(target=lambda: found.append(run(tmp_path, "absent.h5ad")))
    thread.start()
    thread.join()
    assert found == [2]
    assert run(tmp_path, "absent.h5ad") == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# zinbtools tune, and what both commands share

SEARCH = ["tune", "--simulate", "zisynth", "--n-obs", "100", "--max-epochs", "2", "--max-evals", "2"]


def test_what_is_tuned_goes_into_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned, kept = tmp_path / "tuned", tmp_path / "kept"
    words = [*SEARCH, "--space", "blog2019", "--resume", str(kept), "--out", str(tuned), "--quiet"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert {path.name for path in tuned.iterdir()} == {
        "tuned.h5ad",
        "trials.csv",
        "summary.csv",
        "tuning.png",
        "zinbtools_tune.json",
    }
    adata = anndata.read_h5ad(tuned / "tuned.h5ad")
    pd.testing.assert_frame_equal(
        pd.read_csv(tuned / "trials.csv").iloc[:, :-1], get.tuning_df(adata).iloc[:, :-1]
    )
    best = adata.uns["zinbtools"]["tuning"]["best"]["nb"]
    assert "default_nll" in printed
    assert str(best["n_hidden"]) in printed
    assert len(list(kept.glob("*.npz"))) == 6
    words = ["study", str(tuned / "tuned.h5ad"), "--config", "tuned", *QUICK]
    assert cli.main([*words, "--resume", str(tmp_path / "fits"), "--out", str(tmp_path / "study")]) == 0
    study = anndata.read_h5ad(tmp_path / "study" / "annotated.h5ad")
    assert len(list((tmp_path / "fits").glob("*.npz"))) == 6 * len(get.rivals_df(study))
    assert study.uns["zinbtools"]["params"]["n_hidden"] == best["n_hidden"]


def test_the_search_is_the_one_of_the_verb(tmp_path: Path) -> None:
    words = [*SEARCH, "--per-model", "--max-queue-len", "2", "--seed", "3", "--out", str(tmp_path), "--quiet"]
    assert cli.main(words) == 0
    expected = simulate.zisynth(lam=0.0, n_obs=100, rng=3)
    settings = {"max_evals": 2, "max_epochs": 2, "shared": False, "max_queue_len": 2, "rng": 3}
    tl.tune(expected, **settings, progress=False)
    found = anndata.read_h5ad(tmp_path / "tuned.h5ad")
    pd.testing.assert_frame_equal(get.tuning_df(found), get.tuning_df(expected), check_exact=True)


def test_an_interrupted_search_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zinbtools.model import search

    n_done = 0

    def interrupt(*arguments: object, **options: object) -> object:
        nonlocal n_done
        n_done += 1
        if n_done == 3:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    train, kept, out = search.train, tmp_path / "kept", tmp_path / "out"
    command = [*SEARCH, "--n-jobs", "1", "--resume", str(kept), "--out", str(out), "--quiet"]
    monkeypatch.setattr(search, "train", interrupt)
    assert cli.main(command) == 130
    assert error_of(capsys) == (
        f"zinbtools: interrupted; nothing was written to {out}; the same command goes on from {kept}"
    )
    assert len(list(kept.glob("*.npz"))) == 2
    assert not out.exists()
    assert cli.main(command) == 0
    assert n_done == 7


def test_a_study_can_run_on_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    found = []

    def stop(*_: object, executor: object, **__: object) -> None:
        found.append(executor if isinstance(executor, str) else executor.submit(abs, -3).result())
        raise RuntimeError("seen enough")

    monkeypatch.setattr(tl, "model_selection", stop)
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        words = ["--simulate", "zisynth", "--n-obs", "50"]
        assert run(tmp_path, *words, "--dask", cluster.scheduler_address) == 1
        assert run(tmp_path, *words) == 1
    assert found == [3, "threads"]


def test_a_cluster_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--simulate", "zisynth", "--n-obs", "50", "--dask", "nowhere"]
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run(tmp_path, *words) == 2
    assert "--dask needs dask.distributed: pip install 'zinbtools[dask]'" in error_of(capsys)
    monkeypatch.undo()
    distributed = pytest.importorskip("distributed")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", unreachable)
    assert run(tmp_path, *words) == 2
    assert error_of(capsys) == (
        "zinbtools: error: cannot reach a dask scheduler at nowhere: Timed out trying to connect"
    )
