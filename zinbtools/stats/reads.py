"""How often each molecule was read, from counts of reads alone.

Of k molecules there are ``x = k + NB(k (a - 1), k s)`` reads. Where a gene is rare, k is 1 or little more,
so that the sizes of the positive counts tell the copies a of a molecule; how many genes are seen at all tells
the molecules of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .count_models import Copies, CountFits, fit_counts

Floats = NDArray[np.float64]

_NOT_IN_ALL, _RARE = 0.9, 0.3  # share of the cells that have a gene
_SEEN, _FEWEST_GENES, _FEWEST_CELLS = 3, 30, 10
_MOST_GENES, _MOST_CELLS = 100, 500  # of the likelihood
_DETECTED = (0.1, 0.85)
_LIKE_ALL = 10.0  # counts that a gene's factor is shrunk by
_SHAPE, _LEAST_SHAPE, _LARGEST_SHAPE = 0.8, 0.03, 30.0
_STEP = 0.7  # in the log of the shape
_TYPICAL, _LEAST, _MOST = 0.4, 0.0, 1.0  # dispersion of the molecules of a gene
_LEAST_COPIES, _WIDE, _LEAST_SD = 1.02, 1.0, 0.05
_LEAST_SPREAD = 1e-4  # variance of log copies between cells
_TOO_HIGH = 1.35  # that the sizes of rare genes may be
_ALIKE = 0.25  # share of what the estimates of cells differ that may be an error of both
_BINS = 200
_OF_LEVEL = 0.08  # error of the log level beyond that of genes, as where the truth is known
_Z = 1.959964


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
    shape
        Of the number of reads of a molecule.
    gene_sd
        Standard deviation over genes of the log of their own factor of the copies.
    relative
        Copies of each cell over their geometric mean, (N,).
    gene_level
        Copies of the median gene in a cell where the relative ones are 1.
    genes
        By which cells are told apart.
    """

    copies: Floats
    copies_se: Floats
    molecules: Floats
    level: float
    low: float
    high: float
    shape: float
    gene_sd: float
    relative: Floats
    gene_level: float
    genes: TellingGenes

    @property
    def copies_interval(self) -> tuple[Floats, Floats]:
        """Ends of a 95 % interval of each cell's copies relative to the other cells, (N,) each."""
        reach = np.exp(_Z * self.copies_se)
        return self.copies / reach, self.copies * reach

    @property
    def for_genes(self) -> Copies:
        """What a regression of genes is given."""
        return self._copies(self.relative)

    def of_others(self, reads: sparse.csr_array) -> Copies:
        """Return the same of other cells, (n, G), by what these cells say of the batch and of the genes."""
        return self._copies(self.genes.relative_copies(sparse.csr_array(reads, dtype=np.float64))[0])

    def _copies(self, relative: Floats) -> Copies:
        mean = np.maximum(self.gene_level * relative, _LEAST_COPIES)
        return Copies(mean, np.full(len(mean), self.shape), self.gene_sd)


def reads_per_molecule(reads: sparse.csr_array) -> Amplified:
    r"""Estimate the copies of a molecule in each of N cells from their reads, (N, G).

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

    *For genes.* The shape, the copies of the median gene and the spread over genes are those at which 100
    genes of up to 500 cells are most likely as molecules that may drop out and were copied: with a dropout of
    its own, a gene's zeros do not tell its copies. The copies of the average gene are between the level and
    1.35 times less.

    Raises
    ------
    ValueError
        If there are fewer than 10 cells, or fewer than 30 genes that some cells have and others lack.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> molecules = rng.poisson(rng.gamma(2, rng.lognormal(-1, 1, 200) / 2, (300, 200)))
    >>> reads = molecules + rng.negative_binomial(np.maximum(molecules, 1e-9), 1 / 20)
    >>> 18 < reads_per_molecule(sparse.csr_array(reads)).level < 22
    True
    """
    counts = sparse.csr_array(reads, dtype=np.float64)
    n_cells = counts.shape[0]
    total = np.asarray(counts.sum(axis=1)).ravel()
    n_counts = np.bincount(counts.indices[counts.data > 0], minlength=counts.shape[1])
    some = np.flatnonzero((n_counts >= _SEEN) & (n_counts < _NOT_IN_ALL * n_cells))
    if n_cells < _FEWEST_CELLS or len(some) < _FEWEST_GENES:
        raise ValueError(
            f"reads tell molecules by genes that some cells lack: {_FEWEST_GENES} of them and "
            f"{_FEWEST_CELLS} cells are needed, found {len(some)} and {n_cells}."
        )
    share = n_counts[some] / n_cells
    rare = some[share <= max(_RARE, np.sort(share)[_FEWEST_GENES - 1])]
    telling = TellingGenes.of(counts, some, share)
    level, error = _by_sizes(telling, counts, rare)
    most, least = (
        _by_sizes(TellingGenes.of(counts, some, share, of), counts, rare)[0] for of in (_LEAST, _MOST)
    )
    relative, se = telling.relative_copies(counts)
    ratio = total.sum() / (total / relative).sum()
    likely = _Batch(counts, n_counts, relative, max(level / ratio, 1.1)).most_likely()
    copies = np.maximum(relative * level / ratio, 1.0)
    reach = np.exp(_Z * np.hypot(error, _OF_LEVEL))
    return Amplified(
        copies=copies,
        copies_se=se,
        molecules=total / copies,
        level=max(level, 1.0),
        low=max(min(least, level) / reach, 1.0),
        high=max(most, level, 1.0) * reach,
        shape=likely.shape,
        gene_sd=likely.gene_sd,
        relative=relative,
        gene_level=likely.level,
        genes=telling,
    )


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
        counts: sparse.csr_array,
        which: NDArray[np.int64],
        share: Floats,
        dispersion: float = _TYPICAL,
    ) -> Self:
        """Learn from some cells, (N, G), of which a ``share`` has each of these genes."""
        partial = sparse.csr_array(counts[:, which])
        alike = cls(which, _molecules(partial, share, dispersion), np.ones(len(which)), dispersion)
        expected, genes = alike.expected_molecules(partial), partial.indices
        of_gene, about, seen = (
            np.bincount(genes, of, len(which)) for of in (partial.data, expected, np.ones(len(genes)))
        )
        relative = (of_gene / about) / (of_gene.sum() / about.sum())
        found = replace(alike, factor=relative ** (seen / (seen + _LIKE_ALL)))
        of = found._estimates(counts)
        known = np.isfinite(of.by_sizes)
        least = 0.1 * float(np.median(of.variance[known]))
        errors = np.maximum(of.variance, least) + (1 - of.elasticity) ** 2 * of.of_depth
        apart = float(np.var((of.by_sizes - of.by_detection)[known]) - errors[known].mean())
        reads = np.log(np.asarray(counts.sum(axis=1)).ravel())
        centres = float(of.by_sizes[known].mean()), float(of.by_detection.mean()), float(reads.mean())
        found = replace(found, centres=centres, least_variance=least, differ=max(apart, 0.0))
        value, variance = found._together(counts)
        slope = float(np.polyfit(reads - reads.mean(), value, 1)[0])
        left = float(np.var(value - slope * reads) - variance.mean())
        return replace(found, slope=slope, spread=max(left, _LEAST_SPREAD))

    def relative_copies(self, counts: sparse.csr_array) -> tuple[Floats, Floats]:
        """Copies of cells over the geometric mean of those that were learned from; errors of their logs."""
        value, variance = self._together(counts)
        expected = self.slope * (np.log(np.asarray(counts.sum(axis=1)).ravel()) - self.centres[2])
        kept = self.spread / (self.spread + variance)
        return np.exp(expected + kept * (value - expected)), np.sqrt(kept * variance + _ALIKE * self.differ)

    def _together(self, counts: sparse.csr_array) -> tuple[Floats, Floats]:
        """Logarithms of the copies of cells by sizes and by detection, about 0, and their variances.

        With the weight w of sizes the error is that of sizes by w, what detection differs by 1 - w, and that
        of the depth by 1 - w times what sizes do not share of it.
        """
        of = self._estimates(counts)
        variance, apart = np.maximum(of.variance, self.least_variance), 1 - of.elasticity
        with np.errstate(invalid="ignore"):
            weight = (self.differ + apart * of.of_depth) / (variance + self.differ + apart**2 * of.of_depth)
        weight = np.where(np.isfinite(of.by_sizes), np.minimum(weight, 1.0), 0.0)
        from_sizes = np.nan_to_num(of.by_sizes - self.centres[0])
        value = weight * from_sizes + (1 - weight) * (of.by_detection - self.centres[1])
        own = np.where(weight > 0, weight**2 * np.where(weight > 0, variance, 0.0), 0.0)
        return value, own + (1 - weight) ** 2 * self.differ + (1 - weight * apart) ** 2 * of.of_depth

    def expected_molecules(self, partial: sparse.csr_array) -> Floats:
        """Number of molecules to expect behind each count of these genes."""
        expected = self._depth(partial)[_rows(partial)] * self.molecules[partial.indices]
        return expected / -np.expm1(-_minus_log_absent(expected, self.dispersion))

    def _depth(self, partial: sparse.csr_array) -> Floats:
        seen, n = np.diff(partial.indptr) / len(self.which), len(self.which)
        return _solved(np.clip(seen, 0.5 / n, 1 - 0.5 / n), self.molecules, self.dispersion)

    def _estimates(self, counts: sparse.csr_array) -> _Estimates:
        partial = sparse.csr_array(counts[:, self.which])
        cells, n_cells, alpha = _rows(partial), partial.shape[0], self.dispersion

        def of_cells(values: Floats) -> Floats:
            return np.bincount(cells, values, n_cells).astype(np.float64)

        depth = self._depth(partial)
        mean = np.outer(depth, self.molecules)
        absent = np.exp(-_minus_log_absent(mean, alpha))
        slope = mean * absent / (1 + alpha * mean)
        expected, scaled = self.expected_molecules(partial), partial.data / self.factor[partial.indices]
        about, reads = of_cells(expected), of_cells(scaled)
        with np.errstate(divide="ignore", invalid="ignore"):
            elasticity = 1 - of_cells(expected * (slope / (1 - absent))[cells, partial.indices]) / about
            copies = reads / about
            variance = of_cells((scaled - copies[cells] * expected) ** 2) / reads**2
            by_sizes = np.log(copies)
        return _Estimates(
            by_sizes,
            variance,
            elasticity,
            np.log(np.asarray(counts.sum(axis=1)).ravel() / depth),
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


def _molecules(partial: sparse.csr_array, share: Floats, dispersion: float) -> Floats:
    """Molecules of genes in a cell of average depth that give each gene and each cell its number of zeros."""
    seen, n = np.diff(partial.indptr) / partial.shape[1], partial.shape[1]
    of_genes = -np.log1p(-share)
    for _ in range(3):
        depth = _solved(np.clip(seen, 0.5 / n, 1 - 0.5 / n), of_genes, dispersion)
        of_genes = _solved(share, depth / depth.mean(), dispersion)
    return of_genes


def _solved(share: Floats, others: Floats, dispersion: float) -> Floats:
    """Solve ``mean(1 - NB(0 | y others)) = share`` for y, each, with the others in bins."""
    edges = np.quantile(others, np.linspace(0, 1, _BINS + 1))
    middle = 0.5 * (edges[1:] + edges[:-1])
    low, high = np.full(len(share), 1e-8), np.full(len(share), 1e8)
    for _ in range(60):
        y = np.sqrt(low * high)
        absent = np.exp(-_minus_log_absent(y[:, None] * middle, dispersion))
        below = 1 - absent.mean(axis=1) < share
        low, high = np.where(below, y, low), np.where(below, high, y)
    return y


def _by_sizes(
    telling: TellingGenes, counts: sparse.csr_array, rare: NDArray[np.int64]
) -> tuple[float, float]:
    """Reads of rare genes over their molecules; the error of the log, from that of genes."""
    partial = sparse.csr_array(counts[:, telling.which])
    some = np.isin(telling.which, rare)[partial.indices]
    reads, expected = partial.data[some], telling.expected_molecules(partial)[some]
    level = float(reads.sum() / expected.sum())
    of_genes = np.bincount(partial.indices[some], reads - level * expected)
    return level, float(np.sqrt((of_genes**2).sum()) / reads.sum())


class _Likely(NamedTuple):
    """Copies of the median gene, shape, spread over genes, and how likely it all is."""

    level: float
    shape: float
    gene_sd: float
    evidence: float = -np.inf


class _Batch:
    """Search for the copies at which some genes of some cells are most likely.

    Genes may have a dropout, so that their zeros do not tell their copies. Those of the average gene are at
    most ``highest``, and not too far below it: where copies have another distribution, the likelihood takes
    many molecules with few copies for few with many.
    """

    def __init__(
        self, counts: sparse.csr_array, n_counts: NDArray[np.integer], relative: Floats, highest: float
    ) -> None:
        n_cells = len(relative)
        least, most = (share * n_cells for share in _DETECTED)
        order = np.argsort(n_counts, kind="stable")
        order = order[(n_counts[order] >= max(least, 5)) & (n_counts[order] <= most)]
        if len(order) < _FEWEST_GENES:
            order = np.argsort(-np.minimum(n_counts, n_cells - n_counts), kind="stable")[:_MOST_GENES]
        cells = _evenly(n_cells, _MOST_CELLS)
        some = sparse.csc_array(counts[cells][:, order[_evenly(len(order), _MOST_GENES)]])
        total = np.asarray(counts.sum(axis=1)).ravel()
        self._some = some[:, np.diff(some.indptr) > 0]
        self._depth, self._relative, self._highest = total[cells] / total.mean(), relative[cells], highest

    def most_likely(self) -> _Likely:
        """Climb in the shape, with the best level and spread for each."""
        return self._climb(_Likely(self._highest, _SHAPE, _WIDE))

    def _climb(self, start: _Likely) -> _Likely:
        """Find the best of three neighbours in the logarithm of the shape, and the top of their parabola."""
        found, best = {0: self._at(start)}, 0
        while best - 1 not in found or best + 1 not in found:
            for place in {best - 1, best + 1} - set(found):
                near = found[best]
                found[place] = self._at(near._replace(shape=near.shape * np.exp(_STEP * (place - best))))
            best = max(found, key=lambda place: found[place].evidence)
            if not _LEAST_SHAPE < found[best].shape < _LARGEST_SHAPE:
                return found[best]
        below, top, above = (found[place].evidence for place in (best - 1, best, best + 1))
        bend = below - 2 * top + above
        vertex = 0.5 * (below - above) / bend if bend < 0 else 0.0
        return self._at(found[best]._replace(shape=found[best].shape * np.exp(_STEP * vertex)))

    def _at(self, near: _Likely) -> _Likely:
        """Find level and spread for a shape, from others nearby."""
        level, _, sd, evidence = near
        for last in (False, False, True) if evidence == -np.inf else (False, True):
            mean = np.maximum(level * self._relative, _LEAST_COPIES)
            copies = Copies(mean, np.full(len(mean), near.shape), sd)
            fits = fit_counts(self._some, self._depth, copies=copies, families=["zinb"])
            if last:
                break
            centre, sd = _spread_of_genes(fits, sd)
            ends = self._highest / _TOO_HIGH, self._highest
            within = (1 + (max(of, 1.0) - 1) * np.exp(-0.5 * sd**2) for of in ends)
            level = max(float(np.clip(1 + (level - 1) * np.exp(centre), *within)), _LEAST_COPIES)
        return _Likely(level, float(near.shape), sd, _evidence(fits, sd))


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """Indices of at most so many, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _evidence(fits: CountFits, sd: float) -> float:
    """Log likelihood of the genes with their log factors integrated out, by Laplace's method."""
    zinb = fits.of("zinb")
    se = np.where(np.isfinite(fits.log_copies_se[:, zinb]), fits.log_copies_se[:, zinb], sd)
    return float((fits.log_likelihood[:, zinb] - np.log(sd) + np.log(se)).sum())


def _spread_of_genes(fits: CountFits, sd: float) -> tuple[float, float]:
    """Mean of the genes' log factors, and their standard deviation, as is most likely.

    ``sd`` is that of the prior with which they were fitted.
    """
    zinb = fits.of("zinb")
    value, se = fits.log_copies[:, zinb], fits.log_copies_se[:, zinb]
    known = np.isfinite(se) & (se < 0.99 * sd)
    if known.sum() < 3:
        return 0.0, sd
    precision = 1 / se[known] ** 2 - 1 / sd**2
    value, variance = value[known] / (se[known] ** 2 * precision), 1 / precision
    best, found = -np.inf, (0.0, sd)
    for spread in np.exp(np.linspace(np.log(_LEAST_SD), np.log(2.0), 60)):
        weight = 1 / (variance + spread**2)
        mean = float((weight * value).sum() / weight.sum())
        height = -0.5 * float((np.log(variance + spread**2) + weight * (value - mean) ** 2).sum())
        if height > best:
            best, found = height, (mean, float(spread))
    return found
