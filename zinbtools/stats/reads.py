"""How often each molecule was read, from counts of reads alone.

Of k molecules there are ``x = k + NB(k (a - 1), k s)`` reads. Where a gene is rare, k is 1 or little more,
so that the sizes of the positive counts tell the copies a of a molecule; how many genes are seen at all tells
the molecules of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass

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
_SHAPES = (0.03, 0.08, 0.2, 0.5, 1.2, 3.0, 8.0, 30.0)
_LEAST_COPIES, _WIDE, _LEAST_SD = 1.02, 1.0, 0.05
_TOO_HIGH = 1.35  # that the sizes of rare genes may be
_ALIKE = 0.25  # share of what the estimates of cells differ that may be an error of both
_BINS = 200
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
    gene_level
        Copies of the median gene where the cell's are 1: with ``copies / level`` those of `for_genes`.
    """

    copies: Floats
    copies_se: Floats
    molecules: Floats
    level: float
    low: float
    high: float
    shape: float
    gene_sd: float
    gene_level: float

    @property
    def copies_interval(self) -> tuple[Floats, Floats]:
        """Ends of a 95 % interval of each cell's copies relative to the other cells, (N,) each."""
        reach = np.exp(_Z * self.copies_se)
        return self.copies / reach, self.copies * reach

    @property
    def for_genes(self) -> Copies:
        """What a regression of genes is given."""
        mean = np.maximum(self.gene_level * self.copies / self.level, _LEAST_COPIES)
        return Copies(mean, np.full(len(mean), self.shape), self.gene_sd)


def reads_per_molecule(reads: sparse.csr_array) -> Amplified:
    r"""Estimate the copies of a molecule in each of N cells from their reads, (N, G).

    *Cells.* Two estimates of a cell's copies, both up to a common factor. From sizes: the reads of genes that
    not all cells have over the molecules to expect where there is one,
    ``c_n = sum x_ng / sum E[k_ng | k_ng > 0]``, with Poisson molecules of mean ``s_n m_g`` that give each
    cell and each gene its number of zeros. From detection: all reads over ``s_n``. The first has the errors
    of its sample, the second is wrong where cells differ in what they express; they are weighted by what each
    errs, and the second by what the two differ beyond the errors of the first.

    *Level.* Again two: the sizes of rare genes, which is too high where molecules vary more than Poisson
    numbers, and the maximum of the likelihood of NB molecules that were copied, for 100 genes, between the
    first one and 1.35 times less: where copies have another distribution, it takes many molecules with few
    copies for few with many. Their geometric mean is taken; the interval reaches from one to the other and,
    beyond, 1.96 standard errors, and down to 1.35 times less than the first.

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
    partial = sparse.csr_array(counts[:, some])
    share = n_counts[some] / n_cells
    depth, of_genes = _detection(partial, share)
    cells, genes = np.repeat(np.arange(n_cells), np.diff(partial.indptr)), partial.indices
    expected = depth[cells] * of_genes[genes]
    expected = expected / -np.expm1(-expected)  # molecules where there is one
    from_sizes, variance = _by_sizes(partial.data, expected, cells, genes, partial.shape)
    from_detection = np.log(total / depth)
    from_detection -= from_detection.mean()
    differ = max(float(np.var(from_sizes - from_detection) - variance.mean()), 1e-4)
    log_copies = (from_sizes / variance + from_detection / differ) / (1 / variance + 1 / differ)
    relative = np.exp(log_copies - log_copies.mean())
    se = np.sqrt(1 / (1 / variance + 1 / differ) + _ALIKE * differ)

    is_rare = share <= max(_RARE, np.sort(share)[_FEWEST_GENES - 1])
    rare = is_rare[genes]
    by_sizes = partial.data[rare].sum() / expected[rare].sum()
    ratio = total.sum() / (total / relative).sum()
    likely = _by_likelihood(counts, n_counts, total, relative, max(by_sizes / ratio, 1.1))
    by_likelihood = (1 + (likely.level - 1) * np.exp(0.5 * likely.gene_sd**2)) * ratio
    level = max(np.sqrt(by_sizes * by_likelihood), 1.0)
    error = np.hypot(_error(partial.data[rare], expected[rare], genes[rare]), likely.se)
    reach = np.exp(0.5 * abs(np.log(by_sizes / by_likelihood)) + _Z * error)
    copies = np.maximum(relative * level / ratio, 1.0)
    return Amplified(
        copies=copies,
        copies_se=se,
        molecules=total / copies,
        level=float(level),
        low=max(float(min(level / reach, by_sizes / _TOO_HIGH)), 1.0),
        high=float(level * reach),
        shape=likely.shape,
        gene_sd=likely.gene_sd,
        gene_level=likely.level * ratio,
    )


def _detection(counts: sparse.csr_array, share: Floats) -> tuple[Floats, Floats]:
    """Depths of the cells and molecules of the genes that give each the number of zeros that it has."""
    seen = np.diff(counts.indptr) / counts.shape[1]
    of_genes = -np.log1p(-share)
    depth = np.ones(len(seen))
    for _ in range(3):
        depth = _solved(np.clip(seen, 0.5 / len(share), 1 - 0.5 / len(share)), of_genes)
        depth /= depth.mean()
        of_genes = _solved(share, depth)
    return depth, of_genes


def _solved(share: Floats, others: Floats) -> Floats:
    """Solve ``mean(1 - exp(-y others)) = share`` for y, each, with the others in bins."""
    edges = np.quantile(others, np.linspace(0, 1, _BINS + 1))
    middle = 0.5 * (edges[1:] + edges[:-1])
    low, high = np.full(len(share), 1e-8), np.full(len(share), 1e8)
    for _ in range(60):
        y = np.sqrt(low * high)
        below = -np.expm1(-y[:, None] * middle).mean(axis=1) < share
        low, high = np.where(below, y, low), np.where(below, high, y)
    return y


def _by_sizes(
    reads: Floats,
    expected: Floats,
    cells: NDArray[np.integer],
    genes: NDArray[np.integer],
    shape: tuple[int, int],
) -> tuple[Floats, Floats]:
    """Log copies of the cells, up to a constant, and their variances."""
    n_cells, n_genes = shape

    def of_cells(values: Floats) -> Floats:
        return np.bincount(cells, values, n_cells).astype(np.float64)

    level = reads.sum() / expected.sum()
    seen = np.bincount(genes, minlength=n_genes)
    of_gene = np.bincount(genes, reads, n_genes) / np.maximum(np.bincount(genes, expected, n_genes), 1e-300)
    log_factor = np.log(np.maximum(of_gene, 1e-300) / level) * seen / (seen + _LIKE_ALL)
    scaled = reads / np.where(seen > 0, np.exp(log_factor), 1.0)[genes]
    about = np.maximum(of_cells(expected), 1e-300)
    copies = of_cells(scaled) / about
    variance = of_cells((scaled - copies[cells] * expected) ** 2) / np.maximum(of_cells(scaled), 1e-300) ** 2
    none = copies <= 0
    typical = np.median(variance[~none])
    log_copies = np.log(np.where(none, np.median(copies[~none]), copies))
    variance = np.where(none, 1e4, np.maximum(variance, 0.1 * typical))
    return log_copies - log_copies.mean(), variance


def _error(reads: Floats, expected: Floats, genes: NDArray[np.integer]) -> float:
    """Compute the standard error of the log of ``sum reads / sum expected``, from that of genes."""
    level = reads.sum() / expected.sum()
    of_genes = np.bincount(genes, reads - level * expected)
    return float(np.sqrt((of_genes**2).sum()) / reads.sum())


@dataclass(frozen=True)
class _Likely:
    level: float
    se: float
    shape: float
    gene_sd: float


def _by_likelihood(
    counts: sparse.csr_array, n_counts: NDArray[np.integer], total: Floats, relative: Floats, start: float
) -> _Likely:
    """Copies of the median gene, shape and spread over genes at which some genes are most likely.

    Those of the average gene are at most ``start``, and not too far below it.
    """
    n_cells = len(total)
    least, most = (share * n_cells for share in _DETECTED)
    order = np.argsort(n_counts, kind="stable")
    order = order[(n_counts[order] >= max(least, 5)) & (n_counts[order] <= most)]
    if len(order) < _FEWEST_GENES:
        order = np.argsort(-np.minimum(n_counts, n_cells - n_counts), kind="stable")[:_MOST_GENES]
    genes = order[_evenly(len(order), _MOST_GENES)]
    cells = _evenly(n_cells, _MOST_CELLS)
    some = sparse.csc_array(counts[cells][:, genes])
    some = some[:, np.diff(some.indptr) > 0]
    depth, of_cells = total[cells] / total.mean(), relative[cells]

    def at(shape: float) -> tuple[float, _Likely]:
        level, sd = start, _WIDE
        for last in (False, False, True):
            mean = np.maximum(level * of_cells, _LEAST_COPIES)
            copies = Copies(mean, np.full(len(mean), shape), sd)
            fits = fit_counts(some, depth, copies=copies, families=["nb"])
            if last:
                break
            centre, se, sd = _spread_of_genes(fits, sd)
            within = (1 + (max(of, 1.0) - 1) * np.exp(-0.5 * sd**2) for of in (start / _TOO_HIGH, start))
            level = max(float(np.clip(1 + (level - 1) * np.exp(centre), *within)), _LEAST_COPIES)
        return _evidence(fits, sd), _Likely(level, se, shape, sd)

    found = {shape: at(shape) for shape in _SHAPES}
    best = max(found, key=lambda shape: found[shape][0])
    place = _SHAPES.index(best)
    for other in (place - 1, place + 1):
        if 0 <= other < len(_SHAPES):
            between = float(np.sqrt(best * _SHAPES[other]))
            found[between] = at(between)
    return max(found.values(), key=lambda one: one[0])[1]


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """Indices of at most so many, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def _evidence(fits: CountFits, sd: float) -> float:
    """Log likelihood of the genes with their log factors integrated out, by Laplace's method."""
    nb = fits.of("nb")
    se = np.where(np.isfinite(fits.log_copies_se[:, nb]), fits.log_copies_se[:, nb], sd)
    return float((fits.log_likelihood[:, nb] - np.log(sd) + np.log(se)).sum())


def _spread_of_genes(fits: CountFits, sd: float) -> tuple[float, float, float]:
    """Mean of the genes' log factors, its standard error, and their standard deviation, as is most likely.

    ``sd`` is that of the prior with which they were fitted.
    """
    nb = fits.of("nb")
    value, se = fits.log_copies[:, nb], fits.log_copies_se[:, nb]
    known = np.isfinite(se) & (se < 0.99 * sd)
    if known.sum() < 3:
        return 0.0, sd, sd
    precision = 1 / se[known] ** 2 - 1 / sd**2
    value, variance = value[known] / (se[known] ** 2 * precision), 1 / precision
    best, found = -np.inf, (0.0, sd, sd)
    for spread in np.exp(np.linspace(np.log(_LEAST_SD), np.log(2.0), 60)):
        weight = 1 / (variance + spread**2)
        mean = float((weight * value).sum() / weight.sum())
        height = -0.5 * float((np.log(variance + spread**2) + weight * (value - mean) ** 2).sum())
        if height > best:
            best, found = height, (mean, float(1 / np.sqrt(weight.sum())), float(spread))
    return found
