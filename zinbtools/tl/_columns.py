"""Regressions of genes whose counts or means do not fit into memory: some genes at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import sparse

from ..jobs.progress import counting
from ..jobs.threads import in_order
from ..stats.count_models import CountFits, fit_counts
from ..stats.dispersion_by_state import ByState, dispersion_by_state

COUNTS_BYTES, MEANS_BYTES = 2**25, 2**24  # of the genes that are in memory at a time
MEMORY_BYTES = 2**25  # of means; more of them go through a file
_BYTES_PER_COUNT = 16  # as they are read, and as columns
_BYTES_PER_MEAN = 16  # as they are read, and in double precision
_CELLS_AT_ONCE = 1024
_AT_ONCE, _FEW = 128, 8  # genes that a thread has: to be fitted, and to be fitted by state

Blocks = Callable[[slice], Iterable[sparse.csr_array]]
States = Callable[[int], np.ndarray]
Odds = Callable[[np.ndarray], np.ndarray]


def fit_columns(
    blocks: Blocks,
    n_counts: np.ndarray,
    means: Iterable[tuple[slice, np.ndarray]],
    n_threads: int = 1,
    odds: Odds | None = None,
    **options: Any,
) -> CountFits:
    """Fit all genes as `fit_counts` does, group by group.

    Parameters
    ----------
    blocks
        Gives the counts of some genes in all cells, in blocks of cells.
    n_counts
        In how many cells each gene has a count, (G,).
    means
        Groups of consecutive genes, and the means for each: of cells, (N,), or entries, (N, n).
    n_threads
        That share the genes; no number depends on it.
    odds
        Gives the ``dropout_odds`` of genes, by their indices; dropout probabilities are averages over cells.
    options
        As for `fit_counts`.
    """

    def fit(some: Genes) -> CountFits:
        if odds is None:
            return fit_counts(some.counts, some.means, **options)
        given = odds(some.which)
        return fit_counts(some.counts, some.means, dropout_odds=given, **options).averaged(given)

    groups = with_counts(blocks, n_counts, means)
    pieces = (part for group in groups for part in group.pieces(_AT_ONCE))
    fits = in_order(fit, pieces, n_threads)
    return joined([*counting(fits, len(n_counts), "tests of genes", "gene", lambda found: len(found.gain))])


class Genes(NamedTuple):
    """Some genes, given by index, their counts, (N, n), and means: of each cell, (N,), or entry, (N, n)."""

    which: np.ndarray
    counts: sparse.csc_array
    means: np.ndarray

    def part(self, places: slice | np.ndarray) -> Genes:
        """Take some of them."""
        means = self.means if self.means.ndim == 1 else self.means[:, places]
        return Genes(self.which[places], self.counts[:, places], means)

    def pieces(self, size: int) -> Iterator[Genes]:
        """Yield at most so many at a time."""
        for start in range(0, len(self.which), size):
            yield self.part(slice(start, start + size))


class Around(NamedTuple):
    """Counts of some genes, given by index, and what is given of each entry, (N, n)."""

    genes: np.ndarray
    counts: sparse.csc_array
    means: np.ndarray
    inverse_dispersions: np.ndarray
    odds: np.ndarray
    states: States
    precisions: np.ndarray
    penalties: np.ndarray

    def fit(self, **options: Any) -> CountFits:
        """Fit them as `fit_counts` does."""
        return fit_counts(self.counts, self.means, **self.given, **options)

    @property
    def given(self) -> dict[str, Any]:
        """What a fit of the genes is given beside their means."""
        return {"inverse_dispersions": self.inverse_dispersions, "dropout_odds": self.odds}

    def without_dropouts(self, fits: CountFits) -> Around:
        """With the dispersions of the counts that are no dropouts, as the ZINBs of ``fits`` see it."""
        z = fits.of("zinb")
        pi, theta = fits.dropout[:, z], fits.inverse_dispersion[:, z] * self.inverse_dispersions
        mu = self.means * np.exp(fits.coefficients[:, z, 0])
        zero = np.exp(-np.where(np.isinf(theta), mu, theta * np.log1p(mu / theta)))
        none = (1 - pi) * zero / (pi * self.odds + (1 - pi) * zero)
        weights = np.where(self.counts.toarray() > 0, 1.0, none)
        found = [
            dispersion_by_state(x, self.means[:, k], self.states(g), weights[:, k], [self.precisions[k]])
            for k, (g, x) in enumerate(zip(self.genes, _columns(self.counts), strict=True))
        ]
        return self._with(found)

    @classmethod
    def by_state(cls, some: Genes, odds: Odds, states: States) -> Around:
        """With dispersions that differ between the cells as far as their states tell."""
        genes, counts, means = some.which, some.counts, some.means.astype(np.float64)
        found = [
            dispersion_by_state(x, means[:, k], states(g))
            for k, (g, x) in enumerate(zip(genes, _columns(counts), strict=True))
        ]
        nothing = np.empty(0)
        return cls(genes, counts, means, nothing, odds(genes), states, nothing, nothing)._with(found)

    def _with(self, found: Sequence[ByState]) -> Around:
        factors, precisions, penalties = (np.array(part) for part in zip(*found, strict=True))
        return self._replace(inverse_dispersions=factors.T, precisions=precisions, penalties=penalties)


def _columns(counts: sparse.csc_array) -> Iterator[np.ndarray]:
    for k in range(counts.shape[1]):
        yield counts[:, [k]].toarray().ravel()


def chosen_genes(
    blocks: Blocks, n_counts: np.ndarray, means: Iterable[tuple[slice, np.ndarray]], chosen: np.ndarray
) -> Iterator[Genes]:
    """Yield those that are chosen, (G,) boolean, a few at a time; the rest is as for `fit_columns`."""
    for group in with_counts(blocks, n_counts, means):
        yield from group.part(np.flatnonzero(chosen[group.which])).pieces(_FEW)


def with_counts(
    blocks: Blocks, n_counts: np.ndarray, means: Iterable[tuple[slice, np.ndarray]]
) -> Iterator[Genes]:
    """Yield each group of genes with its counts and its means."""
    columns, start = sparse.csc_array((0, 0)), 0
    for group, of_group in means:
        if group.stop > start + columns.shape[1]:
            start, stop = group.start, max(group.stop, _end(n_counts, group.start))
            columns = sparse.csc_array(sparse.vstack([*blocks(slice(start, stop))], format="csr"))
        which = np.arange(group.start, group.stop)
        yield Genes(which, columns[:, group.start - start : group.stop - start], of_group)


def gene_groups(n_counts: np.ndarray) -> Iterator[slice]:
    """Yield runs of consecutive genes whose counts fit into memory."""
    start = 0
    while start < len(n_counts):
        stop = _end(n_counts, start)
        yield slice(start, stop)
        start = stop


def _end(n_counts: np.ndarray, start: int) -> int:
    """Return the gene up to which counts fit into memory; at least one does."""
    return start + max(1, int((n_counts[start:].cumsum() * _BYTES_PER_COUNT <= COUNTS_BYTES).sum()))


def joined(parts: Sequence[CountFits]) -> CountFits:
    """Join the fits of groups of genes."""
    by_gene = (field.name for field in fields(CountFits) if field.name != "n_cells")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in by_gene}
    return CountFits(n_cells=parts[0].n_cells, **arrays)


class Means:
    """Means of N cells x G genes, written by cells and read by genes; many of them in a temporary file.

    Parameters
    ----------
    shape
        ``(N, G)``.
    smallest
        Means below it are raised to it.
    """

    def __init__(self, shape: tuple[int, int], smallest: float) -> None:
        self._n_cells, n_genes = shape
        width = max(1, MEANS_BYTES // (_BYTES_PER_MEAN * max(self._n_cells, 1)))
        self._groups = [slice(g, min(g + width, n_genes)) for g in range(0, n_genes, width)]
        self._smallest = np.float32(smallest)
        self._file = SpooledTemporaryFile(MEMORY_BYTES, prefix="zinbtools-means-")  # noqa: SIM115 - `__exit__`
        if 4 * self._n_cells * n_genes > MEMORY_BYTES:
            self._file.rollover()

    def write(self, blocks: Iterable[np.ndarray]) -> None:
        """Write means of the cells in order, block by block, (n, G)."""
        start, waiting = 0, []
        for block in blocks:
            waiting.append(block)
            if sum(map(len, waiting)) >= _CELLS_AT_ONCE:
                start += self._put(start, np.concatenate(waiting))
                waiting = []
        if waiting:
            start += self._put(start, np.concatenate(waiting))
        assert start == self._n_cells

    def _put(self, start: int, means: np.ndarray) -> int:
        means = np.maximum(means, self._smallest, dtype=np.float32)
        for group in self._groups:
            self._file.seek(self._place(group) + 4 * start * (group.stop - group.start))
            self._file.write(np.ascontiguousarray(means[:, group]).data)
        return len(means)

    def groups(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield a few genes at a time, and their means in all cells, (N, n)."""
        for group in self._groups:
            means = np.empty((self._n_cells, group.stop - group.start), dtype=np.float32)
            self._file.seek(self._place(group))
            self._file.readinto(means.data)
            yield group, means

    def _place(self, group: slice) -> int:
        return 4 * self._n_cells * group.start

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
