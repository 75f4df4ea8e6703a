"""Test cells under genes that were fitted around the NB network's means, with and without dropout and copies.

A network takes counts for molecules. What reads make of molecules is asked of each gene by itself, around the
means that the NB network gives: so that NB and ZINB, as such and as copied molecules, are compared on the
same test cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from ..get._fitted import Fitted
from ..model.data import CountData
from ..stats.count_models import Copies, Family
from ..stats.crossed import CrossedMean, crossed_mean
from ..stats.equivalence import default_rope
from ..stats.held_out import HeldOut, held_out
from ._columns import Means, chosen_genes, fit_columns
from ._conditional import Groups
from ._copies import FEWEST_COPIES, SMALLEST_MEAN, BatchCopies, expected_means
from ._trained import Trained

_FEWEST_COUNTS = 5  # training cells with a count of a gene
_FAMILIES: tuple[Family, Family] = ("nb", "zinb")


class ByGene(NamedTuple):
    """Test cells of a split, (n_cells,) each but for the last.

    Attributes
    ----------
    nb, zinb, amplified_nb, amplified_zinb
        Log likelihood under each, nats. Where a molecule was read less than twice, which is no more than a
        tail of the counts that is longer than an NB's, they are taken for molecules by all of them.
    reads_per_molecule
        Of the training cells.
    """

    nb: np.ndarray
    zinb: np.ndarray
    amplified_nb: np.ndarray
    amplified_zinb: np.ndarray
    reads_per_molecule: float


def by_gene(
    fit: Trained | Fitted,
    data: CountData,
    cells: tuple[np.ndarray, np.ndarray],
    copies: BatchCopies,
    n_threads: int = 1,
) -> ByGene:
    """Fit genes to the training cells, and evaluate the test cells, both by index.

    ``copies`` are those of the training cells: `training_copies`.
    """
    train, test = (_Part(fit, data, of) for of in cells)
    chosen = train.n_counts >= _FEWEST_COUNTS
    are_copied = copies.level >= FEWEST_COPIES
    with train.means() as of_training, test.means() as of_others:

        def evaluated(copied: bool) -> HeldOut:
            both = tuple(copies.of(part.cells) if copied else None for part in (train, test))
            return _evaluated(train, test, of_training, of_others, chosen, both, n_threads)

        molecules = evaluated(False)
        reads = evaluated(True) if are_copied else molecules
    return ByGene(
        nb=molecules.log_likelihood[0],
        zinb=molecules.log_likelihood[1],
        amplified_nb=reads.log_likelihood[0],
        amplified_zinb=reads.log_likelihood[1],
        reads_per_molecule=copies.level,
    )


def training_copies(fit: Trained) -> BatchCopies:
    """How the molecules of the training cells were copied.

    Raises
    ------
    ValueError
        If the training cells do not say how their molecules were copied.
    """
    return BatchCopies(fit.setup.sample.cells.obs, fit, fit.data, fit.cells("train"), fit.cells("validation"))


def are_explained(found: Sequence[ByGene], rope: float, alpha: float) -> bool:
    """Whether an NB of copied molecules is shown not to be worse than a ZINB by more than the region.

    Of molecules with a dropout it is.
    """
    lowest, _ = gain_of(found, "amplified_nb", "zinb").interval(1 - alpha)
    return lowest > -rope


def asked_copies(
    obs: pd.DataFrame,
    fit: Fitted,
    data: CountData,
    cells: np.ndarray,
    held: np.ndarray,
    alpha: float,
    n_threads: int,
) -> Copies | None:
    """Copies of some cells, by index, whose counts look like molecules; None if that is what they are.

    They are copies if a molecule was counted twice or more, and an NB of copied molecules serves cells as
    well as a ZINB, but for the default region. Each half of the cells is evaluated under genes that were
    fitted to the other half. The network was not trained on the cells that are ``held``.
    """
    found = []
    try:
        copies = BatchCopies(obs, fit, data, cells, held)
        if copies.level < FEWEST_COPIES:
            return None
        halves = copies.halves(cells)
        for learned, others in (halves, halves[::-1]):
            of_half = BatchCopies(obs, fit, data, learned, held)
            found.append(by_gene(fit, data, (learned, others), of_half, n_threads))
    except ValueError:  # they do not say how they were copied
        return None
    nll = -float(np.concatenate([of.zinb for of in found]).mean())
    return copies.of(cells, tested=True) if are_explained(found, default_rope(nll), alpha) else None


def gain_of(of_folds: Sequence[ByGene], ours: str, theirs: str) -> CrossedMean:
    """Mean over cells of what one model of the genes gains on another, nats."""
    return crossed_mean(*((getattr(x, ours) - getattr(x, theirs))[None] for x in of_folds))


class _Part:
    """Some cells of a fit."""

    def __init__(self, fit: Trained | Fitted, data: CountData, cells: np.ndarray) -> None:
        self._fit, self._data, self.cells = fit, data, cells
        self.n_counts = len(cells) - data.statistics(cells).n_zeros

    def counts(self, genes: slice) -> Iterable[sparse.csr_array]:
        return self._data.compressed(torch.as_tensor(self.cells, device=self._data.device), genes)

    @contextmanager
    def means(self) -> Iterator[Groups]:
        with Means((len(self.cells), self._data.n_genes), SMALLEST_MEAN) as kept:
            kept.write(expected_means(self._fit, self._data, self.cells))
            yield kept.groups


def _evaluated(
    train: _Part,
    test: _Part,
    of_training: Groups,
    of_others: Groups,
    chosen: np.ndarray,
    copies: tuple[Copies | None, ...],
    n_threads: int,
) -> HeldOut:
    """Test cells under NB and ZINB that were fitted to the training cells, with these copies of both."""
    fits = fit_columns(
        train.counts, train.n_counts, of_training(), n_threads, families=_FAMILIES, copies=copies[0]
    )
    total = HeldOut(*np.zeros((2, len(_FAMILIES), len(test.cells))))
    for some in chosen_genes(test.counts, test.n_counts, of_others(), chosen):
        of_some = held_out(
            fits.some(some.which), some.counts, some.means, families=_FAMILIES, copies=copies[1]
        )
        for sums, part in zip(total, of_some, strict=True):
            sums += part
    return total
