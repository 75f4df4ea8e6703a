"""Bursts and dropout told apart where they can be, and not where they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from zinbtools.kernels.beta_poisson import log_probability
from zinbtools.stats.bursts import cells_needed, fit_bursts, log_probabilities

N = 2000


def draw(kind: str, mean: float, n_genes: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mu = mean * random.lognormal(0, 0.5, (N, n_genes))
    if kind == "slow":
        on, off = np.exp(random.uniform(np.log(0.2), 0, (2, n_genes)))
        return random.poisson(mu * random.beta(on, off, mu.shape) * (on + off) / on), mu, np.array([on, off])
    theta, pi = random.uniform(0.7, 8, n_genes), random.uniform(0.1, 0.3, n_genes) * (kind == "dropout")
    x = random.poisson(random.gamma(theta, mu / theta)) * (random.random(mu.shape) >= pi)
    return x, mu, np.array([theta, pi])


@pytest.fixture(scope="module")
def slow() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draw("slow", 5.0, 20, 0)


def test_slow_genes_are_bursts_and_their_bursts_are_known(slow):
    x, mu, (on, off) = slow
    found = fit_bursts(x, mu)
    assert (found.statistic > 2).mean() > 0.8
    assert found.statistic.min() > -2
    assert stats.spearmanr(found.frequency, on)[0] > 0.9
    for estimate, error, truth in (
        (found.frequency, found.frequency_se, on),
        (found.size, found.size_se, 5.0 * np.exp(0.125) * (on + off) / (on * off)),
    ):
        z = np.log(estimate / truth) / error
        assert np.sqrt(np.mean(z**2)) < 1.6
        assert np.abs(z).max() < 4
    np.testing.assert_allclose(found.off_rate, off, rtol=0.8)


def test_dropout_is_no_burst():
    found = fit_bursts(*draw("dropout", 5.0, 20, 1)[:2])
    assert (found.statistic < -2).mean() > 0.8
    assert found.statistic.max() < 2


def test_nobody_can_tell_at_low_means():
    for kind in ("slow", "dropout"):
        found = fit_bursts(*draw(kind, 0.3, 20, 2)[:2])
        assert (np.abs(found.statistic) < 2.5).all()
        assert np.median(cells_needed(found.statistic, N, 0.05)) > N


def test_an_nb_is_at_the_bound_or_no_better():
    x, mu, _ = draw("nb", 5.0, 20, 3)
    found = fit_bursts(x, mu)
    nb = found.zinb.log_likelihood[:, found.zinb.of("nb")]
    ratio = 2 * (found.log_likelihood - nb)
    assert 0.2 < found.at_nb.mean() < 0.8  # half of the time
    assert (ratio[found.at_nb] < 0.2).all()
    assert ratio.min() >= 0
    assert ratio.max() < 12


def test_a_dropout_from_poisson_numbers_is_at_the_other_bound():
    random = np.random.default_rng(5)
    x = random.poisson(4.0, (4000, 4)) * (random.random((4000, 4)) > 0.3)
    found = fit_bursts(x, np.ones(4000))
    assert found.at_zip.any()
    assert (found.shape < 0.05).all()
    np.testing.assert_allclose(found.alpha, 3 / 7, rtol=0.15)
    assert (np.abs(found.statistic) < 2).all()  # the same distribution


def test_given_dispersions_come_in_levels(slow):
    x, mu, _ = slow
    random = np.random.default_rng(6)
    given = np.exp(0.4 * random.integers(0, 2, mu.shape))
    found = fit_bursts(x, mu, inverse_dispersions=given)
    plain = fit_bursts(x, mu)
    np.testing.assert_allclose(
        fit_bursts(x, mu, inverse_dispersions=np.full(mu.shape, 2.0)).log_likelihood,
        plain.log_likelihood,
        atol=1e-3,
    )
    g = 3
    total = sum(
        log_probability(
            float(x[n, g]), mu[n, g] * found.scale[g], found.alpha[g] / given[n, g], found.shape[g]
        )[0]
        for n in range(N)
    )
    assert found.log_likelihood[g] == pytest.approx(total, abs=1e-2)
    assert not np.allclose(found.log_likelihood, plain.log_likelihood, atol=1)


def test_genes_do_not_know_of_one_another(slow):
    x, mu, _ = slow
    whole, one = fit_bursts(x, mu), fit_bursts(x[:, [7]], mu[:, [7]])
    assert one.gain[0] == whole.gain[7]
    assert one.frequency[0] == whole.frequency[7]


def test_log_probabilities_are_those_that_were_summed(slow):
    x, mu, _ = slow
    found = fit_bursts(x, mu)
    of_cells = log_probabilities(found.parameters, x, mu)
    places = [found.zinb.of(family) for family in ("poisson", "nb", "zinb")]
    np.testing.assert_allclose(of_cells[:3].sum(2).T, found.zinb.log_likelihood[:, places], rtol=1e-9)
    np.testing.assert_allclose(of_cells[3].sum(1), found.log_likelihood, rtol=1e-6)
    gain = (of_cells[3] - of_cells[2]).mean(1)
    np.testing.assert_allclose(gain, found.gain, rtol=1e-6)
