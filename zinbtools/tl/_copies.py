"""How the molecules behind the reads of a fit were copied."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from .._words.warn import warn
from ..get._fitted import Fitted
from ..model.data import CountData
from ..stats.count_models import Copies
from ..stats.reads import reads_per_molecule
from ._trained import Trained


def copies_if_known(
    obs: pd.DataFrame, fit: Fitted | Trained, data: CountData, cells: np.ndarray
) -> Copies | None:
    """As `copies_of`; with a warning, nothing where the counts do not say how they were copied."""
    try:
        return copies_of(obs, fit, data, cells)
    except ValueError as error:
        warn(f"{error} Genes are tested as if the counts were of molecules.")
        return None


def copies_of(obs: pd.DataFrame, fit: Fitted | Trained, data: CountData, cells: np.ndarray) -> Copies:
    """Estimate the copies of some cells, by index, from their fitted genes, in each batch of the fit.

    The spread of genes' own copies is that of the batch with most cells.
    """
    blocks = data.compressed(torch.as_tensor(cells, device=data.device))
    counts = sparse.csr_array(sparse.vstack(list(blocks)))
    key = fit.settings.batch_key
    labels = np.zeros(len(cells)) if key is None else obs[key].astype(str).to_numpy()[cells]
    mean, shape = np.empty(len(cells)), np.empty(len(cells))
    largest, gene_sd = 0, 0.0
    for label in np.unique(labels):
        of_batch = np.flatnonzero(labels == label)
        try:
            found = reads_per_molecule(sparse.csr_array(counts[of_batch])).for_genes
        except ValueError as error:
            where = "" if key is None else f"batch {label!r}: "
            raise ValueError(f"counts are reads, but {where}{error}") from None
        mean[of_batch], shape[of_batch] = found.mean, found.shape
        if len(of_batch) > largest:
            largest, gene_sd = len(of_batch), found.gene_sd
    return Copies(mean, shape, gene_sd)
