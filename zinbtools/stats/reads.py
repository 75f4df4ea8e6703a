"""How often each molecule was read, from counts of reads alone.

Of k molecules there are ``x = k + NB(k (a - 1), k s)`` reads. Where a gene is rare, k is 1 or little more,
so that the sizes of the positive counts tell the copies a of a molecule; how many genes are seen at all tells
the molecules of a cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .cell_copies import Cells, TellingGenes
from .count_models import Copies
from .likely_cells import LEAST_COPIES, LikelyCells
from .likely_copies import Likely, most_likely

Floats = NDArray[np.float64]

_NOT_IN_ALL, _RARE = 0.9, 0.3  # share of the cells that have a gene; the latter of molecules to expect too
_SEEN, _FEWEST_GENES, _FEWEST_CELLS = 3, 30, 10
_MOST_ENTRIES = 20_000_000  # of genes and cells, where cells differ in what they express
_LEAST, _MOST = 0.0, 1.0  # dispersion of the molecules of a gene
_OF_LEVEL = 0.08  # error of the log level beyond that of genes, as where the truth is known
_Z = 1.959964
_FORETOLD, _MUCH, _FEWEST_OTHERS = 2.0, 0.05, 3


@dataclass(frozen=True)
class Amplified:
    """How the molecules of the cells of one batch were copied.

    Attributes
    ----------
    copies, copies_se
        Mean number of reads of a molecule in each cell, and the standard error of its logarithm relative to
        the other cells, (N,).
    molecules
        Of each cell, (N,): its reads over its copies.
    level, low, high
        Reads of all cells over their molecules, and a 95 % interval.
    relative
        Copies of each cell over their geometric mean, (N,).
    highest
        Copies of the average gene in a cell where the relative ones are 1, by sizes.
    cells, genes
        What was learned from, and the genes by which cells are told apart.
    """

    copies: Floats
    copies_se: Floats
    molecules: Floats
    level: float
    low: float
    high: float
    relative: Floats
    highest: float
    cells: Cells
    genes: TellingGenes

    @cached_property
    def likely(self) -> Likely:
        """Copies of the median gene, their shape, and how far genes differ; the slow part."""
        return most_likely(self.cells, self.relative, self.highest)

    @property
    def copies_interval(self) -> tuple[Floats, Floats]:
        """Ends of a 95 % interval of each cell's copies relative to the other cells, (N,) each."""
        reach = np.exp(_Z * self.copies_se)
        return self.copies / reach, self.copies * reach

    @cached_property
    def likely_cells(self) -> LikelyCells:
        """What makes the counts of a cell most likely."""
        return LikelyCells.of(self.cells, self._copies(self.relative))

    @property
    def for_genes(self) -> Copies:
        """What a test of genes in these cells is given."""
        return self.of_tested(self.cells)

    def of_tested(self, cells: Cells) -> Copies:
        """Copies of cells whose genes are tested: the most likely ones, by the counts of each cell.

        Of an estimate that is shrunk an error is left in the means of all genes; it looks like a dispersion,
        which hides a dropout.
        """
        return self._copies(self.likely_cells.own_copies(cells))

    def of_others(self, cells: Cells) -> Copies:
        """Copies of cells of this batch, by what these cells say of the batch and of the genes."""
        return self._copies(self.genes.relative_copies(cells)[0])

    def _copies(self, relative: Floats) -> Copies:
        mean = np.maximum(self.likely.level * relative, LEAST_COPIES)
        likely = self.likely
        return Copies(mean, np.full(len(mean), likely.shape), likely.gene_sd, likely.shape_sd)


def reads_per_molecule(cells: Cells) -> Amplified:
    r"""Estimate the copies of a molecule in each of N cells from their reads.

    Where cells differ in what they express, a gene that some of them have much of is not rare there, and its
    counts are many molecules, not many copies. So the cells may say which share of their reads each is
    expected to have of each gene; all the same by default.

    Molecules of a gene are taken for NB numbers with a dispersion of 0.4, as genes of many sets have it.

    *Cells.* Two estimates of a cell's copies, both up to a common factor. From sizes: the reads of genes that
    not all cells have over the molecules to expect where there is one,
    ``c_n = sum x_ng / sum E[k_ng | k_ng > 0]``, with molecules of mean ``s_n m_g`` that give each cell and
    each gene its number of zeros. From detection: all reads over ``s_n``. The first has the errors of the
    sizes; both have those of ``s_n``; and the second is wrong where cells differ in what they express: by
    what the two differ beyond their errors. They are weighted so that the error of their mean is least, and
    the mean is shrunk to what the cell's reads foretell.

    *Level.* The reads of rare genes over their molecules, of all cells together. The interval reaches from
    where the dispersion is 1 to where it is 0 and, beyond, 1.96 standard errors: those of genes, and 0.08 of
    the logarithm, by about which levels of known truth err.

    *For genes.* The copies of a cell are those at which its counts of 300 genes, or of so many that there are
    600,000 counts, are most likely, each gene being what it is in all cells. The shape, the copies of the
    median gene and the spread over genes are those at which 100 genes of up to 500 cells are most likely as
    molecules that may drop out and were copied: with a dropout of its own, a gene's zeros do not tell its
    copies. The copies of the average gene are between the level and 1.35 times less. Where shares are given,
    both are of entries in which few molecules are to be expected, instead of rare genes, and around these
    shares.

    Raises
    ------
    ValueError
        If there are fewer than 10 cells, or fewer than 30 genes that some cells have and others lack.

    Examples
    --------
    >>> from scipy import sparse
    >>> rng = np.random.default_rng(0)
    >>> molecules = rng.poisson(rng.gamma(2, rng.lognormal(-1, 1, 200) / 2, (300, 200)))
    >>> reads = molecules + rng.negative_binomial(np.maximum(molecules, 1e-9), 1 / 20)
    >>> 18 < reads_per_molecule(Cells.around(sparse.csr_array(reads))).level < 22
    True
    """
    which, share = _telling(cells)
    telling = TellingGenes.of(cells, which, share)
    level, error = _by_sizes(telling, cells, share)
    most, least = (
        _by_sizes(TellingGenes.alike(cells, which, share, of), cells, share)[0] for of in (_LEAST, _MOST)
    )
    relative, se = telling.relative_copies(cells)
    total = cells.reads
    ratio = total.sum() / (total / relative).sum()
    copies = np.maximum(relative * level / ratio, 1.0)
    reach = np.exp(_Z * np.hypot(error, _OF_LEVEL))
    return Amplified(
        copies=copies,
        copies_se=se,
        molecules=total / copies,
        level=max(level, 1.0),
        low=max(min(least, level) / reach, 1.0),
        high=max(most, level, 1.0) * reach,
        relative=relative,
        highest=max(level / ratio, 1.1),
        cells=cells,
        genes=telling,
    )


def are_foretold(learned: Sequence[Cells], others: Sequence[Cells]) -> bool:
    """Whether shares foretell which genes other cells of each batch have, much better than equal shares do.

    Much is two standard errors, and a twentieth of what equal shares leave to be foretold: shares of a
    network have errors of their own. The other cells are some that it was not fitted to; one that was fitted
    to few cells foretells worse than equal shares.
    """
    pairs = list(zip(learned, others, strict=True))
    given = np.concatenate([_detection(*pair) for pair in pairs])
    equal = np.concatenate([_detection(*(cells.alike for cells in pair)) for pair in pairs])
    gain = given - equal
    if len(gain) < _FEWEST_OTHERS:
        return False
    error = float(gain.std(ddof=1)) / np.sqrt(len(gain))
    return bool(gain.mean() > max(_FORETOLD * error, -_MUCH * equal.mean()))


def _detection(learned: Cells, others: Cells) -> Floats:
    """Log likelihood of which genes each of the other cells has, nats, (n,)."""
    return TellingGenes.alike(learned, *_telling(learned)).detection(others)


def _telling(cells: Cells) -> tuple[NDArray[np.int64], Floats]:
    """Genes that some cells have and others lack, and the share of the cells that have each."""
    n_cells, n_counts = cells.counts.shape[0], cells.n_counts
    some = np.flatnonzero((n_counts >= _SEEN) & (n_counts < _NOT_IN_ALL * n_cells))
    if n_cells < _FEWEST_CELLS or len(some) < _FEWEST_GENES:
        raise ValueError(
            f"reads tell molecules by genes that some cells lack: {_FEWEST_GENES} of them and "
            f"{_FEWEST_CELLS} cells are needed, found {len(some)} and {n_cells}."
        )
    most = max(_FEWEST_GENES, _MOST_ENTRIES // n_cells)
    if cells.shares is not None and len(some) > most:
        some = some[np.linspace(0, len(some) - 1, most).round().astype(np.int64)]
    return some, n_counts[some] / n_cells


def _by_sizes(telling: TellingGenes, cells: Cells, share: Floats) -> tuple[float, float]:
    """Reads where few molecules are expected over these molecules; the error of the log, from that of genes.

    That is in rare genes, or in entries if cells differ in what they express.
    """
    depth = telling.depth(cells)
    if cells.shares is None:
        most = max(_RARE, np.sort(share)[_FEWEST_GENES - 1])
    else:
        means = [np.sort(mean)[:_FEWEST_GENES] for _, mean, _ in telling.expected_molecules(cells, depth)]
        most = max(_RARE, np.sort(np.concatenate(means))[:_FEWEST_GENES][-1])

    def few() -> Iterator[tuple[Floats, NDArray[np.int32], Floats]]:
        for counts, mean, expected in telling.expected_molecules(cells, depth):
            some = (share[counts.indices] if cells.shares is None else mean) <= most
            yield counts.data[some], counts.indices[some], expected[some]

    total, about, last = 0.0, 0.0, -1
    for reads, genes, expected in few():
        total, about = total + float(reads.sum()), about + float(expected.sum())
        last = max(last, genes.max(initial=-1))
    level = total / about
    of_genes = np.zeros(last + 1)
    for reads, genes, expected in few():
        np.add.at(of_genes, genes, reads - level * expected)
    return level, float(np.sqrt((of_genes**2).sum()) / total)
