"""How the copies of molecules differ between cells, by the genes that some of them have and others lack.

Where a gene is rare, a cell that has it has one molecule or little more, so that the sizes of such counts
tell the copies of the cell; how many of the genes it has tells its molecules.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]

_LIKE_ALL = 10.0  # counts that a gene's factor is shrunk by
_TYPICAL = 0.4  # dispersion of the molecules of a gene
_LEAST_SPREAD = 1e-4  # variance of log copies between cells
_ALIKE = 0.25  # share of what the estimates of cells differ that may be an error of both
_BINS = 200
_AT_ONCE = 2**18  # cells x genes
_ROUNDS, _LONGEST_STEP, _CLOSE = 60, 1.0, 1e-6  # of Newton's steps in a logarithm


class Cells(NamedTuple):
    """Reads of some cells.

    Attributes
    ----------
    counts
        Reads, (N, G).
    shares
        Which share of its reads each cell is expected to have of each gene, up to a factor of the gene,
        (N, G); None where all cells are expected to have the same.
    """

    counts: sparse.csr_array
    shares: NDArray[np.floating] | None = None

    @classmethod
    def around(cls, counts: sparse.csr_array, means: NDArray[np.floating] | None = None) -> Self:
        """Cells whose shares are those of the means, (N, G)."""
        counts = sparse.csr_array(counts)
        return cls(counts, None if means is None else means / means.sum(axis=1, keepdims=True))

    def shares_of(self, genes: NDArray[np.int64]) -> NDArray[np.floating] | None:
        """Shares of some genes."""
        return None if self.shares is None else self.shares[:, genes]

    def part(self, genes: NDArray[np.int64]) -> Cells:
        """Take some genes, in double precision."""
        shares = self.shares_of(genes)
        counts = sparse.csr_array(self.counts[:, genes], dtype=np.float64)
        return Cells(counts, None if shares is None else shares.astype(np.float64))

    def rows(self, cells: NDArray[np.int64] | slice) -> Cells:
        """Take some cells."""
        return Cells(self.counts[cells], None if self.shares is None else self.shares[cells])

    def blocks(self, genes: NDArray[np.int64]) -> Iterator[tuple[slice, Cells]]:
        """Take some genes of a few cells after the other; and which cells these are."""
        for some in _blocks(self.counts.shape[0], len(genes)):
            yield some, self.rows(some).part(genes)

    def seen(self, genes: NDArray[np.int64]) -> Floats:
        """Share of some genes that each cell has, neither none nor all, (N,)."""
        n = len(genes)
        numbers = [np.diff(part.counts.indptr) for _, part in self.alike.blocks(genes)]
        return np.clip(np.concatenate(numbers) / n, 0.5 / n, 1 - 0.5 / n)

    @property
    def n_counts(self) -> NDArray[np.int64]:
        """How many cells have each gene, (G,)."""
        found = np.zeros(self.counts.shape[1], dtype=np.int64)
        for some in _blocks(*self.counts.shape):
            rows = self.counts[some]
            found += np.bincount(rows.indices[rows.data > 0], minlength=len(found))
        return found

    @property
    def alike(self) -> Cells:
        """The same with equal shares."""
        return self._replace(shares=None)

    @property
    def reads(self) -> Floats:
        """Of each cell, (N,)."""
        blocks = (self.counts[some].astype(np.float64) for some in _blocks(*self.counts.shape))
        return np.concatenate([np.asarray(rows.sum(axis=1)).ravel() for rows in blocks])


@dataclass(frozen=True)
class TellingGenes:
    """Genes that some cells have and others lack, and what they say of the copies of a cell.

    Attributes
    ----------
    which
        They, by index, (n,).
    molecules
        Of each gene in a cell of average depth, (n,).
    factor
        Reads of each gene per molecule to expect, over those of all, (n,).
    centres
        Averages over cells of the logarithms of copies by sizes and by detection, and of reads.
    least_variance
        That an estimate by sizes has.
    dispersion
        Of the molecules of a gene.
    differ
        Variance of an estimate by detection beyond that of the number of genes that are seen.
    slope, spread
        By how much log copies rise with log reads, and the variance that is left.
    """

    which: NDArray[np.int64]
    molecules: Floats
    factor: Floats
    dispersion: float
    centres: tuple[float, float, float] = (0.0, 0.0, 0.0)
    least_variance: float = 0.0
    differ: float = 0.0
    slope: float = 0.0
    spread: float = np.inf

    @classmethod
    def of(
        cls,
        cells: Cells,
        which: NDArray[np.int64],
        share: Floats,
        dispersion: float = _TYPICAL,
    ) -> Self:
        """Learn from some cells, of which a ``share`` has each of these genes."""
        alike = cls.alike(cells, which, share, dispersion)
        depth = alike.depth(cells)
        of_gene, about, seen = np.zeros((3, len(which)))
        for part, _, expected in alike.expected_molecules(cells, depth):
            np.add.at(of_gene, part.indices, part.data)
            np.add.at(about, part.indices, expected)
            np.add.at(seen, part.indices, 1.0)
        relative = (of_gene / about) / (of_gene.sum() / about.sum())
        found = replace(alike, factor=relative ** (seen / (seen + _LIKE_ALL)))
        of = found._estimates(cells, depth)
        known = np.isfinite(of.by_sizes)
        least = 0.1 * float(np.median(of.variance[known]))
        errors = np.maximum(of.variance, least) + (1 - of.elasticity) ** 2 * of.of_depth
        apart = float(np.var((of.by_sizes - of.by_detection)[known]) - errors[known].mean())
        reads = np.log(cells.reads)
        centres = float(of.by_sizes[known].mean()), float(of.by_detection.mean()), float(reads.mean())
        found = replace(found, centres=centres, least_variance=least, differ=max(apart, 0.0))
        value, variance = found._together(of)
        slope = float(np.polyfit(reads - reads.mean(), value, 1)[0])
        left = float(np.var(value - slope * reads) - variance.mean())
        return replace(found, slope=slope, spread=max(left, _LEAST_SPREAD))

    @classmethod
    def alike(
        cls, cells: Cells, which: NDArray[np.int64], share: Floats, dispersion: float = _TYPICAL
    ) -> Self:
        """Learn no more than the molecules of each gene."""
        return cls(which, _molecules(cells, which, share, dispersion), np.ones(len(which)), dispersion)

    def relative_copies(self, cells: Cells) -> tuple[Floats, Floats]:
        """Copies of cells over the geometric mean of those that were learned from; errors of their logs."""
        value, variance = self._together(self._estimates(cells, self.depth(cells)))
        expected = self.slope * (np.log(cells.reads) - self.centres[2])
        kept = self.spread / (self.spread + variance)
        return np.exp(expected + kept * (value - expected)), np.sqrt(kept * variance + _ALIKE * self.differ)

    def _together(self, of: _Estimates) -> tuple[Floats, Floats]:
        """Logarithms of the copies of cells by sizes and by detection, about 0, and their variances.

        With the weight w of sizes the error is that of sizes by w, what detection differs by 1 - w, and that
        of the depth by 1 - w times what sizes do not share of it.
        """
        variance, apart = np.maximum(of.variance, self.least_variance), 1 - of.elasticity
        with np.errstate(invalid="ignore"):
            weight = (self.differ + apart * of.of_depth) / (variance + self.differ + apart**2 * of.of_depth)
        weight = np.where(np.isfinite(of.by_sizes), np.minimum(weight, 1.0), 0.0)
        from_sizes = np.nan_to_num(of.by_sizes - self.centres[0])
        value = weight * from_sizes + (1 - weight) * (of.by_detection - self.centres[1])
        own = np.where(weight > 0, weight**2 * np.where(weight > 0, variance, 0.0), 0.0)
        return value, own + (1 - weight) ** 2 * self.differ + (1 - weight * apart) ** 2 * of.of_depth

    def depth(self, cells: Cells) -> Floats:
        """Molecules of each cell over those of an average one that give it its number of genes, (N,)."""
        others = _Others.of(self.molecules, cells.shares_of(self.which))
        return _solved(cells.seen(self.which), others, self.dispersion)

    def expected_molecules(
        self, cells: Cells, depth: Floats
    ) -> Iterator[tuple[sparse.csr_array, Floats, Floats]]:
        """Molecules to expect where there is a count: without looking, and as there is one.

        Beside the counts of these genes, of a few cells after the other, which have this `depth`.
        """
        for some, part in cells.blocks(self.which):
            yield part.counts, *self._expected(part, depth[some])

    def _expected(self, part: Cells, depth: Floats) -> tuple[Floats, Floats]:
        genes = part.counts.indices
        rows = _rows(part.counts)
        mean = depth[rows] * self.molecules[genes]
        if part.shares is not None:
            mean *= part.shares[rows, genes]
        return mean, mean / -np.expm1(-_minus_log_absent(mean, self.dispersion))

    def detection(self, cells: Cells) -> Floats:
        """Log likelihood of which of these genes each cell has, given how many it has, nats, (N,)."""
        depth = self.depth(cells)
        return np.concatenate([self._detection(part, depth[some]) for some, part in cells.blocks(self.which)])

    def _detection(self, part: Cells, depth: Floats) -> Floats:
        absent = _minus_log_absent(self._means(part, depth), self.dispersion)
        found = -absent.sum(axis=1)
        rows, genes = _rows(part.counts), part.counts.indices
        odds = np.log(np.expm1(np.clip(absent[rows, genes], 1e-300, 500.0)))
        return found + np.bincount(rows, odds, len(found))

    def _means(self, part: Cells, depth: Floats) -> Floats:
        """Molecules to expect of each gene in each cell, (N, n)."""
        mean = np.outer(depth, self.molecules)
        return mean if part.shares is None else mean * part.shares

    def _estimates(self, cells: Cells, depth: Floats) -> _Estimates:
        reads = cells.reads
        blocks = cells.blocks(self.which)
        found = [self._estimates_of(part, depth[some], reads[some]) for some, part in blocks]
        return _Estimates(*map(np.concatenate, zip(*found, strict=True)))

    def _estimates_of(self, part: Cells, depth: Floats, total: Floats) -> _Estimates:
        partial = part.counts
        of, n_cells, alpha = _rows(partial), partial.shape[0], self.dispersion

        def of_cells(values: Floats) -> Floats:
            return np.bincount(of, values, n_cells).astype(np.float64)

        mean = self._means(part, depth)
        absent = np.exp(-_minus_log_absent(mean, alpha))
        slope = mean * absent / (1 + alpha * mean)
        expected, scaled = self._expected(part, depth)[1], partial.data / self.factor[partial.indices]
        about, reads = of_cells(expected), of_cells(scaled)
        with np.errstate(divide="ignore", invalid="ignore"):
            elasticity = 1 - of_cells(expected * (slope / (1 - absent))[of, partial.indices]) / about
            copies = reads / about
            variance = of_cells((scaled - copies[of] * expected) ** 2) / reads**2
            by_sizes = np.log(copies)
        return _Estimates(
            by_sizes,
            variance,
            elasticity,
            np.log(total / depth),
            ((1 - absent) * absent).sum(axis=1) / slope.sum(axis=1) ** 2,
        )


class _Estimates(NamedTuple):
    """Of the log copies of each cell; NaN by sizes where a cell has none of the genes.

    Attributes
    ----------
    by_sizes, variance
        By the sizes of counts, with the variance that the scatter of these leaves.
    elasticity
        Share of an error of the log depth that is in it.
    by_detection, of_depth
        By all reads over the depth, and the variance of the log depth.
    """

    by_sizes: Floats
    variance: Floats
    elasticity: Floats
    by_detection: Floats
    of_depth: Floats


def _rows(matrix: sparse.csr_array) -> NDArray[np.int64]:
    """Return the row of each stored number."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def _minus_log_absent(mean: Floats, dispersion: float) -> Floats:
    """``-log NB(0)``."""
    return np.log1p(dispersion * mean) / dispersion if dispersion > 0 else mean


def _blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Divide rows evenly into blocks of few entries."""
    n_blocks = max(1, min(n_rows, -(-n_rows * n_columns // _AT_ONCE)))
    bounds = np.linspace(0, n_rows, n_blocks + 1).astype(np.int64).tolist()
    return itertools.starmap(slice, itertools.pairwise(bounds))


def _molecules(cells: Cells, which: NDArray[np.int64], share: Floats, dispersion: float) -> Floats:
    """Molecules of genes in a cell of average depth that give each gene and each cell its number of zeros."""
    seen, shares = cells.seen(which), cells.shares_of(which)
    average = 1.0 if shares is None else shares.mean(axis=0, dtype=np.float64)
    of_genes, depth, start = -np.log1p(-share) / average, None, None
    of_cells = None if shares is None else shares.T
    for _ in range(3):
        depth = _solved(seen, _Others.of(of_genes, shares), dispersion, depth)
        depth /= depth.mean()
        of_genes = _solved(share, _Others.of(depth, of_cells), dispersion, start)
        start = of_genes
    return of_genes


class _Others(NamedTuple):
    """What each number that is solved for is multiplied by: the same for all, (n,), or shares of it."""

    values: Floats
    shares: NDArray[np.floating] | None  # a row for each number

    @classmethod
    def of(cls, values: Floats, shares: NDArray[np.floating] | None) -> Self:
        """Take values that are the same for all in bins."""
        if shares is not None:
            return cls(values, shares)
        edges = np.quantile(values, np.linspace(0, 1, _BINS + 1))
        return cls(0.5 * (edges[1:] + edges[:-1]), None)

    def rows(self, some: slice) -> Floats:
        """Those of some numbers, in double precision; one row if they are the same for all."""
        return self.values[None] if self.shares is None else self.shares[some] * self.values


def _solved(share: Floats, others: _Others, dispersion: float, start: Floats | None = None) -> Floats:
    """Solve ``mean(1 - NB(0 | y others)) = share`` for y, each.

    Without a ``start`` it begins with what would be so without a dispersion.
    """
    blocks = list(_blocks(len(share), len(others.values)))
    if start is None:
        mean = np.concatenate([others.rows(some).mean(axis=1) for some in blocks])
        start = -np.log1p(-share) / (mean[:1] if others.shares is None else mean)
    log_y = np.log(start)
    step = np.empty_like(log_y)
    for _ in range(_ROUNDS):
        for some in blocks:
            mean = np.exp(log_y[some])[:, None] * others.rows(some)
            absent = np.exp(-_minus_log_absent(mean, dispersion))
            slope = np.maximum((mean * absent / (1 + dispersion * mean)).mean(axis=1), 1e-300)
            step[some] = (share[some] - 1 + absent.mean(axis=1)) / slope
        step.clip(-_LONGEST_STEP, _LONGEST_STEP, out=step)
        log_y += step
        if np.abs(step).max() < _CLOSE:
            break
    return np.exp(log_y)
