"""The Poisson-lognormal distribution: parameters from the moments of counts, and its share of zeros.

x_g ~ Poisson(exp z_g) with z ~ Normal(mu, Sigma). Its factorial moments are those of exp z:
E x_i = exp(mu_i + Sigma_ii / 2), and E x_i (x_j - [i = j]) = E x_i E x_j exp(Sigma_ij).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PLNParameters:
    """Parameters of a Poisson-lognormal distribution over genes.

    Parameters
    ----------
    mu
        Mean of the log rate, natural logarithm of counts, shape (n_genes,).
    sigma
        Covariance of the log rate, symmetric positive semi-definite, shape (n_genes, n_genes).
    """

    mu: Floats
    sigma: Floats


def pln_moments(counts: ArrayLike | sparse.spmatrix | sparse.sparray) -> PLNParameters:
    """Fit a Poisson-lognormal distribution by the method of moments.

    With the means m_i and the covariances C_ij (ddof 0) of the counts,

        Sigma_ij = log(1 + (C_ij - [i = j] m_i) / (m_i m_j)),    mu_i = log m_i - Sigma_ii / 2.

    The argument of the logarithm is the second factorial moment over m_i m_j, hence never negative; it
    is 0 for genes that never share a cell (on the diagonal: a gene that never counts to 2). It then
    becomes the value that half a shared pair would give, but at most 1: where less than half a
    pair is expected by chance, none says nothing and Sigma_ij = 0.

    The result is then made positive semi-definite: negative eigenvalues are set to 0, which gives the
    nearest such matrix in Frobenius norm but raises the variances, so that rows and columns are scaled
    back to the estimated variances (0 where a gene varies less than a Poisson variable). The fitted
    distribution therefore has the sample's means and, where these exceed the Poisson's, its variances
    exactly; the covariances give way.

    Parameters
    ----------
    counts
        Counts of independent cells, shape (n_cells, n_genes), dense or scipy sparse.

    Returns
    -------
    ``mu`` of shape (n_genes,) and ``sigma`` of shape (n_genes, n_genes).

    Raises
    ------
    ValueError
        If ``counts`` is not two-dimensional with at least 2 cells, is negative or not finite somewhere,
        or has a gene without a count.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> log_rate = rng.multivariate_normal([1.0, 2.0], [[0.5, 0.3], [0.3, 0.5]], size=20_000)
    >>> fit = pln_moments(rng.poisson(np.exp(log_rate)))
    >>> fit.mu.round(1), fit.sigma.round(1)
    (array([1., 2.]), array([[0.5, 0.3],
           [0.3, 0.5]]))
    """
    block = _checked(counts)
    n_cells = block.shape[0]
    mean = np.asarray(block.mean(axis=0)).ravel()
    if (empty := np.flatnonzero(mean == 0)).size:
        shown = ", ".join(map(str, empty[:5])) + (", ..." if empty.size > 5 else "")
        raise ValueError(
            f"counts must have a count of every gene, found none in {empty.size} columns ({shown}), "
            "leave these out."
        )
    products = block.T @ block
    if not isinstance(products, np.ndarray):
        products = products.toarray()
    factorial = products / n_cells - np.diag(mean)
    by_chance = np.outer(mean, mean)
    least = np.minimum(0.5 / (n_cells * by_chance), 1.0)
    # Rounding may leave a zero moment slightly off; a real one is at least one pair in n_cells.
    seen = factorial > 0.25 / n_cells
    sigma = _positive_semidefinite(np.log(np.where(seen, factorial / by_chance, least)))
    return PLNParameters(np.log(mean) - np.diag(sigma) / 2, sigma)


def pln_zero_fraction(mu: ArrayLike, variance: ArrayLike) -> Floats:
    """Compute the probability of a Poisson-lognormal 0, E exp(-exp z), by 100-point Gauss-Hermite quadrature.

    Parameters
    ----------
    mu, variance
        Mean and variance of the log rate, of shapes that broadcast.

    Returns
    -------
    The probabilities, in the broadcast shape; the error is below 1e-9 up to variance 2.

    Examples
    --------
    >>> pln_zero_fraction([0.0, 2.0], [0.0, 1.0]).round(4)
    array([0.3679, 0.0392])
    """
    mu, variance = np.asarray(mu, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    nodes, weights = hermegauss(100)
    log_rate = mu[..., None] + np.sqrt(variance)[..., None] * nodes
    return np.exp(-np.exp(log_rate)) @ (weights / weights.sum())


def _checked(counts: Any) -> Any:
    as_floats: Any = sparse.csr_array if sparse.issparse(counts) else np.asarray
    block = as_floats(counts, dtype=np.float64)
    if block.ndim != 2 or block.shape[0] < 2:
        raise ValueError(
            f"counts must have shape (n_cells, n_genes) with at least 2 cells, found {block.shape}."
        )
    values = block if isinstance(block, np.ndarray) else block.data
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("counts must be finite and not negative, found others; pass raw counts.")
    return block


def _positive_semidefinite(estimate: Floats) -> Floats:
    eigenvalues, vectors = np.linalg.eigh(estimate)
    loadings = vectors * np.sqrt(np.maximum(eigenvalues, 0))
    raised = np.square(loadings).sum(axis=1)
    target = np.maximum(np.diag(estimate), 0)
    # Clipping never lowers a variance, so a gene that ends at 0 was at or below 0 before.
    loadings *= np.sqrt(np.divide(target, raised, out=np.zeros_like(target), where=raised > 0))[:, None]
    return loadings @ loadings.T
