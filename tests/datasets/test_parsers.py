"""Each data set, from small files in its original format."""

from __future__ import annotations

import gzip
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from dataset_files import (
    DataFrame,
    counts_of,
    write_10x_folder,
    write_10x_h5,
    write_10x_tar,
    write_cortex,
    write_loom,
    write_old_h5ad,
    write_old_pickle,
    write_rda,
)

from zinbtools.datasets import from_files

CORTEX_CELLS = {
    "tissue": ["sscortex", "ca1hippocampus", "sscortex"],
    "group #": [1, 2, 1],
    "total mRNA mol": [21580, 21748, 31642],
    "well": [11, 95, 33],
    "sex": [1, -1, 1],
    "age": [21, 20, 20],
    "diameter": [0, 9.56, 11.1],
    "cell_id": ["1772071015_C02", "1772071017_G12", "1772071017_A05"],
    "level1class": ["interneurons", "microglia", "interneurons"],
    "level2class": ["Int10", "Mgl1", "Int6"],
}


@pytest.mark.parametrize("name", ["expression_mRNA_17-Aug-2014.txt", "expression.txt.gz"])
def test_cortex(name: str, tmp_path: Path) -> None:
    counts = counts_of(3, 4)
    path = write_cortex(tmp_path / name, counts, ["Tspan12", "NaN", "1110008P14Rik", "Tspan12"], CORTEX_CELLS)
    adata = from_files("cortex", path, n_top_genes=None)
    np.testing.assert_array_equal(adata.X.toarray(), counts)
    assert adata.var_names.tolist() == ["Tspan12", "NaN", "1110008P14Rik", "Tspan12-1"]
    assert adata.obs_names.tolist() == CORTEX_CELLS["cell_id"]
    assert adata.obs["cell_type"].tolist() == ["interneurons", "microglia", "interneurons"]
    assert adata.obs["cell_subtype"].tolist() == ["Int10", "Mgl1", "Int6"]
    assert adata.obs["age_days"].tolist() == [21, 20, 20]
    assert adata.obs["total_mRNA_mol"].tolist() == [21580, 21748, 31642]
    assert adata.obs["sex"].tolist() == ["1", "-1", "1"]


def test_cortex_says_what_is_wrong(tmp_path: Path) -> None:
    without = {k: v for k, v in CORTEX_CELLS.items() if k != "level2class"} | {"level3class": ["a", "b", "c"]}
    path = write_cortex(tmp_path / "other.txt", counts_of(3, 4), list("abcd"), without)
    with pytest.raises(ValueError, match="no row 'level2class'"):
        from_files("cortex", path)
    path = write_cortex(tmp_path / "short.txt", counts_of(2, 4), list("abcd"), CORTEX_CELLS)
    with pytest.raises(ValueError, match="names 3 cells and has counts of 2"):
        from_files("cortex", path)


HEMATO_GENES = ["Gata1", "Elane", "Cd74"]
FATES = {"Pr_Er": 0.5, "Pr_Gr": 0.1, "Pr_Ly": 0.1, "Pr_DC": 0.1, "Pr_Mk": 0.1, "Pr_Mo": 0.05, "Pr_Ba": 0.05}


def hemato_tables() -> tuple[pd.DataFrame, str, pd.DataFrame]:
    """Counts of five cells and four genes, the authors' three genes, fates of four cells in another order."""
    counts = pd.DataFrame(counts_of(5, 4), columns=["Xist", "Cd74", "Gata1", "Elane"])
    libraries = ["basal_bm1", "basal_bm2", "basal_bm3", "basal_bm2", "basal_bm2"]
    labels = {"cell_id": [f"cell{i}" for i in range(5)], "barcode": list("vwxyz"), "library_id": libraries}
    counts = pd.concat([pd.DataFrame(labels | {"seq_run_id": "r", "pass_filter": 1}), counts], axis=1)
    ids = ["cell4", "cell2", "cell1", "cell0"]
    fates = pd.DataFrame(
        {"cell_id": ids, "x_spring": [4.0, 2.0, 1.0, 0.0], "y_spring": -1.0, "Potential": 9.0}
    )
    return counts, "\n".join(HEMATO_GENES) + "\n", fates.assign(**FATES)


def write_hemato(folder: Path, packed: bool) -> None:
    counts, genes, fates = hemato_tables()
    with gzip.open(folder / "bBM.raw_umifm_counts.csv.gz", "wt") as file:
        counts.to_csv(file, index=False)
    texts = {
        "bBM.filtered_gene_list.paper.txt": genes,
        "bBM.spring_and_pba.csv": fates.to_csv(index=False),
    }
    if packed:
        with ZipFile(folder / "data.zip", "w") as archive:
            for name, text in texts.items():
                archive.writestr(f"data/HEMATO/{name}", text)
    else:
        for name, text in texts.items():
            (folder / name).write_text(text)


@pytest.mark.parametrize("packed", [True, False])
def test_hemato(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinbtools.datasets._parsers._ROWS_AT_A_TIME", 2)
    write_hemato(tmp_path, packed)
    adata = from_files("hemato", tmp_path)
    kept = [1, 2, 4]  # cell 0 is of the library left out, cell 3 has no fate
    np.testing.assert_array_equal(adata.X.toarray(), hemato_tables()[0][HEMATO_GENES].to_numpy()[kept])
    assert adata.var_names.tolist() == HEMATO_GENES
    assert adata.obs_names.tolist() == ["cell1", "cell2", "cell4"]
    assert adata.obs["library"].tolist() == ["basal_bm2", "basal_bm3", "basal_bm2"]
    assert adata.obsm["X_spring"].tolist() == [[1, -1], [2, -1], [4, -1]]
    assert adata.obs["fate_erythroid"].tolist() == [0.5] * 3
    assert adata.obs["potential"].tolist() == [9.0] * 3


def test_hemato_tells_cells_of_one_name_apart(tmp_path: Path) -> None:
    write_hemato(tmp_path, packed=True)
    counts = hemato_tables()[0]
    counts.loc[2, "cell_id"] = "cell1"
    (tmp_path / "bBM.raw_umifm_counts.csv.gz").write_bytes(gzip.compress(counts.to_csv(index=False).encode()))
    adata = from_files("hemato", tmp_path)
    assert adata.obs_names.tolist() == ["cell1", "cell1-1", "cell4"]
    assert adata.obsm["X_spring"].tolist() == [[1, -1], [1, -1], [4, -1]]


def test_hemato_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hemato(tmp_path, packed=False)
    (tmp_path / "bBM.filtered_gene_list.paper.txt").write_text("Gata1\nEpor\n")
    with pytest.raises(ValueError, match="lacks 1 genes of the authors' list, 'Epor' first"):
        from_files("hemato", tmp_path)
    (tmp_path / "bBM.filtered_gene_list.paper.txt").unlink()
    with pytest.raises(ValueError, match=r"lacks bBM\.filtered_gene_list\.paper\.txt"):
        from_files("hemato", tmp_path)
    write_hemato(tmp_path, packed=True)
    monkeypatch.setattr("zinbtools.datasets._parsers.LARGEST", 3)
    with pytest.raises(ValueError, match=r"paper\.txt in \S+data\.zip says that it has more than 3 bytes"):
        from_files("hemato", tmp_path)
    with ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("README", "")
    with pytest.raises(ValueError, match="another archive"):
        from_files("hemato", tmp_path)


BARCODES = ["AAAC-1", "CCCC-1", "GGGG-1"]
GENES = ["ENSMUSG1", "ENSMUSG2"]


def test_brain_small_with_labels(tmp_path: Path) -> None:
    counts = counts_of(3, 2)
    write_10x_tar(
        tmp_path / "neuron_9k_filtered_gene_bc_matrices.tar.gz", counts, BARCODES, GENES, ["A", "B"]
    )
    index = np.array(["GGGG-1", "AAAC-1"], dtype=object)
    clusters = {"clusters": DataFrame({"Cluster": np.array([10, 2])}, index)}
    write_old_pickle(tmp_path / "brain_small_metadata.pickle", clusters)
    adata = from_files("brain_small", tmp_path)
    np.testing.assert_array_equal(adata.X.toarray(), counts)
    assert adata.obs["cluster_10x"].tolist() == ["2", np.nan, "10"]
    assert adata.obs["cluster_10x"].cat.categories.tolist() == ["2", "10"]


def test_brain_small_from_one_file(tmp_path: Path) -> None:
    adata = from_files(
        "brain_small", write_10x_h5(tmp_path / "x.h5", counts_of(3, 2), BARCODES, GENES, ["A", "B"])
    )
    assert adata.obs_names.tolist() == BARCODES
    assert adata.obs.columns.tolist() == []


def write_pbmc(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Two batches that share the barcode CCCC-1, which the table calls CCCC-11 in the second."""
    pbmc8k, pbmc4k = counts_of(3, 4, seed=1), counts_of(2, 4, seed=2)
    genes, symbols = ["ENSG1", "ENSG2", "ENSG3", "ENSG4"], ["A", "B", "C", "D"]
    name = "pbmc8k_filtered_gene_bc_matrices.tar.gz"
    write_10x_tar(folder / name, pbmc8k, ["AAAC-1", "CCCC-1", "GGGG-1"], genes, symbols)
    write_10x_folder(folder / "pbmc4k" / "GRCh38", pbmc4k, ["CCCC-1", "TTTT-1"], genes, symbols)
    labels = {
        "barcodes": DataFrame(
            {"n": np.arange(4)}, np.array(["GGGG-1", "CCCC-1", "CCCC-11", "TTTT-1"], dtype=object)
        ),
        "design": DataFrame({"batchpbmc4k": np.array([0, 0, 1, 1])}, np.arange(1, 5)),
        "clusters": np.array([1, 0, 1, 2]),
        "list_clusters": np.array(["B cells", "CD4 T cells", "NK cells"], dtype=object),
    }
    write_old_pickle(folder / "pbmc_metadata.pickle", labels)
    (folder / "gene_info.csv").write_text(",ENSG,GS\n5,ENSG4,D\n6,ENSG2,B\n")
    return pbmc8k, pbmc4k


def test_pbmc_gives_each_label_to_its_own_cell(tmp_path: Path) -> None:
    pbmc8k, pbmc4k = write_pbmc(tmp_path)
    adata = from_files("pbmc", tmp_path)
    assert adata.obs_names.tolist() == ["GGGG-1_pbmc8k", "CCCC-1_pbmc8k", "TTTT-1_pbmc4k"]
    np.testing.assert_array_equal(adata.X.toarray(), np.stack([pbmc8k[2], pbmc8k[1], pbmc4k[1]])[:, [1, 3]])
    assert adata.var_names.tolist() == ["ENSG2", "ENSG4"]
    assert adata.var["symbol"].tolist() == ["B", "D"]
    assert adata.obs["batch"].tolist() == ["pbmc8k", "pbmc8k", "pbmc4k"]
    assert adata.obs["cell_type"].tolist() == ["CD4 T cells", "B cells", "NK cells"]


def test_pbmc_says_what_is_wrong(tmp_path: Path) -> None:
    write_pbmc(tmp_path)
    (tmp_path / "gene_info.csv").write_text(",ENSG,GS\n5,ENSG4,D\n6,ENSG9,X\n")
    with pytest.raises(ValueError, match="lack 1 of the 2 genes"):
        from_files("pbmc", tmp_path)
    write_pbmc_again = tmp_path / "pbmc4k" / "GRCh38" / "barcodes.tsv"
    write_pbmc_again.write_text("CCCC-1\nTTTA-1\n")
    with pytest.raises(ValueError, match="lack 1 of the 3 cells"):
        from_files("pbmc", tmp_path)


@pytest.mark.parametrize("first", [0, 1])
def test_retina(first: int, tmp_path: Path) -> None:
    counts = counts_of(4, 3)
    columns = {
        "BatchID": np.array([[1.0], [0.0], [1.0], [1.0]]),
        "ClusterID": np.array([[0], [14], [1], [2]]) + first,
    }
    adata = from_files("retina", write_loom(tmp_path / "retina.loom", counts, list("abc"), columns))
    np.testing.assert_array_equal(adata.X.toarray(), counts)
    assert adata.obs["cell_type"].tolist() == ["RBC", "BC8_9", "MG", "BC5A"]
    assert adata.obs["batch"].tolist() == ["1", "0", "1", "1"]


@pytest.mark.parametrize("old", [True, False])
def test_svensson_takes_one_sample(old: bool, tmp_path: Path) -> None:
    counts, genes = np.array([[1, 2], [3, 4], [5, 6]]), ["ERCC-00002", "ERCC-00003"]
    samples, path = ["20311", "20312", "20311"], tmp_path / "svensson_chromium_control.h5ad"
    if old:
        write_old_h5ad(path, counts, genes, samples)
    else:
        adata = AnnData(counts.astype(np.float32))
        adata.var_names, adata.obs["sample"] = genes, samples
        adata.write_h5ad(path)
    first, second = (from_files(f"svensson_ercc_{i}", tmp_path) for i in (1, 2))
    assert first.X.toarray().tolist() == [[1, 2], [5, 6]]
    assert second.X.toarray().tolist() == [[3, 4]]


def test_svensson_says_what_is_wrong(tmp_path: Path) -> None:
    adata = AnnData(np.ones((2, 1), dtype=np.float32))
    adata.var_names = ["ERCC-00002"]
    adata.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(ValueError, match=r"no column obs\['sample'\]"):
        from_files("svensson_ercc_1", tmp_path / "x.h5ad")
    adata.obs["sample"] = "20311"
    adata.write_h5ad(tmp_path / "x.h5ad")
    with pytest.raises(ValueError, match="no droplet of sample 20312"):
        from_files("svensson_ercc_2", tmp_path / "x.h5ad")


ZIEGENHAIN = ("Gene_UMI_Counts", "Gene_Read_Counts", "SpikeIns_UMI_Counts", "SpikeIns_Read_Counts")


def write_ziegenhain(folder: Path) -> dict[str, pd.DataFrame]:
    """Two genes and two spike-ins of three cells, the reads in another order than the molecules."""
    cells = ["SCRBseqA_AAAGTT", "SCRBseqB_ACTTAT", "SCRBseqA_ATTCTA"]
    molecules = pd.DataFrame(counts_of(3, 4).T, ["ENSMUSG1", "ENSMUSG2", "gERCC-1", "gERCC-2"], cells)
    reads = (molecules * 7.0).iloc[:, ::-1]
    tables = {
        "Gene_UMI_Counts": molecules.iloc[:2],
        "Gene_Read_Counts": reads.iloc[1::-1],
        "SpikeIns_UMI_Counts": molecules.iloc[2:],
        "SpikeIns_Read_Counts": reads.iloc[2:],
    }
    for name, table in tables.items():
        write_rda(folder / f"SCRBseq_{name}.rda", {f"SCRBseq_{name}": table})
    return tables | {"molecules": molecules}


def test_ziegenhain_has_reads_and_molecules_of_the_same_cells(tmp_path: Path) -> None:
    molecules = write_ziegenhain(tmp_path)["molecules"]
    adata = from_files("ziegenhain2017_scrbseq", tmp_path)
    assert adata.var_names.tolist() == molecules.index.tolist()
    assert adata.obs_names.tolist() == molecules.columns.tolist()
    for counts, factor in ((adata.X, 1), (adata.layers["umi"], 1), (adata.layers["reads"], 7)):
        np.testing.assert_array_equal(counts.toarray(), factor * molecules.to_numpy().T)
    assert adata.obs["batch"].tolist() == ["A", "B", "A"]
    assert adata.var["spike_in"].tolist() == [False, False, True, True]
    assert "spike_in_molecules" not in adata.var
    given = pd.DataFrame({"SpikeID": ["gERCC-2", "gERCC-1"], "SpikeInput": [0.5, 8.0]})
    write_rda(tmp_path / "SCRBseq_SpikeInfo.rda", {"info": given.set_index("SpikeID", drop=False)})
    adata = from_files("ziegenhain2017_scrbseq", tmp_path)
    np.testing.assert_array_equal(adata.var["spike_in_molecules"], [np.nan, np.nan, 8, 0.5])


def test_ziegenhain_says_what_is_wrong(tmp_path: Path) -> None:
    tables = write_ziegenhain(tmp_path)
    path = tmp_path / "SCRBseq_Gene_Read_Counts.rda"
    write_rda(path, {"a": tables["Gene_Read_Counts"].iloc[:1]})
    with pytest.raises(ValueError, match="molecules of 3 cells x 4 genes and reads of 3 x 3"):
        from_files("ziegenhain2017_scrbseq", tmp_path)
    write_rda(path, {"a": tables["Gene_Read_Counts"].rename(index={"ENSMUSG1": "ENSMUSG3"})})
    with pytest.raises(ValueError, match=f"cannot read .*{path.name}.*ENSMUSG1"):
        from_files("ziegenhain2017_scrbseq", tmp_path)
    write_rda(path, {"a": tables["Gene_Read_Counts"] + 0.5})
    with pytest.raises(ValueError, match="other numbers than counts"):
        from_files("ziegenhain2017_scrbseq", tmp_path)
    write_rda(path, {"a": tables["Gene_Read_Counts"], "b": tables["Gene_Read_Counts"]})
    with pytest.raises(ValueError, match="has 2 tables and not one"):
        from_files("ziegenhain2017_scrbseq", tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=rf"lacks {path.name}"):
        from_files("ziegenhain2017_scrbseq", tmp_path)


def write_rnamix(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """As R's ``write.csv`` of counts and of ``colData``: the first column has no name of its own."""
    names = ["L19", "A10", "A11"]
    counts = pd.DataFrame(counts_of(3, 3).T, ["ENSG1", "ERCC-00002", "ENSG2"], names)
    wells = pd.DataFrame(
        {"cell_name": names, "mix": [6, 1, 1], "H2228_prop": [0.68, 0.33, 0.33], "H1975_prop": 0.3,
         "HCC827_prop": 0.3, "mRNA_amount": [30, 7.5, 15]},
        names,
    )  # fmt: skip
    for name, table in (("count", counts), ("metadata", wells)):
        lines = table.to_csv().removeprefix(",")
        (folder / f"RNAmix_celseq2.{name}.csv.gz").write_bytes(gzip.compress(lines.encode()))
    return counts, wells


def test_rnamix(tmp_path: Path) -> None:
    counts, _ = write_rnamix(tmp_path)
    adata = from_files("rnamix_celseq2", tmp_path)
    np.testing.assert_array_equal(adata.X.toarray(), counts.to_numpy().T)
    assert adata.obs_names.tolist() == ["L19", "A10", "A11"]
    assert adata.obs["mix"].tolist() == ["6", "1", "1"]
    assert adata.obs["mrna_pg"].tolist() == [30, 7.5, 15]
    assert adata.obs["share_H2228"].tolist() == [0.68, 0.33, 0.33]
    assert adata.var["spike_in"].tolist() == [False, True, False]


def test_rnamix_says_what_is_wrong(tmp_path: Path) -> None:
    _, wells = write_rnamix(tmp_path)
    path = tmp_path / "RNAmix_celseq2.metadata.csv.gz"

    def write(table: pd.DataFrame) -> None:
        path.write_bytes(gzip.compress(table.to_csv().removeprefix(",").encode()))

    write(wells.iloc[::-1])
    with pytest.raises(ValueError, match="tell of other wells"):
        from_files("rnamix_celseq2", tmp_path)
    write(wells.drop(columns="mRNA_amount"))
    with pytest.raises(ValueError, match="no column 'mRNA_amount'"):
        from_files("rnamix_celseq2", tmp_path)
