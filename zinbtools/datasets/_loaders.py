"""Load data sets: one verb for each, and one for files that are already at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import numpy as np
from anndata import AnnData

from .._anndata.genes_and_cells import select
from .._check.arguments import checked
from ._files import fetch, find
from ._formats import reading
from ._registry import REGISTRY, Dataset

# Found in MORE than this share of the droplets; the study's post says 20 %, its code this.
SPIKE_IN_DETECTION = 0.21

logger = logging.getLogger(__name__)


@checked
def cortex(*, n_top_genes: int | None = 558) -> AnnData:
    """Fetch mouse cortex and hippocampus of Zeisel et al. (2015): 3,005 cells, STRT on the Fluidigm C1.

    The counts are molecules (UMI), although the study's post speaks of Smart-Seq2; and the study used 558
    genes, although its post speaks of 1,200.

    Returns
    -------
    AnnData of 3,005 cells x ``n_top_genes`` of some 20,000 with raw counts in ``X`` (CSR, float32).
    ``obs`` has ``cell_type`` (7 classes), ``cell_subtype``, ``tissue``, ``sex`` (1 or -1), ``group``,
    ``well``, ``age_days``, ``diameter_um`` and ``total_mRNA_mol`` (over all genes). ``uns["dataset"]``
    says what it is and what was left out.

    Examples
    --------
    >>> info("cortex").shape
    (3005, 558)
    >>> adata = cortex()  # doctest: +SKIP
    """
    return _load("cortex", n_top_genes)


@checked
def hemato(*, n_top_genes: int | None = 1200) -> AnnData:
    """Fetch mouse blood progenitors of Tusi et al. (2018): 4,016 cells of basal bone marrow, inDrops, UMI.

    As in the study: without the library ``basal_bm1``, only cells that the authors placed in their graph,
    and only the 7,397 genes of their list, of which the most variable are taken. A continuum: the files
    hold no cell types.

    Returns
    -------
    AnnData of 4,016 cells x ``n_top_genes`` with raw counts in ``X`` (CSR, float32). ``obs`` has
    ``library``, ``potential`` and the probability of each fate (``fate_erythroid``, ...), by population
    balance analysis; ``obsm["X_spring"]`` the authors' layout. ``uns["dataset"]`` says what it is and what
    was left out.

    Examples
    --------
    >>> info("hemato").shape
    (4016, 1200)
    >>> adata = hemato()  # doctest: +SKIP
    """
    return _load("hemato", n_top_genes)


@checked
def brain_small(*, n_top_genes: int | None = 1200) -> AnnData:
    """Fetch the brain of a mouse embryo, 10x Genomics' ``neuron_9k``: 9,128 cells, Chromium v2, UMI.

    Returns
    -------
    AnnData of 9,128 cells x ``n_top_genes`` of 27,998 with raw counts in ``X`` (CSR, float32) and Ensembl
    identifiers as ``var_names`` beside ``var["symbol"]``. ``obs["cluster_10x"]`` has the clusters that Cell
    Ranger numbered. ``uns["dataset"]`` says what it is and what was left out.

    Examples
    --------
    >>> info("brain_small").shape
    (9128, 1200)
    >>> adata = brain_small()  # doctest: +SKIP
    """
    return _load("brain_small", n_top_genes)


@checked
def pbmc(*, n_top_genes: int | None = 1200) -> AnnData:
    """Fetch blood mononuclear cells of one donor in two 10x batches: 11,990 cells, Chromium v2, UMI.

    The most variable of the 3,346 genes for which the scVI paper had bulk expression data. The paper has
    12,039 cells; its loader, and so the study, lost 49 of the 4k batch, whose barcodes occur in the 8k batch
    too. They are left out here as well. For a barcode in both batches that loader took the counts of the
    4k cell for the label of the 8k cell; here each label goes to its own cell. That concerns 47 cells, or
    a few more.

    Returns
    -------
    AnnData of 11,990 cells x ``n_top_genes`` with raw counts in ``X`` (CSR, float32) and Ensembl
    identifiers as ``var_names`` beside ``var["symbol"]``. ``obs`` has ``batch`` (pbmc8k, pbmc4k; the study
    used it) and ``cell_type``, the clusters of the scVI paper. ``uns["dataset"]`` says what it is and what
    was left out.

    Examples
    --------
    >>> info("pbmc").shape
    (11990, 1200)
    >>> adata = pbmc()  # doctest: +SKIP
    """
    return _load("pbmc", n_top_genes)


@checked
def retina(*, n_top_genes: int | None = 1200) -> AnnData:
    """Fetch bipolar cells of the mouse retina, Shekhar et al. (2016): 19,829 cells, Drop-seq, UMI.

    The file is that of the scVI paper: three quarters of the 26,439 cells in the authors' 15 clusters,
    although its loader's documentation speaks of 27,499. The study ignored the two batches.

    Returns
    -------
    AnnData of 19,829 cells x ``n_top_genes`` of 13,166 with raw counts in ``X`` (CSR, float32). ``obs`` has
    ``batch`` and ``cell_type``. ``uns["dataset"]`` says what it is and what was left out.

    Examples
    --------
    >>> info("retina").shape
    (19829, 1200)
    >>> adata = retina()  # doctest: +SKIP
    """
    return _load("retina", n_top_genes)


@checked
def klein_ercc() -> AnnData:
    """Fetch spike-ins in droplets of Klein et al. (2015): 52 ERCC transcripts, inDrops, UMI.

    No cells, so no biology: what zeros there are come from the measurement. Kept are spike-ins found in
    more than 21 % of the droplets that have any (the study's post says 20 %, its code 21 %).

    Examples
    --------
    >>> info("klein_ercc").title
    'Droplets with RNA in solution and ERCC spike-ins, inDrops, UMI'
    >>> adata = klein_ercc()  # doctest: +SKIP
    """
    return _load("klein_ercc", None)


@checked
def zheng_ercc() -> AnnData:
    """Fetch spike-ins in droplets of Zheng et al. (2017): 1,015 droplets, 57 ERCC transcripts, GemCode, UMI.

    No cells, so no biology: what zeros there are come from the measurement. Kept are spike-ins found in
    more than 21 % of the droplets that have any (the study's post says 20 %, its code 21 %).

    Examples
    --------
    >>> info("zheng_ercc").shape
    (1015, 57)
    >>> adata = zheng_ercc()  # doctest: +SKIP
    """
    return _load("zheng_ercc", None)


@checked
def svensson_ercc(which: Literal[1, 2]) -> AnnData:
    """Fetch spike-ins in 2,000 droplets of Svensson et al. (2017): 38 or 36 ERCC transcripts, Chromium, UMI.

    No cells, so no biology: what zeros there are come from the measurement. Kept are spike-ins found in
    more than 21 % of the droplets that have any (the study's post says 20 %, its code 21 %).

    Parameters
    ----------
    which
        1 for the sample 20311 (38 transcripts), 2 for the sample 20312 (36).

    Examples
    --------
    >>> info("svensson_ercc_1").shape
    (2000, 38)
    >>> adata = svensson_ercc(1)  # doctest: +SKIP
    """
    return _load(f"svensson_ercc_{which}", None)


@checked
def ziegenhain2017(protocol: Literal["CEL-seq2", "SCRB-seq"] = "CEL-seq2") -> AnnData:
    """Fetch the same cells as reads and as molecules, Ziegenhain et al. (2017): 35 or 42 mouse stem cells.

    Every molecule was copied and its copies were read, so a count of reads is zero where that of molecules
    is: what a method says of the reads and not of the molecules, it says of the copies. The files are
    those of powsimR, which has 10,000 genes of each protocol beside the spike-ins.

    Parameters
    ----------
    protocol
        How the cells were sequenced: 35 cells by CEL-seq2, 42 by SCRB-seq.

    Returns
    -------
    AnnData of cells x 10,092 with molecules in ``X`` and ``layers["umi"]`` and reads in ``layers["reads"]``
    (CSR, float32). ``obs`` has ``batch`` (A or B); ``var`` has ``spike_in`` and ``spike_in_molecules``, how
    many molecules of a spike-in a cell was given on average. ``uns["dataset"]`` says what it is.

    Examples
    --------
    >>> info("ziegenhain2017_scrbseq").shape
    (42, 10092)
    >>> adata = ziegenhain2017("SCRB-seq")  # doctest: +SKIP
    """
    return _load(f"ziegenhain2017_{_word(protocol)}", None)


@checked
def rnamix(protocol: Literal["CEL-seq2", "SORT-seq"] = "CEL-seq2") -> AnnData:
    """Fetch mixtures of RNA without cells, Tian et al. (2019): 340 or 296 wells with RNA of three cell lines.

    RNA was extracted in bulk, mixed in seven proportions and diluted to what a cell has, 3.75 to 30 pg. There
    are no cells, and so no bursts: what zeros there are come from the dilution and the measurement.

    Parameters
    ----------
    protocol
        How the RNA was sequenced: 340 wells by CEL-seq2, 296 by SORT-seq.

    Returns
    -------
    AnnData of wells x 14,804 (CEL-seq2) or 15,571 genes with molecules in ``X`` (CSR, float32). ``obs`` has
    ``mix`` (1 to 8; 1 and 2 have equal parts of all), ``share_H2228``, ``share_H1975``, ``share_HCC827`` and
    ``mrna_pg``; ``var`` has ``spike_in``. ``uns["dataset"]`` says what it is.

    Examples
    --------
    >>> info("rnamix_celseq2").shape
    (340, 14804)
    >>> adata = rnamix()  # doctest: +SKIP
    """
    return _load(f"rnamix_{_word(protocol)}", None)


def _word(protocol: str) -> str:
    return protocol.replace("-", "").lower()


@checked
def from_files(
    name: str, path: str | PathLike[str], *, n_top_genes: int | None | Literal["study"] = "study"
) -> AnnData:
    """Read a data set from files at hand; nothing is fetched.

    Parameters
    ----------
    name
        One of cortex, hemato, brain_small, pbmc, retina, klein_ercc, zheng_ercc, svensson_ercc_1,
        svensson_ercc_2, ziegenhain2017_celseq2, ziegenhain2017_scrbseq, rnamix_celseq2, rnamix_sortseq.
    path
        The file, whatever its name, or a folder with the files under the names in ``info(name).files``.
        For a 10x matrix its folder or h5 file will do too. The files may differ from the known ones:
        hashes are not compared.
    n_top_genes
        How many genes of largest variance of the raw counts to keep; None keeps all, ``"study"`` as many
        as the study did, all of a set that it did not have.

    Returns
    -------
    What the verb of that name returns.

    Raises
    ------
    KeyError
        If there is no data set of that name.
    ValueError
        If a file is missing or holds something else, or ``n_top_genes`` is out of range.

    Examples
    --------
    Three droplets, two spike-ins and a gene; the droplet without a spike-in goes, and so does the gene:

    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> counts = AnnData(np.array([[3, 1, 0], [2, 0, 5], [0, 0, 4]], dtype="float32"))
    >>> counts.var_names = ["ERCC-00002", "ERCC-00003", "ACTB"]
    >>> with TemporaryDirectory() as folder:
    ...     counts.write_h5ad(Path(folder) / "droplets.h5ad")
    ...     adata = from_files("zheng_ercc", Path(folder) / "droplets.h5ad")
    >>> adata.X.toarray()
    array([[3., 1.],
           [2., 0.]], dtype=float32)
    >>> adata.uns["dataset"]["n_cells_left_out"]
    1
    """
    dataset = info(name)
    adata = _parsed(dataset, find(dataset, Path(fspath(path))))
    return _as_in_the_study(adata, dataset, dataset.n_top_genes if n_top_genes == "study" else n_top_genes)


@checked
def info(name: str) -> Dataset:
    """Say what a data set is, and where its files come from.

    Parameters
    ----------
    name
        As for `from_files`.

    Returns
    -------
    The record: title, citation, what the study's post says otherwise, files with address and hash, ...

    Raises
    ------
    KeyError
        If there is no data set of that name.

    Examples
    --------
    >>> record = info("cortex")
    >>> record.title, record.shape
    ('Mouse somatosensory cortex and hippocampus, STRT on Fluidigm C1, UMI', (3005, 558))
    >>> [file.name for file in record.files.values()]
    ['expression_mRNA_17-Aug-2014.txt']
    """
    if name not in REGISTRY:
        raise KeyError(f"name {name!r} is no data set; there are {', '.join(REGISTRY)}.")
    return REGISTRY[name]


def _load(name: str, n_top_genes: int | None) -> AnnData:
    dataset = info(name)
    return _as_in_the_study(_parsed(dataset, fetch(dataset)), dataset, n_top_genes)


def _parsed(dataset: Dataset, files: Mapping[str, Path]) -> AnnData:
    with reading(*files.values()):
        return dataset.parse(files)


def _as_in_the_study(adata: AnnData, dataset: Dataset, n_top_genes: int | None) -> AnnData:
    """Choose genes, leave out the cells that they leave empty, and write down what was done."""
    matrices: list[Any] = [adata.X, *adata.layers.values()]
    if any((counts.data < 0).any() or (counts.data % 1 != 0).any() for counts in matrices):
        raise ValueError(
            f"the file of {dataset.name!r} holds other numbers than counts; take the raw counts."
        )
    n_obs, selection = adata.n_obs, "all genes"
    if dataset.spike_ins:
        spike_ins = adata.var_names.str.lower().str.contains("ercc", regex=False)
        if not spike_ins.any():
            raise ValueError(
                f"the file of {dataset.name!r} has no gene with ERCC in its name; it is another file."
            )
        # First the droplets without any, then what is found in too few of the others.
        adata = select(select(adata[:, spike_ins]), min_detection=SPIKE_IN_DETECTION)
        selection = (
            f"names with ERCC, found in more than {SPIKE_IN_DETECTION:.0%} of the droplets that have any"
        )
    adata = select(adata, n_top_genes=n_top_genes)
    if n_top_genes is not None:
        selection += f", {n_top_genes} of largest variance"
    n_left_out = n_obs - adata.n_obs
    if n_left_out:
        logger.info(
            "%s: %d of %d cells have no count in the chosen genes: left out", dataset.name, n_left_out, n_obs
        )
    adata.uns["dataset"] = {
        "name": dataset.name,
        "title": dataset.title,
        "citation": dataset.citation,
        "difference": dataset.difference or "",
        "sources": np.array([file.url for file in dataset.files.values()]),
        "genes": selection,
        "n_cells_left_out": n_left_out,
    }
    return adata
