from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from anndata import AnnData
from dataset_files import (
    DataFrame,
    counts_of,
    write_10x_folder,
    write_10x_h5,
    write_10x_tar,
    write_loom,
    write_old_pickle,
)
from scipy import sparse

from zinbtools.datasets._formats import open_text, read_10x, read_h5ad, read_loom, read_old_pickle

COUNTS = counts_of(4, 3)
BARCODES = ["AAAC-1", "AAAG-1", "CCCC-1", "TTTT-1"]
GENES = ["ENSG1", "ENSG2", "ENSG3"]
SYMBOLS = ["A", "B", "A"]  # symbols repeat in real ones too


def write_10x(kind: str, folder: Path) -> Path:
    content: Any = (COUNTS, BARCODES, GENES, SYMBOLS)
    return {
        "folder of version 2": lambda: write_10x_folder(folder / "mm10", *content),
        "folder above one": lambda: write_10x_folder(folder / "a" / "mm10", *content).parent,
        "folder of version 3": lambda: write_10x_folder(folder / "filtered", *content, version=3),
        "tar.gz": lambda: write_10x_tar(folder / "x_filtered_gene_bc_matrices.tar.gz", *content),
        "h5 of version 2": lambda: write_10x_h5(folder / "x.h5", *content),
        "h5 of version 3": lambda: write_10x_h5(folder / "x.h5", *content, version=3),
    }[kind]()


@pytest.mark.parametrize(
    "kind",
    [
        *("folder of version 2", "folder above one", "folder of version 3"),
        *("tar.gz", "h5 of version 2", "h5 of version 3"),
    ],
)
def test_10x_in_every_form(kind: str, tmp_path: Path) -> None:
    adata = read_10x(write_10x(kind, tmp_path))
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    assert adata.obs_names.tolist() == BARCODES
    assert adata.var_names.tolist() == GENES
    assert adata.var["symbol"].str.removesuffix("-1").tolist() == SYMBOLS


def test_10x_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "page.tar.gz").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="neither a folder nor an h5 or tar.gz"):
        read_10x(tmp_path / "page.tar.gz")
    with pytest.raises(ValueError, match="must hold one 10x matrix .* found 0"):
        read_10x(tmp_path)
    for genome in ("hg19", "mm10"):
        write_10x_folder(tmp_path / genome, COUNTS, BARCODES, GENES, SYMBOLS)
    with pytest.raises(ValueError, match="found 2"):
        read_10x(tmp_path)


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, io.BytesIO(content)


@pytest.mark.parametrize(
    "hostile",
    [
        member("../matrix.mtx", b"out"),
        member("/tmp/barcodes.tsv", b"out"),
        member("mm10/evil.mtx", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("mm10/evil.tsv", type=tarfile.LNKTYPE, linkname="../../evil"),
        member("mm10/genes.tsv.gz", type=tarfile.CHRTYPE),
        member("../../evil.sh", b"rm"),
    ],
)
def test_of_an_archive_only_the_matrix_is_unpacked(
    hostile: tuple[tarfile.TarInfo, io.BytesIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: Python 3.11.0 to 3.11.3 have no filter for what an archive may do."""
    monkeypatch.delattr(tarfile.TarFile, "extractall")
    path = write_10x("tar.gz", tmp_path)
    with tarfile.open(path.with_suffix(".tar"), "w") as new, tarfile.open(path) as old:
        new.addfile(*hostile)
        for found in old:
            new.addfile(found, old.extractfile(found))
    before = set(tmp_path.rglob("*"))
    if hostile[0].name == "../matrix.mtx":  # a second matrix
        with pytest.raises(ValueError, match=r"\.tar must hold one 10x matrix"):
            read_10x(path.with_suffix(".tar"))
    else:
        np.testing.assert_array_equal(read_10x(path.with_suffix(".tar")).X.toarray(), COUNTS)
    assert set(tmp_path.rglob("*")) == before


def test_an_archive_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zinbtools.datasets._formats.LARGEST", 20)
    path = write_10x("tar.gz", tmp_path)
    with pytest.raises(ValueError, match=r"cannot read \S+tar\.gz: \S+ in it says that it has \d+ bytes"):
        read_10x(path)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("kind", ["tar.gz", "h5 of version 2", "folder of version 3"])
def test_a_file_cut_short_is_one_sentence(kind: str, share: float, tmp_path: Path) -> None:
    path = write_10x(kind, tmp_path)
    file = path / "matrix.mtx.gz" if path.is_dir() else path
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ValueError, match=f"{path.name}") as caught:
        read_10x(path)
    assert "\n" not in str(caught.value)


def test_a_loom_file_without_its_parts_is_one_sentence(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.loom", "w") as file:
        file["matrix"] = COUNTS.T
    with pytest.raises(ValueError, match=r"cannot read \S+x\.loom: .*col_attrs"):
        read_loom(tmp_path / "x.loom")
    with h5py.File(tmp_path / "x.loom", "r+") as file:
        file["col_attrs"] = h5py.ExternalLink("/etc/hosts", "/")
    with pytest.raises(ValueError, match="'/col_attrs' is a link to another file"):
        read_loom(tmp_path / "x.loom")


def test_a_pickle_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.pickle").write_bytes(b"\x80\x03}q")
    with pytest.raises(ValueError, match=r"cannot read \S+x\.pickle: "):
        read_old_pickle(tmp_path / "x.pickle")


def test_loom_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinbtools.datasets._formats._GENES_AT_A_TIME", 2)
    counts = counts_of(4, 5)
    columns = {"ClusterID": np.array([[1], [2], [2], [1]]), "Name": np.array([b"a", b"b", b"c", b"d"])}
    path = write_loom(tmp_path / "x.loom", counts, list("vwxyz"), columns)
    adata, found = read_loom(path)
    np.testing.assert_array_equal(adata.X.toarray(), counts)
    assert adata.X.format == "csr"
    assert adata.var_names.tolist() == list("vwxyz")
    assert found["ClusterID"].tolist() == [1, 2, 2, 1]
    assert found["Name"].tolist() == ["a", "b", "c", "d"]


def test_hdf5_is_asked_for_by_name(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>sign in</html>")
    with pytest.raises(ValueError, match=r"page\.html is not a loom file"):
        read_loom(tmp_path / "page.html")
    with pytest.raises(ValueError, match=r"page\.html is not an h5ad file"):
        read_h5ad(tmp_path / "page.html")


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_h5ad_becomes_rows_whatever_it_holds(form: Any, tmp_path: Path) -> None:
    AnnData(form(COUNTS.astype(np.float64))).write_h5ad(tmp_path / "x.h5ad")
    adata = read_h5ad(tmp_path / "x.h5ad")
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)


def test_text_is_opened_by_content(tmp_path: Path) -> None:
    (tmp_path / "plain.gz").write_text("a\nb\n")
    with gzip.open(tmp_path / "packed.txt", "wt") as file:
        file.write("a\nb\n")
    for name in ("plain.gz", "packed.txt"):
        with open_text(tmp_path / name) as file:
            assert file.read() == "a\nb\n"


def test_old_pickle_of_arrays_and_frames(tmp_path: Path) -> None:
    frame = DataFrame(
        {"n": np.array([3, 4]), "share": np.array([0.5, 0.25]), "m": np.array([1, 2])},
        np.array(["x-1", "y-1"], dtype=object),
    )
    content = {"frame": frame, "codes": np.array([1, 0]), "names": np.array(["B cells", "é"], dtype=object)}
    read = read_old_pickle(write_old_pickle(tmp_path / "x.pickle", content))
    assert read["frame"].columns.tolist() == ["n", "share", "m"]
    assert read["frame"].index.tolist() == ["x-1", "y-1"]
    assert read["frame"].to_numpy().tolist() == [[3, 0.5, 1], [4, 0.25, 2]]
    assert read["codes"].tolist() == [1, 0]
    assert read["names"].tolist() == ["B cells", "é"]


def test_old_pickle_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "x.pickle"
    path.write_bytes(pickle.dumps({"a": Path.home}, protocol=3))  # names a function of another module
    with pytest.raises(ValueError, match=r"the pickle asks for \S+"):
        read_old_pickle(path)
