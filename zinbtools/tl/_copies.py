"""How the molecules behind the reads of a fit were copied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from .._words.warn import warn
from ..get._fitted import Fitted
from ..model.data import CountData
from ..model.predictive import expectations
from ..stats.cell_copies import Cells
from ..stats.count_models import Copies
from ..stats.likely_copies import evenly
from ..stats.reads import Amplified, are_foretold, reads_per_molecule
from ._trained import Trained

FEWEST_COPIES = 2.0  # reads of a molecule that are copies
SMALLEST_MEAN = 1e-12  # float32 may say that a mean is 0
_MOST_MEANS = 50_000_000  # that are in memory


class BatchCopies:
    """How the molecules of each batch of a fit were copied, as some cells have it.

    The NB's means say what each cell is expected to have of each gene, so that a difference between cells is
    not taken for copies; unless they do not foretell which genes a cell has that the NB was not trained on.

    Parameters
    ----------
    obs
        Of all cells.
    fit, data
        That knows the batches and the means, and all counts.
    cells
        To learn from, by index.
    held
        Cells that the NB was not trained on, by index; without any its means are not used.

    Raises
    ------
    ValueError
        If they do not say how they were copied.
    """

    def __init__(
        self,
        obs: pd.DataFrame,
        fit: Fitted | Trained,
        data: CountData,
        cells: np.ndarray,
        held: np.ndarray,
    ) -> None:
        key, self._fit, self._data = fit.settings.batch_key, fit, data
        self._labels = np.full(data.n_cells, "") if key is None else obs[key].astype(str).to_numpy()
        cells = cells[evenly(len(cells), max(_MOST_MEANS // data.n_genes, 1))]
        labels, sizes = np.unique(self._labels[cells], return_counts=True)
        self._by_means, self._found, self._of_labels = True, {}, {}
        try:
            self._by_means = self._are_foretold(np.setdiff1d(cells, held), held)
        except ValueError:  # with fewer cells there are too few genes to ask
            self._by_means = False
        for label in labels:
            self._of_labels[label] = cells[self._labels[cells] == label]
            try:
                self._found[label] = reads_per_molecule(self._cells(self._of_labels[label]))
            except ValueError as error:
                where = "" if key is None else f"batch {label!r}: "
                raise ValueError(f"counts are reads, but {where}{error}") from None
        self._largest = labels[sizes.argmax()]

    def batches(self) -> Iterator[tuple[str, np.ndarray, Amplified]]:
        """Yield the name of each batch, the cells that were learned from, by index, and their copies."""
        for label, found in self._found.items():
            yield "all" if self._fit.settings.batch_key is None else label, self._of_labels[label], found

    @property
    def level(self) -> float:
        """Reads of all these cells over their molecules."""
        reads = sum(float((found.copies * found.molecules).sum()) for found in self._found.values())
        return reads / sum(float(found.molecules.sum()) for found in self._found.values())

    def of(self, cells: np.ndarray, tested: bool = False) -> Copies:
        """Copies of some cells of these batches, learned from or not; or as a test of their genes has them.

        How far genes differ in copies and shape is that of the batch with most cells.
        """
        mean, shape = np.empty(len(cells)), np.empty(len(cells))
        for label in np.unique(self._labels[cells]):
            of_batch = np.flatnonzero(self._labels[cells] == label)
            for some in np.array_split(of_batch, -(-len(of_batch) * self._data.n_genes // _MOST_MEANS)):
                batch, counts = self._found[label], self._cells(cells[some])
                found = batch.of_tested(counts) if tested else batch.of_others(counts)
                mean[some], shape[some] = found.mean, found.shape
        likely = self._found[self._largest].likely
        return Copies(mean, shape, likely.gene_sd, likely.shape_sd)

    def halves(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Halves of some cells, drawn at random, with as many of each batch."""
        cells = np.random.default_rng(self._fit.draw_seed).permutation(cells)
        cells = cells[np.argsort(self._labels[cells], kind="stable")]
        return np.sort(cells[::2]), np.sort(cells[1::2])

    def _are_foretold(self, cells: np.ndarray, held: np.ndarray) -> bool:
        labels = [label for label in np.unique(self._labels[held]) if (self._labels[cells] == label).any()]
        pairs = ([self._cells(of[self._labels[of] == label]) for label in labels] for of in (cells, held))
        return bool(labels) and are_foretold(*pairs)

    def _cells(self, cells: np.ndarray) -> Cells:
        blocks = self._data.compressed(torch.as_tensor(cells, device=self._data.device))
        counts = sparse.csr_array(sparse.vstack(list(blocks)))
        if not self._by_means:
            return Cells(counts)
        shares, start = np.empty(counts.shape, dtype=np.float32), 0  # 200 MB at most
        for means in expected_means(self._fit, self._data, cells):
            some = shares[start : start + len(means)]
            np.maximum(means, SMALLEST_MEAN, out=some)
            some /= some.sum(axis=1, keepdims=True)
            start += len(means)
        return Cells(counts, shares)


def expected_means(
    fit: Fitted | Trained, data: CountData, cells: np.ndarray, n_threads: int = 1
) -> Iterator[np.ndarray]:
    """Yield the NB's means of the cells in order, block by block."""
    nb, how = fit.load("nb", data.device), {"n_draws": fit.settings.n_draws, "seed": fit.draw_seed}
    for block in expectations(nb, data, **how, cells=cells, n_threads=n_threads):
        yield block.mean.numpy(force=True)[np.isin(block.cells.numpy(force=True), cells)]


def copies_if_known(
    obs: pd.DataFrame, fit: Fitted | Trained, data: CountData, cells: np.ndarray, held: np.ndarray
) -> Copies | None:
    """As `copies_of`; nothing, with a warning, where the counts do not say how they were copied either."""
    try:
        return copies_of(obs, fit, data, cells, held)
    except ValueError as error:
        warn(f"{error} Genes are tested as if the counts were of molecules.")
        return None


def copies_of(
    obs: pd.DataFrame, fit: Fitted | Trained, data: CountData, cells: np.ndarray, held: np.ndarray
) -> Copies | None:
    """Estimate the copies of some cells, by index, from their fitted genes, in each batch of the fit.

    With a warning, nothing where a molecule was read less than twice: that is an NB of molecules.
    """
    found = BatchCopies(obs, fit, data, cells, held)
    if found.level < FEWEST_COPIES:
        warn(
            f"each molecule was read about {found.level:.1f} times, and fewer than {FEWEST_COPIES:g} are no "
            "copies. Genes are tested as if the counts were of molecules."
        )
        return None
    return found.of(cells, tested=True)
