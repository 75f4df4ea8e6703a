"""`reads_per_molecule`: how often each molecule was read, from counts of reads alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData

from .._anndata.counts import exact_counts
from .._anndata.reading import check_anndata, checked_column, read_mask
from .._anndata.results import storable, target_of
from .._anndata.rows import columns
from .._check.arguments import checked
from .._record.keys import Keys
from .._record.parts import READS
from ..get._fitted import Fitted, resolve_device
from ..jobs.threads import single_threaded
from ..stats.cell_copies import Cells
from ..stats.reads import Amplified
from ..stats.reads import reads_per_molecule as amplified
from ._added import says_what_it_added
from ._conditional import check_nb
from ._copies import BatchCopies

Batches: TypeAlias = Iterator[tuple[str, np.ndarray, Amplified]]


@checked
@says_what_it_added
@single_threaded()
def reads_per_molecule(
    adata: AnnData,
    *,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    batch_key: str | None = None,
    of_fit: bool = False,
    key: str | None = None,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Estimate how often each molecule was read, and how many molecules each cell has, from reads alone.

    Counts of reads are those of molecules times the copies of each. Two things tell them apart: how many
    genes are seen at all, as a gene without molecules has no reads, and the sizes of the counts of rare
    genes, of which a cell that has any has one molecule or little more.
    `zinbtools.stats.reads.reads_per_molecule` says how both are used. Where counts are molecules, the answer
    is a little more than 1.

    The truth is known where the same cells were counted both ways: 6.9 and 7.1 reads per molecule in the
    CEL-seq2 and SCRB-seq cells of Ziegenhain et al. (2017) are estimated as 6.4 and 6.1, and the logarithms
    of the copies of cells correlate by .99 and .98. Where cells differ much in what they express, many
    molecules of a gene that few cells have are taken for many copies, and the interval does not know of it.
    The means of a fitted NB say where a gene is to be expected: ``of_fit``.

    Parameters
    ----------
    adata
        Cells x genes with counts of reads.
    mask_var
        Boolean column of ``var``, or boolean array: the genes to use. All by default; the more, the better.
    batch_key
        Column of ``obs`` with batches, each of which is amplified in its own way; each needs 10 cells.
    of_fit
        Take counts, genes and batches of the fit that is there, and what its NB expects of each cell, if that
        foretells which genes the validation cells have. ``layer``, ``mask_var`` and ``batch_key`` are left
        out then. Of more than 50 million entries some of the cells are taken; the others have NaN.

    Returns
    -------
    ``None``, or the copy. Sets in ``obs``:

    ``reads_per_molecule``, ``reads_per_molecule_low``, ``reads_per_molecule_high``
        Mean number of reads of a molecule of the cell, and a 95 % interval for it relative to the other cells
        of its batch, whose level has an interval of its own.
    ``n_molecules``
        Reads of the cell over that.

    and ``uns["reads_per_molecule"]``: ``params``, and ``batches``, the table that
    `zinbtools.get.reads_per_molecule_df` gives.

    Raises
    ------
    KeyError, ValueError, TypeError
        For counts, columns and settings that cannot be used, and for batches with fewer than 10 cells or
        fewer than 30 genes that some cells have and others lack.

    Examples
    --------
    >>> import zinbtools as zt
    >>> adata = zt.simulate.amplify(zt.simulate.gamma_poisson(n_obs=300, n_vars=400), copies=10)
    >>> zt.tl.reads_per_molecule(adata)
    >>> found = zt.get.reads_per_molecule_df(adata)
    >>> bool(9 < found["reads_per_molecule"].iloc[0] < 14)
    True
    """
    check_anndata(adata, copy)
    keys = Keys(key_added)
    of_cells = {place: np.full(adata.n_obs, np.nan) for place in keys.reads_columns}
    rows = []
    if of_fit:
        if (layer, mask_var, batch_key) != (None, None, None):
            raise ValueError("layer, mask_var and batch_key are the fit's with of_fit; leave them out.")
        batches, settings = _of_fit(adata, key)
    else:
        batches = _of_counts(adata, layer, mask_var, batch_key)
        settings = {
            "layer": layer,
            "mask_var": mask_var if isinstance(mask_var, str) else None,
            "batch_key": batch_key,
        }
    for name, cells, found in batches:
        parts = (found.copies, *found.copies_interval, found.molecules)
        for values, part in zip(of_cells.values(), parts, strict=True):
            values[cells] = part
        rows.append(_row(name, found))
    target = target_of(adata, copy)
    for place, values in of_cells.items():
        target.obs[place] = values
    target.uns[keys.reads] = {"params": storable(settings), READS.name: pd.DataFrame(rows)}
    return target if copy else None


def _of_counts(
    adata: AnnData, layer: str | None, mask_var: str | np.ndarray | None, batch_key: str | None
) -> Batches:
    """Yield each batch, its cells, and its copies by counts alone."""
    genes = np.flatnonzero(read_mask(adata, mask_var))
    counts = columns(exact_counts(adata, layer, copy=False), genes)
    for name, cells in _batches(adata, batch_key).items():
        try:
            yield name, cells, amplified(Cells.around(counts if batch_key is None else counts[cells]))
        except ValueError as error:
            where = "" if batch_key is None else f"batch {name!r} of batch_key {batch_key!r}: "
            raise ValueError(f"{where}{error}") from None


def _of_fit(adata: AnnData, key: str | None) -> tuple[Batches, dict[str, str | None]]:
    """The same of what was fitted, around its means; and the settings that say what that was."""
    fit = Fitted.read(adata, key)
    check_nb(fit)
    everyone = fit.cells(adata, "all")
    data = fit.data(adata, resolve_device("auto"))
    copies = BatchCopies(adata.obs, fit, data, everyone, fit.unseen_cells(adata))
    settings = {"fit": fit.keys.uns, "batch_key": fit.settings.batch_key}
    return copies.batches(), settings


def _batches(adata: AnnData, batch_key: str | None) -> dict[str, np.ndarray]:
    """Cells of each batch, by index."""
    if batch_key is None:
        return {"all": np.arange(adata.n_obs)}
    labels = checked_column(adata.obs, batch_key, "batch_key", "obs")
    if n_missing := int(labels.isna().sum()):
        raise ValueError(f"batch_key: {batch_key!r} is missing for {n_missing} cells; fill or drop them.")
    words = labels.astype(str).to_numpy()
    return {name: np.flatnonzero(words == name) for name in np.unique(words).tolist()}


def _row(name: str, found: Amplified) -> dict[str, str | int | float]:
    return {
        "batch": name,
        "n_cells": len(found.copies),
        "reads_per_molecule": found.level,
        "low": found.low,
        "high": found.high,
        "molecules_per_cell": float(np.median(found.molecules)),
        "shape": found.likely.shape,
        "gene_sd": found.likely.gene_sd,
        "shape_sd": found.likely.shape_sd,
    }
