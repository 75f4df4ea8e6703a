"""Which family of counts serves a data set: test cells under genes that were fitted to the training cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from .._record.parts import CAUSES_FAMILIES
from ..get._fitted import Fitted
from ..jobs.threads import in_order
from ..model.data import CountData
from ..stats.bursts import SIMPLER, fit_bursts, log_probabilities
from ..stats.crossed import crossed_mean_of_sums
from ._columns import Genes, Means, chosen_genes
from ._copies import SMALLEST_MEAN, expected_means

_FEWEST_COUNTS = 5  # training cells with a count of a gene
_FAMILIES = (*SIMPLER, "beta-poisson")
_N_PARAMETERS = (1, 2, 3, 3)
_NB = _FAMILIES.index("nb")


def family_table(
    fit: Fitted, data: CountData, train: np.ndarray, test: np.ndarray, alpha: float, n_threads: int = 1
) -> pd.DataFrame:
    """Log likelihood of the test cells under each family, and its difference from that under the NB.

    Genes and cells are both samples: see `zinbtools.stats.crossed`.

    Raises
    ------
    ValueError
        If there are fewer than two test cells, or fewer than two genes with counts in five training cells.
    """
    n_counts = len(train) - data.statistics(train).n_zeros
    chosen = n_counts >= _FEWEST_COUNTS
    if len(test) < 2 or chosen.sum() < 2:
        raise ValueError(
            f"held_out=True needs two test cells and two genes with counts in {_FEWEST_COUNTS} training "
            f"cells, found {len(test)} and {int(chosen.sum())}."
        )
    parameters = np.full((data.n_genes, len(_FAMILIES), 3), np.nan)

    def fit_some(genes: Genes) -> tuple[np.ndarray, np.ndarray]:
        return genes.which, fit_bursts(genes.counts, genes.means).parameters

    with _genes_of(fit, data, train, n_counts, chosen) as some:
        for which, of_some in in_order(fit_some, some, n_threads):
            parameters[which] = of_some
    sums = _Sums(int(chosen.sum()), len(test))
    of_test = len(test) - data.statistics(test).n_zeros
    with _genes_of(fit, data, test, of_test, chosen) as some:
        for genes in some:
            sums.add(log_probabilities(parameters[genes.which], genes.counts, genes.means))
    return sums.table(alpha)


class _Sums:
    """Sums over genes and cells of log probabilities, and of their differences from the NB's."""

    def __init__(self, n_genes: int, n_cells: int) -> None:
        n = len(_FAMILIES)
        self._totals, self._squares = np.zeros((2, n))
        self._of_genes, self._of_cells = np.empty((n, n_genes)), np.zeros((n, n_cells))
        self._n_seen = 0

    def add(self, found: np.ndarray) -> None:
        """Add some genes, (n_families, n, n_cells)."""
        place = slice(self._n_seen, self._n_seen + found.shape[1])
        self._n_seen = place.stop
        self._totals += found.sum((1, 2))
        gains = found - found[_NB]
        self._of_genes[:, place] = gains.sum(2)
        self._of_cells += gains.sum(1)
        self._squares += np.square(gains).sum((1, 2))

    def table(self, alpha: float) -> pd.DataFrame:
        n_genes, n_cells = self._of_genes.shape[1], self._of_cells.shape[1]
        rows = []
        for k, family in enumerate(_FAMILIES):
            mean = crossed_mean_of_sums(self._of_genes[k], self._of_cells[k], float(self._squares[k]))
            low, high = mean.interval(1 - alpha) if mean.se > 0 else (mean.mean, mean.mean)
            of_all = [n_genes * number for number in (mean.mean, mean.se, low, high)]
            level = self._totals[k] / n_cells
            rows.append((family, _N_PARAMETERS[k], level, *of_all, mean.df, n_genes, n_cells))
        return pd.DataFrame(rows, columns=CAUSES_FAMILIES.holds)


@contextmanager
def _genes_of(
    fit: Fitted, data: CountData, cells: np.ndarray, n_counts: np.ndarray, chosen: np.ndarray
) -> Iterator[Iterator[Genes]]:
    """Give the counts of some cells around the network's means, a few of the chosen genes at a time.

    ``n_counts`` of each gene are not zero, (n_genes,).
    """

    def counts(genes: slice) -> Iterator[sparse.csr_array]:
        return data.compressed(torch.as_tensor(cells, device=data.device), genes)

    with Means((len(cells), data.n_genes), SMALLEST_MEAN) as kept:
        kept.write(expected_means(fit, data, cells))
        yield chosen_genes(counts, n_counts, kept.groups(), chosen)
