"""The climb to the maximum of a gene's likelihood, and its linear algebra."""

from __future__ import annotations

import numpy as np
from gene_counts import draw

from zinbtools.kernels import gene_climb as climb
from zinbtools.kernels import gene_likelihood as likelihood
from zinbtools.kernels.gene_counts import Gene, gather
from zinbtools.stats.count_models import fit_counts

RNG = np.random.default_rng


def test_cholesky() -> None:
    root = RNG(9).normal(size=(4, 6))
    matrix, vector = root @ root.T, RNG(9).normal(size=4)
    factor = matrix.copy()
    assert climb.factorise(factor)
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(matrix))
    np.testing.assert_allclose(climb.solve(factor, vector), np.linalg.solve(matrix, vector))
    for hopeless in (np.diag([1.0, 0.0]), np.diag([1.0, -1.0]), np.ones((2, 2)), np.full((2, 2), np.nan)):
        assert not climb.factorise(hopeless)


def test_nothing_better_is_found_by_search() -> None:
    """No gene gains when the climb starts from many other places."""
    random = RNG(1)
    x, depth = draw(300, [*10 ** random.uniform(-1.5, 2, 40)], 0.7, 0.15)
    fits = fit_counts(x, depth)
    worst = 0.0
    for g in range(x.shape[1]):
        gene = _gene(x[:, g], depth)
        for _ in range(10):
            at = np.array([random.normal(0, 2), random.normal(0, 2), random.normal(-1, 2)])
            rows, hessian = np.ones((1, 1)), np.empty((3, 3))
            height, _ = climb.maximise(gene, rows, likelihood.ZINB, at, hessian, -np.inf, 3, climb.TOLERANCE)
            worst = max(worst, height - fits.log_likelihood[g, 3])
    assert worst < 1e-4


def _gene(x: np.ndarray, mean: np.ndarray) -> Gene:
    cells = np.flatnonzero(x)
    n = len(x)
    rows, starts = np.zeros(n, np.int64), np.array([0, n])
    return gather(mean, np.ones(n), np.ones(n), None, rows, cells, x[cells].astype(float), starts, 0.0)
