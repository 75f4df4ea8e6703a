"""How molecules of one batch were copied: what makes the counts of some genes most likely."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .cell_copies import Cells
from .count_models import Copies, CountFits, fit_counts
from .likely_cells import LEAST_COPIES
from .own_shapes import fit_by_shape, spread_of_shapes

Floats = NDArray[np.float64]

_FEWEST_GENES, _MOST_GENES, _MOST_CELLS = 30, 100, 500
_DETECTED = (0.1, 0.85)
_SHAPE, _LEAST_SHAPE, _LARGEST_SHAPE = 0.8, 0.03, 30.0
_STEP = 0.7  # in the log of the shape
_WIDE, _LEAST_SD = 1.0, 0.05
_TOO_HIGH = 1.35  # that the sizes of rare genes may be


class Likely(NamedTuple):
    """Copies of the median gene, shape, spreads of both over genes, and how likely it all is."""

    level: float
    shape: float
    gene_sd: float
    evidence: float = -np.inf
    shape_sd: float = 0.0


def most_likely(cells: Cells, relative: Floats, highest: float) -> Likely:
    """Find the copies at which 100 genes of up to 500 cells are most likely.

    Genes may have a dropout, so that their zeros do not tell their copies. Those of the average gene are at
    most ``highest``, and not too far below it: where copies have another distribution, the likelihood takes
    many molecules with few copies for few with many.
    """
    batch = _Batch(cells, relative, highest)
    found = batch.climb(Likely(highest, _SHAPE, _WIDE))
    return found._replace(shape_sd=batch.spread_of_shapes(found))


class _Batch:
    """Some genes of some cells, and how likely they are."""

    def __init__(self, cells: Cells, relative: Floats, highest: float) -> None:
        total = cells.reads
        n_cells = len(relative)
        n_counts = cells.n_counts
        least, most = (share * n_cells for share in _DETECTED)
        order = np.argsort(n_counts, kind="stable")
        order = order[(n_counts[order] >= max(least, 5)) & (n_counts[order] <= most)]
        if len(order) < _FEWEST_GENES:
            order = np.argsort(-np.minimum(n_counts, n_cells - n_counts), kind="stable")[:_MOST_GENES]
        some = evenly(n_cells, _MOST_CELLS)
        genes = order[evenly(len(order), _MOST_GENES)]
        part = cells.rows(some).part(genes[n_counts[genes] > 0])
        seen = np.diff(sparse.csc_array(part.counts).indptr) > 0
        self._counts = sparse.csc_array(part.counts)[:, seen]
        depth = total[some] / total.mean()
        self._means = depth if part.shares is None else depth[:, None] * part.shares[:, seen]
        self._relative, self._highest = relative[some], highest

    def climb(self, start: Likely) -> Likely:
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

    def spread_of_shapes(self, found: Likely) -> float:
        """How far the shapes of genes differ, as a standard deviation of their logarithms."""
        copies = replace(self._copies(found), shape_sd=np.inf)
        fits = fit_by_shape(self._counts, self._means, copies, families=["zinb"])
        return spread_of_shapes(np.stack([of.log_likelihood[:, of.of("zinb")] for of in fits]))

    def _copies(self, of: Likely) -> Copies:
        mean = np.maximum(of.level * self._relative, LEAST_COPIES)
        return Copies(mean, np.full(len(mean), of.shape), of.gene_sd)

    def _at(self, near: Likely) -> Likely:
        """Find level and spread for a shape, from others nearby."""
        level, sd, evidence = near.level, near.gene_sd, near.evidence
        for last in (False, False, True) if evidence == -np.inf else (False, True):
            copies = self._copies(Likely(level, near.shape, sd))
            fits = fit_counts(self._counts, self._means, copies=copies, families=["zinb"])
            if last:
                break
            centre, sd = _spread_of_genes(fits, sd)
            ends = self._highest / _TOO_HIGH, self._highest
            within = (1 + (max(of, 1.0) - 1) * np.exp(-0.5 * sd**2) for of in ends)
            level = max(float(np.clip(1 + (level - 1) * np.exp(centre), *within)), LEAST_COPIES)
        return Likely(level, float(near.shape), sd, _evidence(fits, sd))


def evenly(n: int, most: int) -> NDArray[np.int64]:
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
