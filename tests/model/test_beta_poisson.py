"""The Beta-Poisson through the shared case, against exact values, and at its ends."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from count_distribution_case import MEANS, CountDistributionCase
from scipy import special

from zinbtools.model.beta_poisson import BetaPoisson
from zinbtools.model.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial

SHAPE = 0.4


def bursts(mu, alpha, shape):
    return BetaPoisson(*(torch.as_tensor(of, dtype=torch.float64) for of in (mu, alpha, shape)))


def by_scipy(x, mu, theta):
    a = SHAPE * theta
    b = SHAPE * (a + 1) / (1 - SHAPE)
    rate = mu * (a + b) / a
    beta = special.betaln(a + x, b) - special.betaln(a, b)
    kummer = np.log(special.hyp1f1(b, a + b + x, rate)) - rate
    return x * np.log(rate) - special.gammaln(x + 1) + beta + kummer


class TestBetaPoisson(CountDistributionCase):
    def make(self, mu, theta):
        return BetaPoisson(mu, 1 / theta, torch.tensor(SHAPE, dtype=mu.dtype))

    def reference(self, x, mu, theta):
        return np.vectorize(by_scipy)(x, mu, theta)


def exact(x, mu, alpha, shape):
    """By mpmath, in 50 digits."""
    with mpmath.workdps(50):
        mu, alpha, shape = map(mpmath.mpf, (mu, alpha, shape))
        a = shape / alpha
        b = shape * (a + 1) / (1 - shape)
        rate = mu * (a + b) / a
        gammas = mpmath.loggamma(a + x) - mpmath.loggamma(a) + mpmath.loggamma(a + b)
        value = x * mpmath.log(rate) - mpmath.loggamma(x + 1) + gammas - mpmath.loggamma(a + b + x) - rate
        return float(value + mpmath.log(mpmath.hyp1f1(b, a + b + x, rate, maxterms=10**6)))


@pytest.mark.parametrize("shape", [1e-6, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("alpha", [1e-4, 0.3, 30.0])
def test_against_exact_values(alpha, shape):
    n = 0
    for mu in (1e-4, 0.3, 5.0, 1000.0):
        for x in (0, 1, 64, 65, 2000, 100_000):
            if mu * (1 + alpha) / (1 - shape) <= 1e5 and x <= 1000 * (1 + mu):
                expected = exact(x, mu, alpha, shape)
                found = bursts(mu, alpha, shape).log_prob(torch.tensor(float(x))).item()
                assert found == pytest.approx(expected, rel=1e-11, abs=1e-11), (x, mu)
                n += 1
    assert n > 10


@pytest.mark.parametrize("alpha", [0.05, 2.0])
def test_a_shape_of_one_is_the_nb_and_so_nearly_is_one_close_to_it(alpha):
    x = torch.tensor([0, 1, 3, 50, 400], dtype=torch.float64)[:, None]
    theta = torch.tensor(1 / alpha, dtype=torch.float64)
    nb = NegativeBinomial(MEANS, theta).log_prob(x)
    np.testing.assert_allclose(bursts(MEANS, alpha, 1.0).log_prob(x), nb, rtol=1e-11, atol=1e-12)
    for mu in (0.3, 4.0):
        for count in (0, 3, 20):
            at = {
                gap: bursts(mu, alpha, 1 - gap).log_prob(torch.tensor(float(count))).item()
                for gap in (0.0, 4e-7, 1e-6, 1.001e-6, 4e-6)
            }
            assert at[1e-6] == pytest.approx(at[1.001e-6], rel=1e-8)
            curve = np.polyfit([0.0, 1.001, 4.0], [at[0.0], at[1.001e-6], at[4e-6]], 2)
            assert at[4e-7] == pytest.approx(np.polyval(curve, 0.4), rel=1e-8)


def test_a_shape_of_zero_is_a_poisson_number_that_drops_out():
    x, alpha = torch.arange(30, dtype=torch.float64)[:, None], 0.5
    kept = NegativeBinomial(MEANS * 1.5, torch.tensor(1e13, dtype=torch.float64))
    logit = torch.tensor(alpha, dtype=torch.float64).log()
    expected = ZeroInflatedNegativeBinomial(kept, logit).log_prob(x)
    np.testing.assert_allclose(bursts(MEANS, alpha, 0.0).log_prob(x), expected, rtol=1e-9, atol=1e-12)
    close = bursts(MEANS, alpha, 1e-9).log_prob(x)
    np.testing.assert_allclose(close.exp(), expected.exp(), rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [0.0, 1 - 3e-7, 1.0])
def test_gradients_at_the_ends(shape):
    mu, alpha = (torch.tensor(of, dtype=torch.float64, requires_grad=True) for of in (3.0, 0.7))
    r, x = torch.tensor(shape, dtype=torch.float64), torch.tensor([0.0, 1.0, 9.0]).double()
    assert torch.autograd.gradcheck(lambda m, a: BetaPoisson(m, a, r).log_prob(x), (mu, alpha), eps=1e-4)


@pytest.mark.parametrize("shape", [0.0, 1e-4, 1.0])
def test_draws_at_the_ends_have_the_moments(shape):
    n, mu, alpha = 60_000, 4.0, 0.8
    one = bursts(mu, alpha, shape)
    wide = bursts(torch.full((n,), mu), alpha, shape)
    draws = wide.sample(torch.Generator().manual_seed(2))
    variance = mu + alpha * mu**2
    assert draws.mean().item() == pytest.approx(mu, abs=5 * (variance / n) ** 0.5)
    assert draws.var().item() == pytest.approx(variance, rel=0.1)
    zeros = one.zero_prob.item()
    assert (draws == 0).double().mean().item() == pytest.approx(
        zeros, abs=5 * (zeros * (1 - zeros) / n) ** 0.5
    )


def test_rates_are_those_of_the_bursts():
    on, off = bursts(2.0, 0.9, 0.3).rates
    assert off / (on * (on + off + 1)) == pytest.approx(0.9)
