"""Files as those who make them write them: every kind gives the same counts."""

from __future__ import annotations

import gzip
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.io import mmwrite

from zinbtools.study import read

CELLS = ["AAACCTGA-1", "AAACGGGT-1", "AAAGATGC-1", "CCGTACTG-1"]
GENES = ["Sox2", "Xist", "NA", "Actb", "Sox2"]  # one twice, and one that pandas takes for a missing value
COUNTS = np.array([[0, 1, 0, 9, 2], [3, 0, 0, 5, 0], [0, 0, 7, 8, 1], [1, 0, 0, 4, 0]], dtype="int32")
Write = Callable[[Path], Path]


@pytest.fixture
def counts() -> AnnData:
    """Counts with names that are there once."""
    obs = pd.DataFrame({"donor": list("abab")}, index=CELLS)
    return AnnData(
        sparse.csr_matrix(COUNTS.astype("float32")), obs, pd.DataFrame(index=[*GENES[:4], "Pou5f1"])
    )


def same(found: AnnData, genes: list[str]) -> None:
    np.testing.assert_array_equal(found.X.toarray(), COUNTS)
    assert found.X.format == "csr"
    assert found.obs_names.tolist() == CELLS
    assert found.var_names.tolist() == genes


def packed(path: Path) -> Path:
    """As gzip does with a file."""
    target = path.with_name(f"{path.name}.gz")
    with path.open("rb") as plain, gzip.open(target, "wb") as file:
        shutil.copyfileobj(plain, file)
    path.unlink()
    return target


# Cell Ranger


def mtx(
    folder: Path,
    *,
    genes: str = "features",
    pack: bool = True,
    prefix: str = "",
    kind: str = "Gene Expression",
) -> Path:
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    mmwrite(buffer, sparse.coo_matrix(COUNTS.T), field="integer")
    kinds = [f"\t{kind}"] * 5 if genes == "features" else [""] * 5
    rows = [f"ENSG{i}\t{name}{k}\n" for i, (name, k) in enumerate(zip(GENES, kinds, strict=True))]
    content = {
        "matrix.mtx": buffer.getvalue(),
        f"{genes}.tsv": "".join(rows).encode(),
        "barcodes.tsv": "".join(f"{name}\n" for name in CELLS).encode(),
    }
    for name, data in content.items():
        (folder / f"{prefix}{name}").write_bytes(data)
        if pack:
            packed(folder / f"{prefix}{name}")
    return folder


def h5_v3(path: Path, kinds: list[str] | None = None) -> Path:
    """As Cell Ranger 3 and later write it: genes by cells in compressed columns."""
    columns = sparse.csc_matrix(COUNTS.T)
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(CELLS, dtype="S")
        for name in ("data", "indices", "indptr"):
            matrix[name] = getattr(columns, name)
        matrix["shape"] = np.array(columns.shape, dtype="int32")
        features = matrix.create_group("features")
        features["id"] = np.array([f"ENSG{i}" for i in range(5)], dtype="S")
        features["name"] = np.array(GENES, dtype="S")
        features["feature_type"] = np.array(kinds or ["Gene Expression"] * 5, dtype="S")
        features["genome"] = np.array(["GRCh38"] * 5, dtype="S")
        features["_all_tag_keys"] = np.array(["genome"], dtype="S")
    return path


def h5_v2(path: Path) -> Path:
    columns = sparse.csc_matrix(COUNTS.T)
    with h5py.File(path, "w") as file:
        group = file.create_group("mm10")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(columns, name)
        group["shape"] = np.array(columns.shape, dtype="int32")
        group["barcodes"] = np.array(CELLS, dtype="S")
        group["genes"] = np.array([f"ENSG{i}" for i in range(5)], dtype="S")
        group["gene_names"] = np.array(GENES, dtype="S")
    return path


@pytest.mark.parametrize(
    "write",
    [
        lambda home: mtx(home / "v3"),
        lambda home: mtx(home / "v2", genes="genes", pack=False),
        lambda home: mtx(home / "v2 packed", genes="genes"),
        lambda home: mtx(home / "starsolo", pack=False),
        lambda home: mtx(home, prefix="GSM1_") / "GSM1_matrix.mtx.gz",
        lambda home: h5_v3(home / "filtered_feature_bc_matrix.h5"),
        lambda home: h5_v3(home / "CAPITALS.H5"),
        lambda home: packed(h5_v3(home / "x.h5")),
        lambda home: h5_v2(home / "old.h5"),
    ],
)
def test_what_cell_ranger_writes_is_read(write: Write, tmp_path: Path) -> None:
    found = read(write(tmp_path))
    same(found, GENES)
    assert found.var["gene_ids"].tolist() == [f"ENSG{i}" for i in range(5)]


def test_a_folder_is_read_as_scanpy_reads_it(tmp_path: Path) -> None:
    sc = pytest.importorskip("scanpy")
    scanpys = sc.read_10x_mtx(mtx(tmp_path / "v3"), make_unique=False, gex_only=False)
    found = read(tmp_path / "v3")
    np.testing.assert_array_equal(found.X.toarray(), scanpys.X.toarray())
    assert found.obs_names.equals(scanpys.obs_names)
    assert found.var["gene_ids"].tolist() == scanpys.var["gene_ids"].tolist()


def test_features_that_are_no_genes_are_left_out_and_told(tmp_path: Path) -> None:
    kinds = ["Gene Expression"] * 3 + ["Antibody Capture"] * 2
    with pytest.warns(UserWarning, match="2 features that are no genes are left out: Antibody Capture"):
        found = read(h5_v3(tmp_path / "x.h5", kinds))
    np.testing.assert_array_equal(found.X.toarray(), COUNTS[:, :3])
    with pytest.raises(ValueError, match="none of its features is of the type 'Gene Expression'"):
        read(h5_v3(tmp_path / "y.h5", ["Antibody Capture"] * 5))
    with pytest.raises(ValueError, match="none of its features"):
        read(mtx(tmp_path / "atac", kind="Peaks"))


def test_the_matrix_of_all_barcodes_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="droplets without a cell too"):
        read(h5_v3(tmp_path / "raw_feature_bc_matrix.h5"))


def test_what_is_missing_in_a_folder_is_named(tmp_path: Path) -> None:
    mtx(tmp_path / "hg19")
    with pytest.raises(ValueError, match=r"no matrix\.mtx in the folder.*it holds hg19: name one of these"):
        read(tmp_path)
    (tmp_path / "hg19" / "barcodes.tsv.gz").unlink()
    with pytest.raises(ValueError, match=r"there is no barcodes\.tsv in the folder"):
        read(tmp_path / "hg19")
    (tmp_path / "hg19" / "barcodes.tsv").write_text("A\nB\n")
    with pytest.raises(ValueError, match="5 genes and 2 cells in the tables beside it"):
        read(tmp_path / "hg19")


# AnnData, MuData, loom


def test_a_packed_h5ad_is_read(counts: AnnData, tmp_path: Path) -> None:
    counts.write_h5ad(tmp_path / "x.h5ad")
    found = read(packed(tmp_path / "x.h5ad"))
    same(found, counts.var_names.tolist())
    assert found.obs["donor"].tolist() == list("abab")


def test_an_anndata_that_is_called_h5_is_told_from_cell_rangers(counts: AnnData, tmp_path: Path) -> None:
    counts.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(ValueError, match=r"it is an AnnData; let its name end in \.h5ad"):
        read((tmp_path / "x.h5ad").rename(tmp_path / "x.h5"))


def h5mu(path: Path, modalities: dict[str, AnnData]) -> Path:
    mudata = pytest.importorskip("mudata", reason="mudata, which writes h5mu, is not installed")
    mudata.MuData(modalities).write(path)
    return path


@pytest.mark.filterwarnings("ignore")  # mudata's own
def test_a_modality_is_read(counts: AnnData, tmp_path: Path) -> None:
    other = AnnData(np.ones((4, 2), dtype="float32"), pd.DataFrame(index=CELLS))
    path = h5mu(tmp_path / "x.h5mu", {"rna": counts, "prot": other})
    same(read(path, modality="rna"), counts.var_names.tolist())
    with pytest.raises(
        ValueError, match="holds the modalities 'prot', 'rna'; choose one, as by modality='prot'"
    ):
        read(path)
    with pytest.raises(ValueError, match="'prot', 'rna', and no 'atac'; choose one"):
        read(path, modality="atac")
    same(read(h5mu(tmp_path / "one.h5mu", {"rna": counts})), counts.var_names.tolist())


@pytest.mark.filterwarnings("ignore")  # loompy's own
@pytest.mark.parametrize("names", [("CellID", "Gene"), ("obs_names", "var_names")])
def test_a_loom_file_is_read(names: tuple[str, str], tmp_path: Path) -> None:
    loompy = pytest.importorskip("loompy", reason="loompy, which writes loom, is not installed")
    layers = {"": COUNTS.T, "spliced": COUNTS.T // 2}
    columns, rows = {names[0]: np.array(CELLS), "donor": np.array(list("abab"))}, {names[1]: np.array(GENES)}
    loompy.create(str(tmp_path / "x.loom"), layers, rows, columns)
    found = read(tmp_path / "x.loom")
    same(found, GENES)
    np.testing.assert_array_equal(found.layers["spliced"].toarray(), COUNTS // 2)
    assert found.obs["donor"].tolist() == list("abab")


def test_a_loom_file_without_loompy_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.loom").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "loompy", None)
    with pytest.raises(ValueError, match="need the package loompy: pip install loompy"):
        read(tmp_path / "x.loom")


# Tables


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".CSV", ".csv.gz", ".tsv.gz"])
def test_tables_of_pandas_are_read(ending: str, counts: AnnData, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    separator = "," if "csv" in ending.lower() else "\t"
    counts.to_df().to_csv(path, sep=separator)
    same(read(path), counts.var_names.tolist())


@pytest.mark.parametrize(
    "text",
    [
        'cell,Sox2,"Act,b"\n"A 1",0,3\nB,2,0\n',
        '"Sox2","Act,b"\n"A 1",0,3\n"B",2,0\n',  # as R's write.table, without a corner
        '\ufeff"","Sox2","Act,b"\r\n"A 1","0","3"\r\n"B","2","0"\r\n',  # as Excel and R's write.csv
    ],
)
def test_tables_of_others_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    found = read(tmp_path / "x.csv")
    np.testing.assert_array_equal(found.X.toarray(), [[0, 3], [2, 0]])
    assert (found.obs_names.tolist(), found.var_names.tolist()) == (["A 1", "B"], ["Sox2", "Act,b"])


def test_numbers_may_name_the_cells(tmp_path: Path) -> None:
    pd.DataFrame(COUNTS, columns=list("abcde")).to_csv(tmp_path / "x.csv")
    found = read(tmp_path / "x.csv")
    np.testing.assert_array_equal(found.X.toarray(), COUNTS)
    assert found.obs_names.tolist() == ["0", "1", "2", "3"]


def test_a_table_of_genes_by_cells_is_turned_on_request_only(counts: AnnData, tmp_path: Path) -> None:
    counts.to_df().T.to_csv(tmp_path / "x.csv")
    with pytest.raises(
        ValueError, match=r"its cells seem to be genes \(Sox2, Xist, NA\); give transpose=True"
    ):
        read(tmp_path / "x.csv")
    same(read(tmp_path / "x.csv", transpose=True), counts.var_names.tolist())
    counts.to_df().to_csv(tmp_path / "y.csv")
    with pytest.raises(ValueError, match="leave transpose=True out"):
        read(tmp_path / "y.csv", transpose=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "."),
        ("a,b\n", "."),
        (",g\nc1,x\n", "could not convert string to float"),
        ("a b\n1 2\n", "parted by commas"),
        ("a,b,c\n1,0,2\n1,3,4\n", "first column holds no names"),
    ],
)
def test_a_table_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"cannot read \S+x\.csv as a table with commas: .*{message}"):
        read(tmp_path / "x.csv")


# What does not go together


@pytest.mark.parametrize("name", ["x.bam", "x", "x.zarr.gz", "x.gz", "counts.mtx"])
def test_other_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{name} is of no kind that is read: \.h5ad"):
        read(tmp_path / name)


def test_what_is_asked_must_suit_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"modality='rna' is a part of an \.h5mu file, but found x\.h5ad"):
        read(tmp_path / "x.h5ad", modality="rna")
    with pytest.raises(ValueError, match=r"transpose=True is for tables of text, but found x\.h5"):
        read(tmp_path / "x.h5", transpose=True)
