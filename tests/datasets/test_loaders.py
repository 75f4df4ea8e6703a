"""What is chosen of a data set, on real spike-ins and on made ones; and, asked for, the real homes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData
from dataset_files import write_loom

from zinbtools import datasets
from zinbtools.datasets import from_files, rnamix, svensson_ercc, ziegenhain2017
from zinbtools.datasets._registry import REGISTRY

LOADERS: dict[str, Callable[[], AnnData]] = {
    **{name: getattr(datasets, name) for name in REGISTRY if hasattr(datasets, name)},
    **{f"svensson_ercc_{which}": partial(svensson_ercc, which) for which in (1, 2)},
    "ziegenhain2017_celseq2": ziegenhain2017,
    "ziegenhain2017_scrbseq": partial(ziegenhain2017, "SCRB-seq"),
    "rnamix_celseq2": rnamix,
    "rnamix_sortseq": partial(rnamix, "SORT-seq"),
}


def write_droplets(path: Path, counts: list[list[float]], genes: list[str]) -> Path:
    adata = AnnData(np.array(counts, dtype=np.float32))
    adata.var_names = genes
    adata.write_h5ad(path)
    return path


def write_retina(path: Path, counts: np.ndarray) -> Path:
    columns = {name: np.zeros((len(counts), 1)) for name in ("BatchID", "ClusterID")}
    return write_loom(path, counts, [f"gene{i}" for i in range(counts.shape[1])], columns)


GARBAGE = [
    b"",
    b"\x89HDF\r\n\x1a\n",
    b"PK\x03\x04 cut",
    b"\x1f\x8b\x08 cut",
    b"\xff\xfe\x00 no text",
    b"a,b\n1\n",
]


@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "pbmc"])
def test_what_is_no_data_set_is_one_sentence_that_names_the_file(
    name: str, content: bytes, tmp_path: Path
) -> None:
    for file in REGISTRY[name].files.values():
        (tmp_path / file.name).write_bytes(content)
    with pytest.raises(ValueError, match=str(tmp_path)) as caught:
        from_files(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_real_zheng_spike_ins(shared_data: Path) -> None:
    adata = from_files("zheng_ercc", shared_data / "data" / "ercc_zheng2017_gemcode.h5ad")
    assert adata.shape == REGISTRY["zheng_ercc"].shape == (1015, 57)
    assert 1 - adata.X.nnz / (1015 * 57) == pytest.approx(0.18, abs=0.005)


def test_spike_ins_are_found_in_more_than_21_percent(tmp_path: Path) -> None:
    # 100 droplets with spike-ins and one without, which must not count: 21 of 100 is not more than 21 %.
    counts = np.zeros((101, 4))
    counts[:100, 0] = 1
    counts[:21, 1] = 1
    counts[:22, 2] = 1
    counts[:, 3] = 5
    path = write_droplets(tmp_path / "x.h5ad", counts.tolist(), ["ERCC-1", "ercc-2", "spike_Ercc-3", "ACTB"])
    adata = from_files("zheng_ercc", path)
    assert adata.var_names.tolist() == ["ERCC-1", "spike_Ercc-3"]
    assert adata.n_obs == 100


def test_droplets_that_rare_spike_ins_leave_empty_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = [[1, 0], [2, 0], [3, 0], [4, 0], [0, 7]]
    path = write_droplets(tmp_path / "x.h5ad", counts, ["ERCC-1", "ERCC-2"])
    with caplog.at_level(logging.INFO, logger="zinbtools.datasets"):
        adata = from_files("klein_ercc", path)
    assert adata.X.toarray().ravel().tolist() == [1, 2, 3, 4]
    assert adata.uns["dataset"]["n_cells_left_out"] == 1
    assert "klein_ercc: 1 of 5 cells have no count in the chosen genes" in caplog.text


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no gene with ERCC in its name"):
        from_files("zheng_ercc", write_droplets(tmp_path / "x.h5ad", [[1, 2]], ["A", "B"]))
    for values in ([[0.5, 1]], [[-1, 1]], [[np.nan, 1]]):
        with pytest.raises(ValueError, match="other numbers than counts"):
            from_files("zheng_ercc", write_droplets(tmp_path / "x.h5ad", values, ["ERCC-1", "ERCC-2"]))


def test_the_largest_variances_win_and_of_equals_the_first(tmp_path: Path) -> None:
    counts = np.array([[1, 2, 0, 9, 0], [1, 0, 2, 0, 0], [1, 2, 0, 0, 0], [1, 0, 2, 0, 2]])
    path = write_retina(tmp_path / "retina.loom", counts)
    assert from_files("retina", path, n_top_genes=2).var_names.tolist() == ["gene1", "gene3"]
    assert from_files("retina", path, n_top_genes=None).n_vars == 5
    assert from_files("retina", path).n_vars == 5  # the study's 1,200 leave a small set as it is


def test_cells_without_a_count_in_the_chosen_genes_go(tmp_path: Path) -> None:
    counts = np.array([[0, 9], [1, 0], [0, 2]])
    adata = from_files("retina", write_retina(tmp_path / "retina.loom", counts), n_top_genes=1)
    assert adata.X.toarray().tolist() == [[9], [2]]
    assert adata.uns["dataset"]["n_cells_left_out"] == 1
    assert adata.uns["dataset"]["genes"] == "all genes, 1 of largest variance"


def test_what_it_is_survives_a_file(tmp_path: Path) -> None:
    adata = from_files("zheng_ercc", write_droplets(tmp_path / "x.h5ad", [[1, 2]], ["ERCC-1", "ERCC-2"]))
    adata.write_h5ad(tmp_path / "y.h5ad")
    again = ad.read_h5ad(tmp_path / "y.h5ad").uns["dataset"]
    assert again["citation"] == REGISTRY["zheng_ercc"].citation
    assert again["sources"].tolist() == [REGISTRY["zheng_ercc"].files["counts"].url]


def test_svensson_has_two_samples() -> None:
    with pytest.raises(ValueError, match="which must be one of 1, 2, found 3"):
        svensson_ercc(3)


@pytest.mark.parametrize("name", list(REGISTRY))
def test_each_data_set_has_its_verb(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "zinbtools.datasets._loaders.fetch",
        lambda dataset: asked.append(dataset.name) or {"counts": Path("x")},
    )
    with pytest.raises((ValueError, KeyError)):  # of what it was given instead of files
        LOADERS[name]()
    assert asked == [name]


@pytest.mark.network
@pytest.mark.parametrize("name", list(REGISTRY))
def test_the_real_homes(name: str) -> None:
    adata = LOADERS[name]()
    if REGISTRY[name].shape is not None:
        assert adata.shape == REGISTRY[name].shape
    else:
        assert adata.n_vars == 52  # klein_ercc
