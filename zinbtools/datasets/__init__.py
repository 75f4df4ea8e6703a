"""The data sets of the 2019 study: fetched from their public homes, or read from files at hand."""

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
    svensson_ercc,
    zheng_ercc,
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
    "svensson_ercc",
    "zheng_ercc",
]
