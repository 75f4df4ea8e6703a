"""Poisson, NB, ZIP and ZINB regressions of every gene, by maximum likelihood.

``x_ng ~ (1 - pi_g) NB(mu_ng, theta_g) + pi_g [x = 0]`` with ``mu_ng = mean_ng exp(covariates_n b_g)``: the
mean is given up to the coefficients, for each cell (library size) or for each entry (what a network says).
So is the inverse dispersion, ``theta_ng = theta_g given_ng``, where it is not the same in all cells, and so
are the odds of a dropout, ``pi_ng / (1 - pi_ng) = odds_g given_ng``.
Counts of reads are those of molecules that were copied: the regression is that of the molecules
(`Copies`).
The Poisson family is the limit of ``theta -> infinity``, those without inflation have ``pi = 0``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from ..kernels.compiling import await_those_beside
from ..kernels.gene_fit import Columns, Offsets, Output, Question, Table, fit_block
from ..kernels.gene_reads import Amplification, amplification

Floats = NDArray[np.float64]
Family = Literal["poisson", "nb", "zip", "zinb"]

FAMILIES: tuple[Family, ...] = ("poisson", "nb", "zip", "zinb")
_BELOW: dict[str, set[str]] = {
    "poisson": {"poisson"},
    "nb": {"poisson", "nb"},
    "zip": {"poisson", "zip"},
    "zinb": {"poisson", "nb", "zinb"},
}
_AT_ONCE = 64  # genes
_LEAST_SD, _LARGEST_SHAPE = 1e-4, 1e6  # as good as 0, and as infinity


@dataclass(frozen=True)
class Copies:
    """How the molecules behind reads were copied, in each of N cells.

    A molecule of cell n has ``1 + NB(copies_ng - 1, shape_n)`` reads, where a gene's own factor of
    ``copies_n - 1`` is log-normal.

    Attributes
    ----------
    mean
        ``copies_n``: mean number of reads of a molecule, above 1, (N,).
    shape
        Of their distribution: 1 for geometric numbers, infinite for one plus a Poisson number, (N,).
    gene_sd
        Standard deviation over genes of the logarithm of a gene's factor; 0 if all genes are copied alike.
    shape_sd
        The same of a gene's shape. ``fit_counts`` does not ask for it: all of its genes have one shape.
    """

    mean: Floats
    shape: Floats
    gene_sd: float = 0.0
    shape_sd: float = 0.0


@dataclass(frozen=True)
class CountFits:
    """Fits of G genes by four families, in the order of `FAMILIES`, NaN where a family was not asked for.

    Attributes
    ----------
    n_cells
        N.
    log_likelihood
        Nats, all cells together, (G, 4).
    converged
        Whether the climb to it ended, (G, 4).
    coefficients, coefficients_se
        ``b`` and standard errors, (G, 4, p).
    log_copies, log_copies_se
        Of reads, the logarithm of the gene's own factor of the copies less one, and its standard error,
        (G, 4); 0 and NaN for molecules.
    inverse_dispersion, log_inverse_dispersion_se
        ``theta_g``, infinite for the Poisson families and where no overdispersion is left, (G, 4).
    dropout, dropout_logit_se
        ``pi``, 0 where none is left, (G, 4): where odds are given, that of a cell with odds of 1.
    zeros, lost
        Expected number of cells without a count, and how many of these would have one without dropout,
        (G, 4).
    gain, gain_se
        Mean over cells of ``log ZINB - log NB``, nats per cell, and its standard error over cells, (G,).
    information
        On the dropout probability, at no dropout and with all else estimated, (G,): of ``pi / se(pi)``
        under the NB that was fitted, the square per square of pi.
    null_log_likelihood
        The highest of a ZINB whose dropout probability is at most the negligible one, nats, (G,).
    dropout_interval
        Ends of the interval of the ZINB's dropout probability, (G, 2); NaN where none was asked for.
    """

    n_cells: int
    log_likelihood: Floats
    converged: NDArray[np.bool_]
    coefficients: Floats
    coefficients_se: Floats
    log_copies: Floats
    log_copies_se: Floats
    inverse_dispersion: Floats
    log_inverse_dispersion_se: Floats
    dropout: Floats
    dropout_logit_se: Floats
    zeros: Floats
    lost: Floats
    gain: Floats
    gain_se: Floats
    information: Floats
    null_log_likelihood: Floats
    dropout_interval: Floats

    def __len__(self) -> int:
        return len(self.log_likelihood)

    @property
    def n_parameters(self) -> NDArray[np.int64]:
        """Free parameters of each family, (4,)."""
        return self.coefficients.shape[-1] + np.array([0, 1, 1, 2])

    @property
    def aic(self) -> Floats:
        """Akaike's criterion, nats, (G, 4): lower is better."""
        return 2.0 * self.n_parameters - 2.0 * self.log_likelihood

    @property
    def bic(self) -> Floats:
        """Schwarz's criterion, nats, (G, 4): lower is better."""
        return np.log(self.n_cells) * self.n_parameters - 2.0 * self.log_likelihood

    def averaged(self, odds: Floats) -> CountFits:
        """With the dropout probability of the ZINB, and its interval, averaged over cells.

        ``odds`` are the ``dropout_odds`` of the fits, (N, G).
        """
        z = self.of("zinb")
        dropout, interval = self.dropout.copy(), self.dropout_interval.copy()
        for g, of_cells in enumerate(odds.T):
            for pi in (dropout[g, z : z + 1], *interval[g].reshape(2, 1)):
                pi[:] = np.mean(pi * of_cells / (1.0 - pi + pi * of_cells))
        return replace(self, dropout=dropout, dropout_interval=interval)

    def some(self, genes: NDArray[np.integer]) -> CountFits:
        """Take the fits of some genes, by index."""
        arrays = {name: values for name, values in vars(self).items() if name != "n_cells"}
        return replace(self, **{name: values[genes] for name, values in arrays.items()})

    def of(self, family: Family) -> int:
        """Return the place of a family in the last axes."""
        return FAMILIES.index(family)


def fit_counts(
    counts: Any,
    means: NDArray[np.floating],
    *,
    inverse_dispersions: NDArray[np.floating] | None = None,
    dropout_odds: NDArray[np.floating] | None = None,
    covariates: Floats | None = None,
    copies: Copies | None = None,
    families: Iterable[Family] = FAMILIES,
    negligible_dropout: float = 0.0,
    interval_level: float = 0.0,
) -> CountFits:
    """Fit every gene by maximum likelihood.

    Newton's method in ``(b, log theta, logit pi)`` with exact derivatives, damped where the likelihood is not
    concave, from two starts for the mixtures. A family is never below one that it contains.

    Parameters
    ----------
    counts
        Non-negative whole numbers, (N, G), dense or sparse.
    means
        Positive numbers that the means are proportional to: of each cell, (N,), or of each entry, (N, G).
    inverse_dispersions
        Positive numbers that the inverse dispersions are proportional to, (N, G); by default they are the
        same in all cells.
    dropout_odds
        Positive numbers that the odds of a dropout are proportional to, (N, G); by default they are the same
        in all cells. With averages of 1 over cells ``dropout`` is about the average one.
    covariates
        Design matrix of full rank, (N, p), with a column of ones or what amounts to it; a column of ones
        by default. Cells with the same covariates cost no more than without any.
    copies
        Of counts that are reads, how they were copied. All that is found is that of the molecules: their
        mean is proportional to ``means / copies``, dropouts are lost before they are copied, and
        log likelihoods, of the reads, are less ``log(factor)^2 / (2 gene_sd^2)``. By default counts are
        molecules.
    families
        Which to fit; those that a start is taken from are fitted too.
    negligible_dropout
        Of ``null_log_likelihood``, from 0, where it is that of the NB, to below 1.
    interval_level
        Of ``dropout_interval``, from 0, for none, to below 1: where the profile of the likelihood is half of
        a quantile of chi-squared, with one degree of freedom, below its maximum. The ends are good to a
        hundredth of that distance or so.

    Returns
    -------
    The fits. A gene without a count has likelihood NaN.

    Raises
    ------
    ValueError
        If shapes do not go together, means, inverse dispersions or odds are not positive, copies are not
        above 1, covariates do not
        have full rank, a family is not known, or ``negligible_dropout`` or ``interval_level`` is out of
        range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> depth = rng.lognormal(0, 0.3, 5000)
    >>> nb = rng.poisson(rng.gamma(2.0, 5 * depth / 2.0))
    >>> counts = np.stack([nb, nb * (rng.random(5000) > 0.3)], axis=1)
    >>> fits = fit_counts(counts, depth)
    >>> fits.dropout[:, fits.of("zinb")].round(1)
    array([0. , 0.3])
    """
    matrix = sparse.csc_array(counts)
    n_cells, n_genes = matrix.shape
    means = np.asarray(means)
    if means.shape not in ((n_cells,), (n_cells, n_genes)):
        raise ValueError(
            f"means must have shape ({n_cells},) or ({n_cells}, {n_genes}), found {means.shape}."
        )
    of_entries = {"inverse_dispersions": inverse_dispersions, "dropout_odds": dropout_odds}
    for name, given in of_entries.items():
        if given is not None and np.shape(given) != (n_cells, n_genes):
            shape = np.shape(given)
            raise ValueError(f"{name} must have shape ({n_cells}, {n_genes}), found {shape}.")
    for name, given in {"means": means, **of_entries}.items():
        if given is not None and not (np.isfinite(given).all() and (given > 0).all()):
            raise ValueError(f"{name} must be positive and finite; found others.")
    for name, number in (("negligible_dropout", negligible_dropout), ("interval_level", interval_level)):
        if not 0 <= number < 1:
            raise ValueError(f"{name} must be from 0 to below 1, found {number!r}.")
    fall = float(special.gammaincinv(0.5, interval_level))  # half a quantile of chi-squared
    wanted = _wanted(families)
    order, table = _table(covariates, n_cells)
    matrix = sorted_columns(matrix, order)
    amplified = None
    if copies is not None:
        amplified = amplification_of(copies, order, int(matrix.data.max(initial=0)))
        means = means / (copies.mean if means.ndim == 1 else copies.mean[:, None])
    output = _empty(n_genes, table.values.shape[1] + (copies is not None))
    await_those_beside()
    for start in range(0, n_genes, _AT_ONCE):
        block = slice(start, min(start + _AT_ONCE, n_genes))
        of_block = means[None] if means.ndim == 1 else means[:, block].T
        thetas, odds = (np.ones((1, n_cells)) if of is None else of[:, block].T for of in of_entries.values())
        offsets = (of_block, 1.0 / thetas, odds)
        fit_block(
            columns_of(matrix, block),
            Offsets(*(np.ascontiguousarray(of[:, order], dtype=np.float64) for of in offsets)),
            amplified,
            table,
            Question(wanted, float(negligible_dropout), fall),
            Output(*(part[block] for part in output)),
        )
    return _fits(output, n_cells, wanted, table.values.shape[1])


def _wanted(families: Iterable[Family]) -> NDArray[np.bool_]:
    chosen = [families] if isinstance(families, str) else list(families)
    unknown = [name for name in chosen if name not in FAMILIES]
    if unknown or not chosen:
        raise ValueError(f"families must be some of {', '.join(map(repr, FAMILIES))}, found {families!r}.")
    needed = set().union(*(_BELOW[name] for name in chosen))
    return np.array([name in needed for name in FAMILIES])


def amplification_of(copies: Copies, order: NDArray[np.int64], largest: int) -> Amplification:
    """Check how molecules were copied, and put the cells in order."""
    given = [np.asarray(of, dtype=np.float64) for of in (copies.mean, copies.shape)]
    if not all(of.shape == order.shape for of in given):
        shapes = " and ".join(str(of.shape) for of in given)
        raise ValueError(f"copies must have mean and shape of each of {len(order)} cells, found {shapes}.")
    mean, shape = given
    if not (np.isfinite(mean).all() and (mean > 1).all() and (shape > 0).all() and copies.gene_sd >= 0):
        raise ValueError("copies must be finite and above 1, with positive shapes and gene_sd of 0 or more.")
    precision = 1.0 / max(copies.gene_sd, _LEAST_SD) ** 2
    return amplification(mean[order], np.minimum(shape, _LARGEST_SHAPE)[order], precision, largest)


def _table(covariates: Floats | None, n_cells: int) -> tuple[NDArray[np.int64], Table]:
    """Sort the cells by their covariates, and the different rows of these."""
    if covariates is None:
        one = np.ones((1, 1))
        return np.arange(n_cells), Table(one, one, np.array([0, n_cells]), np.zeros(n_cells, dtype=np.int64))
    design = np.asarray(covariates, dtype=np.float64)
    if design.ndim != 2 or len(design) != n_cells or not np.isfinite(design).all():
        raise ValueError(f"covariates must be finite, of shape ({n_cells}, p), found {design.shape}.")
    values, rows = np.unique(design, axis=0, return_inverse=True)
    rows = rows.ravel()
    rank, p = np.linalg.matrix_rank(values), values.shape[1]
    if rank < p:
        raise ValueError(f"covariates must have full rank, found {p} columns of rank {rank}.")
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], np.arange(len(values) + 1))
    return order, Table(values, np.ascontiguousarray(np.linalg.pinv(values)), starts, rows[order])


def sorted_columns(matrix: sparse.csc_array, order: NDArray[np.int64]) -> sparse.csc_array:
    """Compress the columns of the cells in this order, without stored zeros."""
    if not np.array_equal(order, np.arange(len(order))):
        matrix = sparse.csc_array(matrix.tocsr()[order])
    if not (matrix.has_canonical_format and matrix.data.all()):
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix


def columns_of(matrix: sparse.csc_array, genes: slice) -> Columns:
    """Give the counts of some genes in the one type that the kernels are compiled for."""
    starts = matrix.indptr[genes.start : genes.stop + 1].astype(np.int64)
    stored = slice(starts[0], starts[-1])
    of_genes = matrix.indices[stored].astype(np.int64), matrix.data[stored].astype(np.float64)
    return Columns(starts - starts[0], *of_genes)


def _empty(n_genes: int, p: int) -> Output:
    return Output(
        log_likelihood=np.full((n_genes, 4), np.nan),
        converged=np.zeros((n_genes, 4), dtype=np.bool_),
        estimate=np.full((n_genes, 4, p + 2), np.nan),
        error=np.full((n_genes, 4, p + 2), np.nan),
        zeros=np.full((n_genes, 4), np.nan),
        lost=np.full((n_genes, 4), np.nan),
        gain=np.full((n_genes, 2), np.nan),
        information=np.full(n_genes, np.nan),
        null_log_likelihood=np.full(n_genes, np.nan),
        interval=np.full((n_genes, 2), np.nan),
    )


def _fits(output: Output, n_cells: int, wanted: NDArray[np.bool_], p: int) -> CountFits:
    for part in (output.log_likelihood, output.estimate, output.error, output.zeros, output.lost):
        part[:, ~wanted] = np.nan
    of_reads = output.estimate.shape[-1] > p + 2
    mean_gain = output.gain[:, 0] / n_cells
    variance = np.maximum(output.gain[:, 1] / n_cells - mean_gain**2, 0.0)
    return CountFits(
        n_cells=n_cells,
        log_likelihood=output.log_likelihood,
        converged=output.converged,
        coefficients=output.estimate[..., :p],
        coefficients_se=output.error[..., :p],
        log_copies=output.estimate[..., p] if of_reads else np.zeros_like(output.zeros),
        log_copies_se=output.error[..., p] if of_reads else np.full_like(output.zeros, np.nan),
        inverse_dispersion=np.exp(-output.estimate[..., -2]),
        log_inverse_dispersion_se=output.error[..., -2],
        dropout=1.0 / (1.0 + np.exp(-output.estimate[..., -1])),
        dropout_logit_se=output.error[..., -1],
        zeros=output.zeros,
        lost=output.lost,
        gain=mean_gain,
        gain_se=np.sqrt(variance / max(n_cells - 1, 1)),
        information=output.information,
        null_log_likelihood=output.null_log_likelihood,
        dropout_interval=output.interval,
    )
