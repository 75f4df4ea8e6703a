"""What every count distribution must satisfy; a new one only says how to build it and what it must equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from zinbtools.model.distributions import CountDistribution

MEANS = torch.tensor([1e-3, 0.3, 4.0, 60.0], dtype=torch.float64)
THETAS = torch.tensor([[0.2], [1.0], [30.0]], dtype=torch.float64)


class CountDistributionCase:
    """Inherit, and implement `make` and `reference`."""

    beyond = 20_000  # counts of which none is to be expected

    def make(self, mu: Tensor, theta: Tensor) -> CountDistribution:
        raise NotImplementedError

    def reference(self, x: np.ndarray, mu: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Log probabilities by scipy."""
        raise NotImplementedError

    @pytest.fixture
    def distribution(self) -> CountDistribution:
        return self.make(MEANS, THETAS)

    def test_a_generator_says_all_of_a_sample(self):
        counts = self.make(MEANS.expand(200, 3, 4), THETAS.expand(200, 3, 4))
        first, second = (counts.sample(torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(first, second)
        assert not torch.equal(first, counts.sample(torch.Generator().manual_seed(4)))

    def test_sums_to_one(self, distribution):
        x = torch.arange(self.beyond, dtype=torch.float64)[:, None, None]
        np.testing.assert_allclose(distribution.log_prob(x).exp().sum(0), 1, rtol=1e-12)

    def test_moments_are_those_of_the_probabilities(self, distribution):
        x = torch.arange(self.beyond, dtype=torch.float64)[:, None, None]
        p = distribution.log_prob(x).exp()
        mean = (p * x).sum(0)
        np.testing.assert_allclose(distribution.mean.broadcast_to(mean.shape), mean, rtol=1e-10)
        np.testing.assert_allclose(distribution.variance, (p * (x - mean) ** 2).sum(0), rtol=1e-9)

    def test_agrees_with_scipy(self, distribution):
        x = np.array([0, 1, 2, 7, 80, 1000])[:, None, None]
        expected = self.reference(x, MEANS.numpy(), THETAS.numpy())
        np.testing.assert_allclose(distribution.log_prob(torch.tensor(x)), expected, rtol=1e-9, atol=1e-12)

    def test_zero_prob_is_the_probability_of_zero(self, distribution):
        np.testing.assert_allclose(
            distribution.zero_prob, distribution.log_prob(torch.zeros(())).exp(), rtol=1e-14
        )

    def test_broadcasts(self, distribution):
        x = torch.arange(12, dtype=torch.float64).reshape(3, 4)
        whole = distribution.log_prob(x)
        for i, j in np.ndindex(3, 4):
            single = self.make(MEANS[j], THETAS[i, 0]).log_prob(x[i, j])
            np.testing.assert_allclose(whole[i, j], single, rtol=1e-14)

    @pytest.mark.parametrize("x", [0, 1, 3, 50])
    def test_gradients(self, x):
        mu, theta = MEANS.clone().requires_grad_(), THETAS.clone().requires_grad_()
        count = torch.tensor(float(x), dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda m, t: self.make(m, t).log_prob(count), (mu, theta), rtol=1e-4)

    def test_large_theta_is_the_poisson(self):
        x = np.arange(30)[:, None]
        near = self.make(MEANS, torch.tensor(1e12, dtype=torch.float64)).log_prob(torch.tensor(x))
        far = self.make(MEANS, torch.tensor(1e15, dtype=torch.float64)).log_prob(torch.tensor(x))
        np.testing.assert_allclose(near, far, rtol=1e-8)

    def test_single_precision(self, distribution):
        x = torch.tensor([0, 1, 2, 7, 80, 1000])[:, None, None]
        single = self.make(MEANS.float(), THETAS.float()).log_prob(x.float())
        expected = self.make(MEANS.float().double(), THETAS.float().double()).log_prob(x)
        error = (single - expected).abs()
        assert (error <= 1e-4 + 1e-5 * expected.abs()).all()

    def test_draws_have_the_moments_and_zeros(self, distribution):
        n = 40_000
        wide = self.make(MEANS.expand(n, 3, 4), THETAS.expand(n, 3, 4))
        draws = wide.sample(torch.Generator().manual_seed(1))
        assert torch.equal(draws, draws.round())
        assert (draws >= 0).all()
        mean, zeros = draws.mean(0), (draws == 0).double().mean(0)
        expected_zeros = distribution.zero_prob.broadcast_to(zeros.shape)
        # five standard errors
        assert ((mean - distribution.mean).abs() < 5 * (distribution.variance / n).sqrt()).all()
        spread = (expected_zeros * (1 - expected_zeros) / n).sqrt()
        assert ((zeros - expected_zeros).abs() <= 5 * spread + 1e-9).all()
