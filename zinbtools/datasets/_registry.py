"""List what each data set is, where it comes from, and how what was said of it differs from what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anndata import AnnData

from . import _parsers as parsers


@dataclass(frozen=True)
class File:
    """File of a data set: its names, its public home and its digest.

    Attributes
    ----------
    name
        What it is called in the cache, and in a folder given to `from_files`.
    url
        Its public home.
    hash
        ``md5:``, ``sha256:`` or ``git:`` (the identifier of the file in a git repository) and a digest;
        None where none is known; then that of the first download is noted and held to.
    also
        Other names, of the file itself, of the same content in another form or of a folder that holds it.
    optional
        Whether `from_files` can do without.
    """

    name: str
    url: str
    hash: str | None = None
    also: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Dataset:
    """Data set: its files, how they are read, and what was said of it.

    Attributes
    ----------
    name
        Its name for `from_files` and `info`.
    files
        Its files, by the part that they play.
    parse
        From paths, by the same parts, to all genes of the cells that a study had.
    title, citation
        What was counted, how, and who published it.
    difference
        Where the files, or the code of the study of 2019, differ from what is said of them; None if nowhere.
    n_top_genes
        How many of the most variable genes the study took; None for all.
    spike_ins
        Whether only the spike-ins found in more than 21 % of the droplets are kept.
    shape
        Cells and genes of the set as the study used it, or all that there are, where both are known.
    """

    name: str
    files: Mapping[str, File]
    parse: Callable[[Mapping[str, Path]], AnnData]
    title: str
    citation: str
    difference: str | None = None
    n_top_genes: int | None = 1200
    spike_ins: bool = False
    shape: tuple[int, int] | None = None


# Addresses name a commit, so that the content cannot change under the hash.
_SCVI_DATA = "https://github.com/YosefLab/scVI-data/raw/9a647afc8893604fa11024ddcd5fc5bb22b8e50e"
_SCVI_REPRODUCIBILITY = (
    "https://github.com/romain-lopez/scVI-reproducibility/raw/8f6fdbc4621e0106fc812799ddb1b43485994151"
)
_10X = "https://cf.10xgenomics.com/samples/cell-exp/2.1.0"
_FIGSHARE = "https://ndownloader.figshare.com/files"
_POWSIMR = "https://github.com/bvieth/powsimR/raw/d9e49ace330214513761e4be37396e4afed96e86/data"
_SC_MIXOLOGY = "https://github.com/LuyiTian/sc_mixology/raw/7d00ffb0bd043467f365a9358d7312f294f13c9f/data/csv"
_CONTROLS = "in: Svensson 2020, Nature Biotechnology 38:147, figshare project 61292"


def _10x_file(sample: str, digest: str | None) -> File:
    stem = f"{sample}_filtered_gene_bc_matrices"
    return File(
        f"{stem}.tar.gz",
        f"{_10X}/{sample}/{stem}.tar.gz",
        digest,
        also=(f"{stem}_h5.h5", f"{stem}.h5", sample),
    )


def _controls_file(number: int, name: str) -> dict[str, File]:
    return {"counts": File(f"{name}.h5ad", f"{_FIGSHARE}/{number}")}


def _ziegenhain(protocol: str, shape: tuple[int, int], digests: tuple[str, ...]) -> Dataset:
    stem = protocol.replace("-", "")
    names = {
        "molecules": "Gene_UMI_Counts",
        "reads": "Gene_Read_Counts",
        "molecules of spike-ins": "SpikeIns_UMI_Counts",
        "reads of spike-ins": "SpikeIns_Read_Counts",
        "input of spike-ins": "SpikeInfo",
    }
    return Dataset(
        f"ziegenhain2017_{stem.lower()}",
        {
            part: File(
                f"{stem}_{name}.rda",
                f"{_POWSIMR}/{stem}_{name}.rda",
                f"sha256:{digest}",
                optional=name == "SpikeInfo",
            )
            for (part, name), digest in zip(names.items(), digests, strict=True)
        },
        parsers.parse_ziegenhain,
        title=f"Mouse embryonic stem cells with ERCC spike-ins, {protocol}, the same cells as reads and UMI",
        citation="Ziegenhain et al. 2017, Molecular Cell 65:631, GSE75790; in the data of powsimR",
        difference="10,000 genes that the author of powsimR chose, and cells with a million reads and more.",
        n_top_genes=None,
        shape=shape,
    )


def _rnamix(protocol: str, shape: tuple[int, int], digests: tuple[str, str]) -> Dataset:
    stem = protocol.replace("-", "").lower()
    names = {"counts": f"RNAmix_{stem}.count.csv.gz", "wells": f"RNAmix_{stem}.metadata.csv.gz"}
    return Dataset(
        f"rnamix_{stem}",
        {
            part: File(name, f"{_SC_MIXOLOGY}/{name}", f"sha256:{digest}")
            for (part, name), digest in zip(names.items(), digests, strict=True)
        },
        parsers.parse_rnamix,
        title=f"RNA of three human cell lines, mixed and diluted, with ERCC spike-ins, {protocol}, UMI",
        citation="Tian et al. 2019, Nature Methods 16:479, GSE118767; in sc_mixology",
        n_top_genes=None,
        shape=shape,
    )


_DATASETS = (
    Dataset(
        "cortex",
        {
            "counts": File(
                "expression_mRNA_17-Aug-2014.txt",
                "https://storage.googleapis.com/linnarsson-lab-www-blobs/blobs/cortex/expression_mRNA_17-Aug-2014.txt",
                "md5:6bb4c2a9ade87b16909d39004021849e",
                also=("expression_mRNA_17-Aug-2014.txt.gz", "expression.bin"),
            )
        },
        parsers.parse_cortex,
        title="Mouse somatosensory cortex and hippocampus, STRT on Fluidigm C1, UMI",
        citation="Zeisel et al. 2015, Science 347:1138",
        difference=(
            "The post calls it Smart-Seq2 data with 1,200 genes. It counts molecules (UMI, STRT), and the "
            "study's loader kept the 558 genes of largest standard deviation."
        ),
        n_top_genes=558,
        shape=(3005, 558),
    ),
    Dataset(
        "hemato",
        {
            "counts": File(
                "GSM2388072_basal_bone_marrow.raw_umifm_counts.csv.gz",
                "https://www.ncbi.nlm.nih.gov/geo/download/?acc=GSM2388072&format=file&"
                "file=GSM2388072%5Fbasal%5Fbone%5Fmarrow%2Eraw%5Fumifm%5Fcounts%2Ecsv%2Egz",
                also=(
                    "bBM.raw_umifm_counts.csv.gz",
                    "GSM2388072_basal_bone_marrow.raw_umifm_counts.csv",
                    "bBM.raw_umifm_counts.csv",
                ),
            ),
            "tables": File(
                "data.zip",
                f"{_SCVI_REPRODUCIBILITY}/additional/data.zip",
                "git:66a97af75222cd3b23cae83c89ae364523ce43ee",
                also=("bBM.spring_and_pba.csv",),
            ),
        },
        parsers.parse_hemato,
        title="Mouse bone marrow progenitors of the blood, inDrops, UMI",
        citation="Tusi et al. 2018, Nature 555:54, GSM2388072",
        difference=(
            "Library basal_bm1 is left out for its quality, and so is every gene that is not among the 7,397 "
            "of the authors' list; the files hold probabilities of fates, no cell types."
        ),
        shape=(4016, 1200),
    ),
    Dataset(
        "brain_small",
        {
            "counts": _10x_file("neuron_9k", None),
            "labels": File(
                "brain_small_metadata.pickle",
                f"{_SCVI_DATA}/brain_small_metadata.pickle",
                "sha256:b14ca6073b2221bcb82c8018337132dafde96a7847649ff828fdfb0d4c43f1d6",
                optional=True,
            ),
        },
        parsers.parse_brain_small,
        title="Brain of a mouse embryo (E18), 10x Chromium v2, UMI",
        citation="10x Genomics, 9k Brain Cells from an E18 Mouse, Cell Ranger 2.1.0",
        difference="The labels are clusters that Cell Ranger numbered, no cell types that anyone checked.",
        shape=(9128, 1200),
    ),
    Dataset(
        "pbmc",
        {
            "pbmc8k": _10x_file("pbmc8k", "md5:cbb3a7553ece7eaddeb8a56df781ccb0"),
            "pbmc4k": _10x_file("pbmc4k", "md5:f61f4deca423ef0fa82d63fdfa0497f7"),
            "labels": File(
                "pbmc_metadata.pickle",
                f"{_SCVI_DATA}/pbmc_metadata.pickle",
                "sha256:a7b8b2a5cec508b8f3c080aa28bcc3c6be34ab249bacc4c6b8bc1cec3a966e07",
            ),
            "genes": File(
                "gene_info.csv",
                f"{_SCVI_DATA}/gene_info.csv",
                "sha256:cc33ad3226e9750de0f1d9782b9021d6a82224f6dde43005e6d6558eb560f9d5",
                also=("gene_info_pbmc.csv",),
            ),
        },
        parsers.parse_pbmc,
        title="Blood mononuclear cells of a healthy donor in two batches, 10x Chromium v2, UMI",
        citation="10x Genomics, 4k and 8k PBMCs from a Healthy Donor, Cell Ranger 2.1.0; Lopez et al. 2018",
        difference=(
            "The scVI paper has 12,039 cells, its loader 11,990: 49 cells of the 4k batch, whose barcodes "
            "the 8k batch has too, were lost, and for a barcode in both the loader took the counts of the 4k "
            "cell under the label of the 8k cell. Here each label goes to its own cell. All genes but 3,346, "
            "those with bulk expression data, are left out before the most variable are chosen."
        ),
        shape=(11990, 1200),
    ),
    Dataset(
        "retina",
        {
            "counts": File(
                "retina.loom", f"{_SCVI_DATA}/retina.loom", "git:8713e77d98902f5feb3e2c83f3cf68bc18c5ae68"
            )
        },
        parsers.parse_retina,
        title="Bipolar cells of the mouse retina, Drop-seq, UMI",
        citation="Shekhar et al. 2016, Cell 166:1308; the loom file of Lopez et al. 2018",
        difference=(
            "The documentation of its loader speaks of 27,499 cells. The file holds 19,829 of them (three "
            "quarters of the 26,439 in the authors' 15 clusters) and 13,166 genes; the study ignored batches."
        ),
        shape=(19829, 1200),
    ),
    Dataset(
        "klein_ercc",
        _controls_file(14634416, "klein_indrops_control_GSM1599501"),
        parsers.parse_ercc,
        title="Droplets with RNA in solution and ERCC spike-ins, inDrops, UMI",
        citation=f"Klein et al. 2015, Cell 161:1187, GSM1599501; {_CONTROLS}",
        difference="The post says more than 20 % of the droplets, the code 21 %: 52 transcripts.",
        n_top_genes=None,
        spike_ins=True,
    ),
    Dataset(
        "zheng_ercc",
        _controls_file(14634407, "zheng_gemcode_control"),
        parsers.parse_ercc,
        title="Droplets with ERCC spike-ins, 10x GemCode, UMI",
        citation=f"Zheng et al. 2017, Nature Communications 8:14049; {_CONTROLS}",
        difference="The post says more than 20 % of the droplets, the code 21 %: 57 of 92 transcripts.",
        n_top_genes=None,
        spike_ins=True,
        shape=(1015, 57),
    ),
    *(
        Dataset(
            f"svensson_ercc_{number}",
            _controls_file(14634410, "svensson_chromium_control"),
            parse,
            title=f"Droplets with RNA in solution and ERCC spike-ins, 10x Chromium, UMI, sample {sample}",
            citation=f"Svensson et al. 2017, Nature Methods 14:381; {_CONTROLS}",
            difference=f"The post says more than 20 % of the droplets, the code 21 %: {n_vars} transcripts.",
            n_top_genes=None,
            spike_ins=True,
            shape=(2000, n_vars),
        )
        for number, sample, parse, n_vars in (
            (1, "20311", parsers.parse_svensson_1, 38),
            (2, "20312", parsers.parse_svensson_2, 36),
        )
    ),
    _ziegenhain(
        "CEL-seq2",
        (35, 10092),
        (
            "eabe2aadc0b20878ea3461588daebffc52ddf14c4014d457e3843c6018d7db3d",
            "bff2e55451bbf8df6e74c5424593b58af0cc7e66b6975c626ae30a9874c2a3a9",
            "4217fde70f2602d02bf2255a0e0579d1934870908bcdbef31a79c0ede2d55239",
            "dd8ac4743e515c56e8190e410d92e77af70d424ecde3cb7bffde573f39d1fa2a",
            "9b6571d29829dafe1e6ea86229c0b2dac09f4d82f2ce7e353894718318c7d172",
        ),
    ),
    _ziegenhain(
        "SCRB-seq",
        (42, 10092),
        (
            "0e76385861265eaa4a26e6cdb4308a0c33d198563be5544824cd35c3dbc633d6",
            "3adbb02049cef8d14f240d4fbc5b0e0a96bdbc5003a381553b9691de73087d0f",
            "01bef80c43e8951b7f1fb491f546f78ae7020f0fdf2c6b7ce789bbfdc1d2d70a",
            "c4d21ccb1a4e47272b7ef29abf13dad2dfa9cee8973d70dcf86a75b1375a8261",
            "bf427541de4bda33bcb926bada0a2cd7e1deede19850bfc2f54b26e5bccd7921",
        ),
    ),
    _rnamix(
        "CEL-seq2",
        (340, 14804),
        (
            "3bc1323f10f74779e69f068cbfd052633049745f69107bba4133368a01ec24b9",
            "b4dfd97335bb24691d22b16748410d42ea08c7dee634d2d9d2584ef2d9e60956",
        ),
    ),
    _rnamix(
        "SORT-seq",
        (296, 15571),
        (
            "81a2c15fc0fc1216328fa348ad3375b0b2faa604fce9811330b78a190cdfd3d0",
            "1ea8edd24736c3efdf7dec102e42b01b75df18a811084cfcfd2ea5c87b89fead",
        ),
    ),
)

REGISTRY: Mapping[str, Dataset] = {dataset.name: dataset for dataset in _DATASETS}
