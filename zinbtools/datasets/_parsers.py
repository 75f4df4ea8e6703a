"""Parse the files of each data set into an AnnData: all its genes, the cells that a study had."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import anndata as ad
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique

from ._formats import (
    LARGEST,
    adata_of_genes,
    open_text,
    read_10x,
    read_h5ad,
    read_loom,
    read_old_pickle,
    stack,
)
from ._rda import read_rda

Files = Mapping[str, Path]

# The table of Zeisel et al.: ten rows on the cells, an empty one, then a row per gene.
_CORTEX_ROWS_ON_CELLS = 10
_CORTEX_COLUMNS = {
    "level1class": "cell_type",
    "level2class": "cell_subtype",
    "tissue": "tissue",
    "sex": "sex",
    "age": "age_days",
    "diameter": "diameter_um",
    "total mRNA mol": "total_mRNA_mol",
    "group #": "group",
    "well": "well",
}
_CORTEX_CLASSES = {"cell_type", "cell_subtype", "tissue", "sex", "group", "well"}

HEMATO_LIBRARY_LEFT_OUT = "basal_bm1"
_HEMATO_FATES = {
    "Pr_Er": "erythroid",
    "Pr_Gr": "granulocytic_neutrophil",
    "Pr_Ly": "lymphocytic",
    "Pr_DC": "dendritic",
    "Pr_Mk": "megakaryocytic",
    "Pr_Mo": "monocytic",
    "Pr_Ba": "basophilic",
}

# The clusters of Shekhar et al. in the order of their numbers.
_RETINA_TYPES = [
    "RBC", "MG", "BC5A", "BC7", "BC6", "BC5C", "BC1A", "BC3B",
    "BC1B", "BC2", "BC5D", "BC3A", "BC5B", "BC4", "BC8_9",
]  # fmt: skip

_RNAMIX_COLUMNS = {
    "H2228_prop": "share_H2228",
    "H1975_prop": "share_H1975",
    "HCC827_prop": "share_HCC827",
    "mRNA_amount": "mrna_pg",
}

_ROWS_AT_A_TIME = 500


def parse_cortex(files: Files) -> AnnData:
    """Parse tab-separated text, genes in rows under ten rows on the cells."""
    with open_text(files["counts"]) as file:
        rows = [file.readline().rstrip("\r\n").split("\t") for _ in range(_CORTEX_ROWS_ON_CELLS + 1)]
        cells = {row[1]: row[2:] for row in rows[:-1]}
        absent = [name for name in ("cell_id", *_CORTEX_COLUMNS) if name not in cells]
        if absent:
            raise ValueError(
                f"{files['counts']} has no row {absent[0]!r} among its first ten; it is another table."
            )
        table = pd.read_csv(file, sep="\t", header=None, chunksize=_ROWS_AT_A_TIME, na_filter=False)
        genes: list[str] = []

        def counts_of(block: pd.DataFrame) -> pd.DataFrame:
            genes.extend(block[0].astype(str))
            return block.iloc[:, 2:]  # before them the cluster of the gene

        counts = stack(counts_of(block) for block in table)
    if counts.shape[1] != len(cells["cell_id"]):
        raise ValueError(
            f"{files['counts']} names {len(cells['cell_id'])} cells and has counts of {counts.shape[1]}; "
            "fetch it anew."
        )
    adata = adata_of_genes(counts.T, cells["cell_id"], make_index_unique(pd.Index(genes)))
    for name, column in _CORTEX_COLUMNS.items():
        values = np.array(cells[name])
        is_class = column in _CORTEX_CLASSES
        adata.obs[column] = pd.Categorical(values) if is_class else values.astype(np.float64)
    return adata


def parse_hemato(files: Files) -> AnnData:
    """Parse a CSV of counts with cells in rows, and two tables of the authors on genes and cells."""
    genes = _member(files["tables"], "bBM.filtered_gene_list.paper.txt").split()
    fates = pd.read_csv(StringIO(_member(files["tables"], "bBM.spring_and_pba.csv"))).set_index("cell_id")
    labels: list[pd.DataFrame] = []
    wanted = {"cell_id", "library_id", *genes}

    def counts_of(block: pd.DataFrame) -> pd.DataFrame:
        absent = [gene for gene in genes if gene not in block]
        if absent:
            raise ValueError(
                f"{files['counts']} lacks {len(absent)} genes of the authors' list, {absent[0]!r} first."
            )
        kept = block[(block["library_id"] != HEMATO_LIBRARY_LEFT_OUT) & block["cell_id"].isin(fates.index)]
        labels.append(kept[["cell_id", "library_id"]])
        return kept[genes]

    with open_text(files["counts"]) as file:
        table = pd.read_csv(file, usecols=lambda name: name in wanted, chunksize=_ROWS_AT_A_TIME)
        counts = stack(counts_of(block) for block in table)
    cells = pd.concat(labels)
    if not fates.index.is_unique:
        raise ValueError(f"{files['tables']} gives the fates of a cell twice; it is another table.")
    fates = fates.loc[cells["cell_id"]]
    adata = adata_of_genes(counts, make_index_unique(pd.Index(fates.index.astype(str))), genes)
    fates.index = adata.obs_names
    adata.obs["library"] = pd.Categorical(cells["library_id"].astype(str))
    adata.obs["potential"] = fates["Potential"]
    for column, fate in _HEMATO_FATES.items():
        adata.obs[f"fate_{fate}"] = fates[column]
    adata.obsm["X_spring"] = fates[["x_spring", "y_spring"]].to_numpy()
    return adata


def _member(path: Path, name: str) -> str:
    """Read the text of a file in a zip archive, wherever in it, or beside the given one."""
    if not is_zipfile(path):
        beside = path.with_name(name)
        if not beside.is_file():
            raise ValueError(f"{path.parent} lacks {name}; it is in data.zip beside {path.name}.")
        return beside.read_text("utf-8")
    with ZipFile(path) as archive:
        found = [entry for entry in archive.namelist() if entry.rpartition("/")[2] == name]
        if not found:
            raise ValueError(f"{path} lacks {name}; it is another archive.")
        if archive.getinfo(found[0]).file_size > LARGEST:
            raise ValueError(f"{name} in {path} says that it has more than {LARGEST:,} bytes; fetch it anew.")
        return archive.read(found[0]).decode("utf-8")


def parse_brain_small(files: Files) -> AnnData:
    """Parse a 10x matrix, and with it the clusters of Cell Ranger where the table is there."""
    adata = read_10x(files["counts"])
    if "labels" in files:
        clusters = read_old_pickle(files["labels"])["clusters"]["Cluster"]
        numbers = [str(number) for number in sorted(set(clusters))]
        clusters = clusters.astype(str).reindex(adata.obs_names)
        adata.obs["cluster_10x"] = pd.Categorical(clusters, categories=numbers)
    return adata


def parse_pbmc(files: Files) -> AnnData:
    """Parse two 10x matrices, cut to the cells and genes of two tables of the authors."""
    batches = {"pbmc8k": read_10x(files["pbmc8k"]), "pbmc4k": read_10x(files["pbmc4k"])}
    adata = ad.concat(batches, label="batch", index_unique="_", merge="same")
    tables = read_old_pickle(files["labels"])
    # R told barcodes of the second batch that the first has too by a 1 at their end, "-1" to "-11"; the
    # study left these cells out.
    barcodes = np.asarray(tables["barcodes"].index, dtype=str)
    kept = ~np.char.endswith(barcodes, "-11")
    batch = np.where(tables["design"]["batchpbmc4k"].to_numpy() == 1, "pbmc4k", "pbmc8k")
    cells = np.char.add(np.char.add(barcodes, "_"), batch)[kept]
    genes = pd.read_csv(files["genes"])["ENSG"]
    for what, names, index in (("cells", cells, adata.obs_names), ("genes", genes, adata.var_names)):
        if n_absent := int((~np.isin(names, index)).sum()):
            raise ValueError(
                f"the 10x files lack {n_absent} of the {len(names)} {what} of the study; "
                "take the filtered matrices of Cell Ranger 2.1.0."
            )
    adata = adata[cells, adata.var_names.isin(genes)].copy()
    types = np.asarray(tables["list_clusters"], dtype=str)
    adata.obs["cell_type"] = pd.Categorical(types[tables["clusters"][kept]], categories=types)
    return adata


def parse_retina(files: Files) -> AnnData:
    """Parse a loom file with two columns of numbers on the cells."""
    adata, columns = read_loom(files["counts"])
    clusters = columns["ClusterID"].astype(int)
    adata.obs["batch"] = pd.Categorical(columns["BatchID"].astype(int).astype(str))
    # The authors count from 1, the file may from 0; all 15 clusters are in it.
    adata.obs["cell_type"] = pd.Categorical.from_codes(
        clusters - clusters.min(), categories=pd.Index(_RETINA_TYPES)
    )
    return adata


def parse_ercc(files: Files) -> AnnData:
    """Parse an h5ad file of droplets with spike-ins, and with other transcripts perhaps."""
    return read_h5ad(files["counts"])


def parse_svensson_1(files: Files) -> AnnData:
    """Parse the droplets of sample 20311."""
    return _svensson(files, "20311")


def parse_svensson_2(files: Files) -> AnnData:
    """Parse the droplets of sample 20312."""
    return _svensson(files, "20312")


def _svensson(files: Files, sample: str) -> AnnData:
    adata = read_h5ad(files["counts"])
    if "sample" not in adata.obs:
        raise ValueError(f"{files['counts']} has no column obs['sample']; it is another file.")
    ours = (adata.obs["sample"].astype(str) == sample).to_numpy()
    if not ours.any():
        raise ValueError(f"{files['counts']} has no droplet of sample {sample} in obs['sample'].")
    return adata[ours].copy()


def parse_ziegenhain(files: Files) -> AnnData:
    """Parse tables of R, genes and spike-ins by cells: one of molecules and one of reads for each."""
    tables = {part: _rda_table(path) for part, path in files.items()}
    molecules = pd.concat([tables["molecules"], tables["molecules of spike-ins"]])
    reads = pd.concat([tables["reads"], tables["reads of spike-ins"]])
    if not (molecules.index.is_unique and molecules.shape == reads.shape):
        raise ValueError(
            f"{files['molecules'].parent} has molecules of {molecules.shape[1]} cells x {len(molecules)} "
            f"genes and reads of {reads.shape[1]} x {len(reads)}; take all files of one protocol."
        )
    reads = reads.loc[molecules.index, molecules.columns]
    adata = adata_of_genes(molecules.T, molecules.columns, molecules.index)
    adata.layers["umi"] = adata.X.copy()
    adata.layers["reads"] = adata_of_genes(reads.T, reads.columns, reads.index).X
    adata.obs["batch"] = pd.Categorical(adata.obs_names.str.extract(r"([A-Z])_", expand=False))
    adata.var["spike_in"] = adata.var_names.isin(tables["molecules of spike-ins"].index)
    if "input of spike-ins" in tables:
        per_cell = tables["input of spike-ins"]["SpikeInput"]
        adata.var["spike_in_molecules"] = per_cell.reindex(adata.var_names).to_numpy()
    return adata


def _rda_table(path: Path) -> pd.DataFrame:
    tables = read_rda(path)
    if len(tables) != 1:
        raise ValueError(f"{path} has {len(tables)} tables and not one; it is another file.")
    return next(iter(tables.values()))


def parse_rnamix(files: Files) -> AnnData:
    """Parse two tables of R as text: genes by wells, and what was put into each well."""
    counts, wells = (pd.read_csv(files[part], index_col=0) for part in ("counts", "wells"))
    if not counts.columns.equals(wells.index):
        raise ValueError(f"{files['counts']} and {files['wells']} tell of other wells; take both of one set.")
    absent = [name for name in ("mix", *_RNAMIX_COLUMNS) if name not in wells]
    if absent:
        raise ValueError(f"{files['wells']} has no column {absent[0]!r}; it is another table.")
    adata = adata_of_genes(counts.T, wells.index, counts.index)
    wells["mix"] = pd.Categorical(wells["mix"].astype(str))
    for name in ("mix", *_RNAMIX_COLUMNS):
        adata.obs[_RNAMIX_COLUMNS.get(name, name)] = wells[name]
    adata.var["spike_in"] = adata.var_names.str.startswith("ERCC-")
    return adata
