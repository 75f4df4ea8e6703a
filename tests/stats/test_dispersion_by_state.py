"""A dispersion that depends on the state of a cell: derivatives, known truth, what is left of a dropout."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from zinbtools.kernels.gene_states import height_by_state
from zinbtools.stats.count_models import fit_counts
from zinbtools.stats.dispersion_by_state import (
    PRECISIONS,
    _Counts,
    _evaluate,
    dispersion_by_state,
    main_directions,
)


def drawn(slope: float, dropout: float = 0.0, n: int = 2000, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Counts, means, states and inverse dispersions of one gene."""
    random = np.random.default_rng(seed)
    states, mu = random.standard_normal((n, 5)), 4 * random.lognormal(0, 0.4, n)
    theta = np.exp(0.5 + slope * states[:, 0])
    counts = random.poisson(random.gamma(theta, mu / theta)) * (random.random(n) >= dropout)
    return counts.astype(np.float64), mu, states, theta


def test_height_and_gradient_are_those_of_the_posterior() -> None:
    x, mu, states, _ = drawn(0.7, n=300)
    weights, at = np.random.default_rng(1).random(300), np.array([0.1, 0.4, 0.3, -0.2, 0.1, 0.0, 0.2])

    def height(at: np.ndarray) -> float:
        theta, m = np.exp(at[1] + states @ at[2:]), mu * np.exp(at[0])
        log_p = stats.nbinom.logpmf(x, theta, theta / (theta + m)) + stats.nbinom.logpmf(0, 1, 1.0)
        constant = np.sum(weights * (x * 0 + _log_factorial(x)))
        prior = 0.5 * 3.0 * at[2:] @ at[2:] + 0.5 * 1e-2 * (at[1] - 0.5) ** 2
        return float(weights @ log_p) + constant - prior

    point = _evaluate(_Counts(x, mu, weights, states), 3.0, at)
    assert point.height == pytest.approx(height(at), rel=1e-9)
    np.testing.assert_allclose(point.gradient, optimize.approx_fprime(at, height, 1e-6), rtol=1e-3, atol=1e-3)
    assert np.linalg.eigvalsh(point.curvature).min() > 0


@pytest.mark.parametrize("n_cells", [1, 3, 4, 11])
def test_curvature_is_that_of_the_cells_together(n_cells: int) -> None:
    x, mu, states, _ = drawn(0.7, n=n_cells)
    at = np.array([0.1, 0.4, 0.3, -0.2, 0.1, 0.0, 0.2])
    parts = []
    for some in [slice(0, n_cells), *(slice(n, n + 1) for n in range(n_cells))]:
        gradient, curvature = np.empty(7), np.empty((7, 7))
        height_by_state(x[some], mu[some], np.ones(n_cells)[some], states[some], at, gradient, curvature)
        parts.append(curvature)
    np.testing.assert_allclose(parts[0], np.sum(parts[1:], axis=0), rtol=1e-12, atol=1e-14)
    designs = np.hstack([np.ones((n_cells, 1)), states])
    squares = [part[1, 1] * np.outer(row, row) for part, row in zip(parts[1:], designs, strict=True)]
    np.testing.assert_allclose(parts[0][1:, 1:], np.sum(squares, axis=0), rtol=1e-12, atol=1e-14)


def _log_factorial(x: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    return gammaln(x + 1)


def test_a_slope_is_found_and_none_where_there_is_none() -> None:
    x, mu, states, theta = drawn(1.0)
    found = dispersion_by_state(x, mu, states)
    assert np.corrcoef(np.log(found.factors), np.log(theta))[0, 1] > 0.97
    assert np.log(found.factors).std() == pytest.approx(1.0, abs=0.2)
    x, mu, states, _ = drawn(0.0)
    none = dispersion_by_state(x, mu, states)
    assert none.precision == PRECISIONS[0]
    assert np.log(none.factors).std() < 0.1
    assert none.penalty < found.penalty


def test_with_the_slope_there_is_no_dropout_and_without_it_there_is() -> None:
    x, mu, states, _ = drawn(1.5)
    one = fit_counts(x[:, None], mu[:, None], families=("zinb",))
    factors = dispersion_by_state(x, mu, states).factors
    by_state = fit_counts(x[:, None], mu[:, None], inverse_dispersions=factors[:, None], families=("zinb",))
    z = one.of("zinb")
    assert one.dropout[0, z] > 0.03
    assert by_state.dropout[0, z] < 0.01
    assert by_state.log_likelihood[0, 1] > one.log_likelihood[0, z] + 20


def test_dropouts_that_are_known_leave_the_dispersion_alone() -> None:
    x, mu, states, theta = drawn(1.0, dropout=0.3)
    kept = np.where(x > 0, 1.0, 0.0) + (x == 0) * 0.3
    blind, told = (dispersion_by_state(x, mu, states, w) for w in (None, kept))
    error = [np.abs(np.log(f.factors) - (np.log(theta) - 0.5)).mean() for f in (blind, told)]
    assert error[1] < error[0]


def test_directions_of_blocks_are_those_of_the_whole() -> None:
    states = np.random.default_rng(0).normal(size=(400, 6)) @ np.diag([5, 4, 3, 2, 1, 0.0])
    whole, blocks = main_directions([states], 3), main_directions(np.array_split(states, 7), 3)
    np.testing.assert_allclose(np.abs(whole(states)), np.abs(blocks(states)), rtol=1e-8)
    np.testing.assert_allclose(np.cov(whole(states).T, bias=True), np.eye(3), atol=1e-9)
    assert main_directions([states], 9)(states).shape == (400, 5)  # the sixth does not vary
