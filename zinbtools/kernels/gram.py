"""Sums over many neighbouring whole numbers by a few: Gauss's rule for sums, whose polynomials are Gram's.

``sum_{k=0}^{n-1} f(k)`` is ``sum_j w_j f(t_j)`` for polynomials of degree up to ``2 m - 1``, at m nodes that
lie between 0 and n - 1. With ``m = n`` it is the sum itself; with n large, Gauss and Legendre's rule.
"""

from __future__ import annotations

from functools import cache

import numpy as np

GROWTH = 1.08  # lengths of which rules are kept: each longer by about this factor


@cache
def gram_rule(n: int, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in increasing order and weights for the sum over ``0, ..., n - 1``, (min(n, n_nodes),) each.

    From the eigenvectors of the polynomials' Jacobi matrix (Golub and Welsch 1969).

    Examples
    --------
    >>> nodes, weights = gram_rule(1000, 2)
    >>> round(float(weights @ nodes**3)) == sum(k**3 for k in range(1000))
    True
    """
    if n <= n_nodes:
        return np.arange(n, dtype=np.float64), np.ones(n)
    j = np.arange(1, n_nodes, dtype=np.float64)
    beside = 0.5 * j * np.sqrt((n - j) * (n + j) / (4.0 * j**2 - 1.0))
    places, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return places + 0.5 * (n - 1), n * vectors[0] ** 2


@cache
def lengths(n_nodes: int, largest: int) -> np.ndarray:
    """Lengths from ``n_nodes`` to beyond ``largest``, each longer than the last by 8 % or so."""
    found = [n_nodes]
    while found[-1] < largest:
        found.append(max(found[-1] + 1, int(GROWTH * found[-1])))
    return np.array(found)
