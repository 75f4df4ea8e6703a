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


class BatchCopies:
    """How the molecules of each batch of a fit were copied, as some cells have it.

    Parameters
    ----------
    obs
        Of all cells.
    fit, data
        That knows the batches, and all counts.
    cells
        To learn from, by index.

    Raises
    ------
    ValueError
        If they do not say how they were copied.
    """

    def __init__(self, obs: pd.DataFrame, fit: Fitted | Trained, data: CountData, cells: np.ndarray) -> None:
        key, self._data = fit.settings.batch_key, data
        self._labels = np.zeros(data.n_cells) if key is None else obs[key].astype(str).to_numpy()
        labels, sizes = np.unique(self._labels[cells], return_counts=True)
        self._found = {}
        for label in labels:
            try:
                self._found[label] = reads_per_molecule(self._counts(cells[self._labels[cells] == label]))
            except ValueError as error:
                where = "" if key is None else f"batch {label!r}: "
                raise ValueError(f"counts are reads, but {where}{error}") from None
        self._gene_sd = self._found[labels[sizes.argmax()]].gene_sd

    @property
    def level(self) -> float:
        """Reads of all these cells over their molecules."""
        reads = sum(float((found.copies * found.molecules).sum()) for found in self._found.values())
        return reads / sum(float(found.molecules.sum()) for found in self._found.values())

    def of(self, cells: np.ndarray) -> Copies:
        """Copies of some cells of these batches, learned from or not.

        The spread of genes' own copies is that of the batch with most cells.
        """
        mean, shape = np.empty(len(cells)), np.empty(len(cells))
        for label in np.unique(self._labels[cells]):
            of_batch = np.flatnonzero(self._labels[cells] == label)
            found = self._found[label].of_others(self._counts(cells[of_batch]))
            mean[of_batch], shape[of_batch] = found.mean, found.shape
        return Copies(mean, shape, self._gene_sd)

    def _counts(self, cells: np.ndarray) -> sparse.csr_array:
        blocks = self._data.compressed(torch.as_tensor(cells, device=self._data.device))
        return sparse.csr_array(sparse.vstack(list(blocks)))


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
    """Estimate the copies of some cells, by index, from their fitted genes, in each batch of the fit."""
    return BatchCopies(obs, fit, data, cells).of(cells)
