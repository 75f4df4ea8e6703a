"""The interval of a dropout probability: its ends by hand, and how often it covers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from zinbtools.stats.count_models import fit_counts


def drawn(n: int, mean: float, dropout: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.poisson(random.gamma(2.0, mean / 2.0, n)) * (random.random(n) >= dropout)


@pytest.mark.parametrize(("mean", "dropout"), [(2.0, 0.2), (10.0, 0.05), (5.0, 0.0)])
def test_ends_are_where_the_profile_is_lower_by_half_a_quantile(mean: float, dropout: float) -> None:
    x = drawn(500, mean, dropout, 3)

    def log_likelihood(at: np.ndarray, pi: float) -> float:
        mu, theta = np.exp(at)
        p = stats.nbinom.pmf(x, theta, theta / (theta + mu))
        return float(np.log(pi * (x == 0) + (1 - pi) * p).sum())

    def profile(pi: float) -> float:
        return -min(
            optimize.minimize(lambda at: -log_likelihood(at, pi), start, method="Nelder-Mead", tol=1e-8).fun
            for start in ([np.log(mean), 0.7], [np.log(mean), 0.0])
        )

    fits = fit_counts(x[:, None], np.ones(500), families=("zinb",), interval_level=0.9)
    top = fits.log_likelihood[0, fits.of("zinb")]
    low, high = fits.dropout_interval[0]
    fall = stats.chi2.ppf(0.9, 1) / 2
    assert low <= fits.dropout[0, fits.of("zinb")] <= high
    assert top - profile(high) == pytest.approx(fall, abs=0.05)
    if low > 0:
        assert top - profile(low) == pytest.approx(fall, abs=0.05)
    else:
        assert top - fits.log_likelihood[0, fits.of("nb")] <= fall


def test_it_covers_as_often_as_it_says() -> None:
    for dropout in (0.05, 0.3):
        x = np.stack([drawn(1000, 4.0, dropout, 100 + k) for k in range(200)], axis=1)
        low, high = fit_counts(x, np.ones(1000), families=("zinb",), interval_level=0.9).dropout_interval.T
        assert 0.84 <= np.mean((low <= dropout) & (dropout <= high)) <= 0.96


def test_without_a_level_there_is_none() -> None:
    fits = fit_counts(drawn(200, 3.0, 0.1, 0)[:, None], np.ones(200))
    assert np.isnan(fits.dropout_interval).all()
