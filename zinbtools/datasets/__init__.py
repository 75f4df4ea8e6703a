"""The data sets of the 2019 study, and two of known truth, from their public homes or from files at hand."""

from __future__ import annotations

from ._loaders import (
    brain_small,
    cortex,
    from_files,
    hemato,
    info,
    klein_ercc,
    pbmc,
    retina,
    rnamix,
    svensson_ercc,
    zheng_ercc,
    ziegenhain2017,
)
from ._registry import Dataset, File

__all__ = [
    "Dataset",
    "File",
    "brain_small",
    "cortex",
    "from_files",
    "hemato",
    "info",
    "klein_ercc",
    "pbmc",
    "retina",
    "rnamix",
    "svensson_ercc",
    "zheng_ercc",
    "ziegenhain2017",
]
