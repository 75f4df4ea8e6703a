"""The Poisson-lognormal distribution of many genes in few cells: spreads gene by gene, shared factors.

A count of cell n with exposure l_n (mean 1) is x_ng ~ Poisson(l_n m_g r_ng), log r_ng normal with standard
deviation s_g, up to a constant that makes the mean of r_g 1. Then E x_g (x_h - [g = h]) = E l^2 m_g m_h
E r_g r_h, and for lognormal r the last factor is exp(Sigma_gh).

Two things differ from the textbook distribution, whose moments these are, and both are due to a sample
being finite. A gene that a few of n cells hold nearly alone has a log rate of such a spread that its second
moment comes from cells that n draws do not contain. So s_g is chosen for the n normal scores z_i =
Phi^-1((i - 1/2) / n) themselves, to which the log rates of any sample can be tied by rank:

    R(s) = n sum_i exp(2 s z_i) / (sum_i exp(s z_i))^2,

which grows from 1 to n, as the ratio of a sample's moments does. And Sigma is taken as factors plus a
diagonal, with the factors chosen to give the correlations of the counts, not of the rates: those of weak
genes are noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh
from scipy.special import ndtri

Floats = NDArray[np.float64]

# Genes that define the factors; the loadings of the others follow from their covariances with these.
_N_LEADING = 500
# Cells that each factor must rest on.
_CELLS_PER_FACTOR = 5


@dataclass(frozen=True, eq=False)
class PLNFactors:
    """Parameters of a Poisson-lognormal distribution with factors.

    Parameters
    ----------
    mean
        Mean counts, shape (n_genes,).
    sd
        Standard deviations of the log rates, natural logarithm, shape (n_genes,).
    loadings
        Shape (n_genes, n_factors); the covariance of the log rates is loadings @ loadings.T but for its
        diagonal, sd^2, which is nowhere smaller.
    """

    mean: Floats
    sd: Floats
    loadings: Floats


def normal_scores(n: int) -> Floats:
    """Return the standard normal quantiles that stand for n draws, in increasing order.

    Examples
    --------
    >>> normal_scores(3).round(3)
    array([-0.967,  0.   ,  0.967])
    """
    return ndtri((np.arange(n) + 0.5) / n)


def pln_factors(
    counts: sparse.csr_matrix | sparse.csr_array, exposure: Floats, *, n_factors: int = 20
) -> PLNFactors:
    """Fit a Poisson-lognormal distribution with factors by the method of moments.

    Parameters
    ----------
    counts
        Counts of shape (n_cells, n_genes).
    exposure
        What the counts of a cell are proportional to, such as its total count, shape (n_cells,).
    n_factors
        Most factors; no more than one for five cells are used.

    Returns
    -------
    Mean, spread and loadings. Genes that vary less than Poisson counts get spread 0.

    Raises
    ------
    ValueError
        If no cell has an exposure above 0, or a gene has no count.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> log_rates = 1 + 0.4 * rng.standard_normal((5000, 1)) + 0.3 * rng.standard_normal((5000, 5))
    >>> counts = sparse.csr_array(rng.poisson(np.exp(log_rates)))
    >>> fit = pln_factors(counts, np.ones(5000), n_factors=1)
    >>> fit.sd.round(1), abs(fit.loadings[:, 0]).round(1)
    (array([0.5, 0.5, 0.5, 0.5, 0.5]), array([0.4, 0.4, 0.4, 0.4, 0.4]))
    """
    values: Any = sparse.csr_array(counts).astype(np.float64)
    n_cells = values.shape[0]
    if not exposure.any():
        raise ValueError("exposure must be above 0 in some cell, found 0 in all.")
    exposure = exposure / exposure.mean()
    squared = float(np.mean(exposure**2))
    mean = np.asarray(values.mean(axis=0)).ravel()
    if (empty := int((mean == 0).sum())) or not mean.size:
        raise ValueError(
            f"counts must have a count of every gene, found none in {empty} of {mean.size} columns."
        )
    second = np.asarray(values.multiply(values).mean(axis=0)).ravel()
    ratio = np.clip((second - mean) / (mean**2 * squared), 1.0, n_cells)
    sd = _spread(ratio, n_cells)
    n_factors = min(n_factors, n_cells // _CELLS_PER_FACTOR, mean.size - 1)
    if n_factors < 1:
        return PLNFactors(mean, sd, np.zeros((mean.size, 0)))

    # Weights that turn a covariance of log rates into the correlation of the counts. The variances are those
    # of the fit: by its own, a gene that varies less than Poisson counts, or not at all, outweighs all.
    variance = mean + mean**2 * (squared * ratio - 1)
    weight = mean / np.sqrt(variance)
    signal = weight**2 * np.log(ratio)
    leading = np.sort(np.argsort(-signal, kind="stable")[:_N_LEADING])
    correlation = _log_ratios(values, mean, leading, squared) * weight[:, None] * weight[leading]
    correlation[leading, np.arange(leading.size)] = signal[leading]
    eigenvalues, vectors = _leading_eigenvectors(correlation[leading], n_factors)
    loadings = correlation @ (vectors / np.sqrt(eigenvalues)) / weight[:, None]
    # What factors explain cannot exceed what there is.
    length = np.linalg.norm(loadings, axis=1)
    loadings *= np.minimum(1.0, np.divide(sd, length, out=np.zeros_like(sd), where=length > 0))[:, None]
    return PLNFactors(mean, sd, loadings)


def _spread(ratio: Floats, n_cells: int) -> Floats:
    """Solve R(s) = ratio, on a grid fine enough for three digits."""
    if n_cells == 1:
        return np.zeros(ratio.shape)
    scores = normal_scores(n_cells)
    grid = np.concatenate([np.linspace(0, 4, 200), np.linspace(4, 40, 200)[1:]])
    # Relative to the largest score, so that nothing overflows.
    rates = np.exp(grid[:, None] * (scores - scores[-1]))
    log_ratio = np.log(n_cells * np.square(rates).sum(axis=1) / rates.sum(axis=1) ** 2)
    return np.interp(np.log(ratio), log_ratio, grid)


def _log_ratios(values: Any, mean: Floats, leading: NDArray[np.intp], squared: float) -> Floats:
    """Compute covariances of log rates, all genes against the leading ones, shape (n_genes, n_leading)."""
    n_cells = values.shape[0]
    if values.nnz > 0.1 * n_cells * mean.size:
        block = values.toarray()
        products = block.T @ block[:, leading] / n_cells
    else:
        products = (values.T @ values[:, leading]).toarray() / n_cells
    by_chance = np.outer(mean, mean[leading]) * squared
    # genes that never meet, where half a meeting is to be expected by chance
    products = np.where(products > 0.25 / n_cells, products, np.minimum(0.5 / n_cells, by_chance))
    return np.log(products / by_chance)


def _leading_eigenvectors(matrix: Floats, number: int) -> tuple[Floats, Floats]:
    if number >= matrix.shape[0] - 1 or matrix.shape[0] < 100:
        eigenvalues, vectors = np.linalg.eigh(matrix)
        eigenvalues, vectors = eigenvalues[-number:], vectors[:, -number:]
    else:
        # A start of one's own, because the default one is random.
        start = np.ones(matrix.shape[0])
        solve: Any = eigsh
        eigenvalues, vectors = solve(matrix, number, which="LA", v0=start, tol=1e-4)
    positive = eigenvalues > 1e-9
    return eigenvalues[positive], vectors[:, positive]
