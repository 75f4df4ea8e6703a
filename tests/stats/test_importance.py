"""Importance weights: exact values, arviz's k-hat, and coverage of the stated errors."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

from zinbtools.stats.importance import error_of_mean, log_mean, log_mean_alone, pareto_k, unseen, with_missing


def k_in_exact_arithmetic(log_weights, n_tail):
    """The method of Zhang and Stephens (2009) in its authors' signs, and the pull towards 0.5."""
    with mpmath.workdps(40):
        threshold, *weights = [mpmath.exp(v - max(log_weights)) for v in sorted(log_weights)[-n_tail - 1 :]]
        x, n_grid = [weight - threshold for weight in weights], 30 + int(n_tail**0.5)
        third = 1 / (3 * x[int(n_tail / 4 + 0.5) - 1])
        half = mpmath.mpf(1) / 2
        grid = [1 / x[-1] + (1 - mpmath.sqrt(n_grid / (j - half))) * third for j in range(1, n_grid + 1)]

        def shape(theta):
            return -mpmath.fsum(mpmath.log1p(-theta * each) for each in x) / n_tail

        height = [n_tail * (mpmath.log(theta / shape(theta)) + shape(theta) - 1) for theta in grid]
        shares = [1 / mpmath.fsum(mpmath.exp(other - own) for other in height) for own in height]
        return float((5 - n_tail * shape(mpmath.fdot(grid, shares))) / (n_tail + 10))


@pytest.mark.parametrize(("n", "n_tail"), [(25, 5), (29, 5), (100, 20), (225, 45), (226, 45), (260, 48)])
@pytest.mark.parametrize("spread", [0.1, 1.0, 12.0])
def test_k_is_that_of_exact_arithmetic(n, n_tail, spread):
    log_weights = np.random.default_rng(n).normal(-1000, spread, size=n)
    assert pareto_k(log_weights) == pytest.approx(k_in_exact_arithmetic(log_weights, n_tail), abs=1e-9)


@pytest.mark.parametrize("n", [30, 100, 225, 226, 1000, 4000])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 12.0])
def test_k_is_that_of_arviz(n, spread):
    """From 30 draws on: newer versions decline the five weights that the tail of fewer has."""
    reference = pytest.importorskip("arviz_stats.base", reason="k-hat is compared with arviz-stats")
    log_weights = np.random.default_rng(n).normal(-1000, spread, size=(n, 7))
    ours = pareto_k(log_weights)
    for column, k in zip(log_weights.T, ours, strict=True):
        _, theirs = reference.array_stats.psislw(-column)  # it takes log likelihoods
        assert k == pytest.approx(float(theirs), abs=1e-6)


def test_k_is_the_tail_index():
    """Weights U^-k have tail index k; 20,000 draws tell it to a few hundredths."""
    uniform = np.random.default_rng(0).random(20_000)
    for k in (0.2, 0.5, 0.7, 1.0):
        assert pareto_k(-k * np.log(uniform)) == pytest.approx(k, abs=0.1)


def test_k_where_it_cannot_be_told():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(pareto_k(rng.normal(size=(24, 3))), np.full(3, np.nan))
    assert np.isnan(pareto_k(np.zeros(100)))
    assert pareto_k(np.r_[np.zeros(99), 800.0] + rng.normal(size=100)) == np.inf


@pytest.mark.filterwarnings("error")
def test_k_of_weights_that_all_but_vanish():
    """The threshold is 0 beside the largest weight, and the exceedances next to it are subnormal."""
    log_weights = np.r_[np.zeros(80), np.linspace(700, 760, 19), 1445.0]
    assert pareto_k(log_weights) == np.inf


def test_exact_values():
    estimate = log_mean(np.log([[1.0], [2.0], [3.0]]))
    assert estimate.value == pytest.approx(np.log(2))
    assert estimate.effective_sample_size == pytest.approx(36 / 14)
    assert estimate.standard_error == pytest.approx(np.sqrt(14 / 36 - 1 / 3))
    left_out = np.log([2.5, 2.0, 1.5]).mean()  # means without one of the three
    assert estimate.debiased == pytest.approx(3 * np.log(2) - 2 * left_out)


def test_exact_values_without_diagnostics():
    assert log_mean_alone(np.log([[1.0, 2.0], [3.0, 6.0]])) == pytest.approx(np.log([2, 4]))


def test_equal_weights_have_no_error():
    """However their shares are rounded."""
    for n in range(2, 200):
        assert log_mean(np.full((n, 1), -3.3)).standard_error == pytest.approx(0, abs=1e-7)


def test_error_of_a_mean_over_two_cells():
    """Variances 1 and 1, and biases of a half each."""
    assert error_of_mean(np.array([1.0, 1.0])) == pytest.approx(np.sqrt(3) / 2)
    assert error_of_mean(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])) == pytest.approx(
        np.sqrt([3, 8, 0]) / 2
    )


def test_two_draws_have_an_error():
    estimate = log_mean(np.log([[1.0], [3.0]]))
    assert estimate.standard_error == pytest.approx(np.sqrt(10 / 16 - 1 / 2))
    assert estimate.debiased == pytest.approx(2 * np.log(2) - np.log(3) / 2)


def test_one_draw_that_carries_everything():
    """Without it nothing is left, so that the jackknife has no bound."""
    estimate = log_mean(np.array([[0.0], [-1000.0]]))
    assert estimate.effective_sample_size == 1
    assert estimate.debiased == np.inf


def test_one_draw_has_no_error():
    estimate = log_mean(np.zeros((1, 2)))
    assert np.isnan(estimate.standard_error).all()
    assert np.isnan(estimate.debiased).all()


def test_debiasing_takes_the_bias_away():
    """Lognormal weights, 20 draws, 20,000 times: the bias is half the squared error, and little is left."""
    estimate = log_mean(np.random.default_rng(0).normal(size=(20, 20_000)))
    bias, left = (values.mean() - 0.5 for values in (estimate.value, estimate.debiased))
    assert bias == pytest.approx(-0.5 * (estimate.standard_error**2).mean(), abs=0.01)
    assert abs(left) < 0.2 * abs(bias)


def test_what_no_search_found_is_told_from_what_one_found():
    """Six modes of random masses; eight searches end in each by its own chance, whatever its mass."""
    rng = np.random.default_rng(0)
    mass = rng.dirichlet(np.ones(6), 20_000).T
    bounds = rng.dirichlet(np.ones(6), 20_000).T.cumsum(0)
    ends = (rng.random((8, 1, 20_000)) > bounds[:-1]).sum(1)
    times = np.stack([(ends == mode).sum(0) for mode in range(6)])
    none = np.zeros((2, 20_000), dtype=int)  # so that there are as many rows as searches
    missing = -np.log((mass * (times > 0)).sum(0))
    told = unseen(np.log(np.r_[mass, np.ones_like(none)]), np.r_[times, none])
    assert missing.mean() > 0.1
    assert told.mean() == pytest.approx(missing.mean(), rel=0.25)


def test_nothing_is_unseen_where_all_searches_agree():
    assert unseen(np.zeros((3, 1)), np.array([[3], [0], [0]])) == 0
    assert unseen(np.zeros((3, 1)), np.array([[1], [1], [1]])) == pytest.approx(np.log(3))


def test_the_stated_error_admits_what_is_missing():
    """Twenty cells that lack 0.1 nats each, which no number of cells averages out."""
    estimate = log_mean(np.random.default_rng(0).normal(0, 0.1, size=(1000, 20)))
    error = error_of_mean(with_missing(estimate, np.full(20, 0.1)).standard_error)
    assert error == pytest.approx(np.hypot(0.1, np.sqrt(0.2 / 20)), rel=0.02)


def test_the_stated_error_admits_that_one_draw_carries_everything():
    estimate = log_mean(np.array([[0.0], [-1000.0]]))
    assert with_missing(estimate, np.zeros(1)).standard_error == pytest.approx(np.sqrt(2))


class LinearGaussianPoisson:
    """``z ~ N(0, 1)``, ``x_g ~ Poisson(e^(a_g z + b_g))``, with a Gaussian near the posterior as proposal."""

    def __init__(self, rng, n_genes=8, n_cells=60):
        self.slope, self.offset = rng.normal(0, 0.5, n_genes), rng.normal(0, 0.7, n_genes)
        self.x = rng.poisson(np.exp(np.outer(rng.normal(size=n_cells), self.slope) + self.offset))
        grid = np.linspace(-8, 8, 601)
        joint = np.exp(self.log_joint(grid[:, None]))
        evidence = integrate.simpson(joint, x=grid, axis=0)
        self.log_evidence = np.log(evidence)
        mean = integrate.simpson(joint * grid[:, None], x=grid, axis=0) / evidence
        spread = integrate.simpson(joint * (grid[:, None] - mean) ** 2, x=grid, axis=0) / evidence
        # an amortised posterior is a little off, and a little too wide
        self.proposal = stats.norm(mean + 0.3 * np.sqrt(spread), 1.2 * np.sqrt(spread))

    def log_joint(self, z):
        """For draws of all cells, (K, n_cells or 1)."""
        log_rate = z[..., None] * self.slope + self.offset
        return stats.poisson.logpmf(self.x, np.exp(log_rate)).sum(-1) + stats.norm.logpdf(z)

    def estimate(self, rng, n_samples):
        z = self.proposal.rvs(size=(n_samples, len(self.x)), random_state=rng)
        return log_mean(self.log_joint(z) - self.proposal.logpdf(z))


def test_agrees_with_quadrature_within_its_own_error():
    """The 95 % intervals of the mean over cells."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        toy = LinearGaussianPoisson(rng)
        estimate = toy.estimate(rng, 100)
        deviation = estimate.value.mean() - toy.log_evidence.mean()
        covered += abs(deviation) < 1.96 * error_of_mean(estimate.standard_error)
    assert covered >= 93
