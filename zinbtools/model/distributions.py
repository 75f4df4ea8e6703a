"""The two count distributions: negative binomial and zero-inflated negative binomial.

Exact from means of 1e-8 to 1e5, inverse dispersions of 1e-3 to 1e8 and counts to 250,000; everything
broadcasts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .stirling import remainder, remainder_from_zero

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class CountDistribution(ABC):
    """A distribution over counts 0, 1, 2, ..., one for each entry of its parameters."""

    @property
    @abstractmethod
    def mean(self) -> Tensor: ...

    @property
    @abstractmethod
    def variance(self) -> Tensor: ...

    @abstractmethod
    def log_prob(self, counts: Tensor) -> Tensor:
        """Natural logarithm of the probability of each count."""

    @abstractmethod
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw once per entry, as floats that hold integers."""

    @property
    @abstractmethod
    def log_zero_prob(self) -> Tensor:
        """Natural logarithm of the probability of a zero."""

    @property
    def zero_prob(self) -> Tensor:
        """Probability of a zero."""
        return self.log_zero_prob.exp()


@dataclass(frozen=True)
class NegativeBinomial(CountDistribution):
    """Negative binomial with variance ``mu + mu^2 / theta``.

    Parameters
    ----------
    mu
        Means, counts; positive.
    theta
        Inverse dispersions; positive. ``theta -> infinity`` is the Poisson.

    Examples
    --------
    >>> import torch
    >>> nb = NegativeBinomial(torch.tensor(2.0), torch.tensor(1.0))
    >>> round(nb.zero_prob.item(), 4), nb.variance.item()
    (0.3333, 6.0)
    """

    mu: Tensor
    theta: Tensor

    @property
    def mean(self) -> Tensor:
        return torch.broadcast_tensors(self.mu, self.theta)[0]

    @property
    def variance(self) -> Tensor:
        return self.mu + self.mu**2 / self.theta

    @property
    def log_zero_prob(self) -> Tensor:
        return -self.theta * torch.log1p(self.mu / self.theta)

    def log_prob(self, counts: Tensor) -> Tensor:
        counts = counts.to(self.mu.dtype)
        positive = torch.where(counts > 0, counts, 1)
        _, log_total, log_count = nb_log_ratios(positive, self.mu.log(), self.mu, self.theta)
        above_zero = (
            positive * log_count
            + self.theta * log_total
            + gamma_terms(positive + self.theta)
            + inverse_dispersion_term(self.theta)
            + data_constant(positive)
        )
        return torch.where(counts > 0, above_zero, self.log_zero_prob)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        mu, theta = torch.broadcast_tensors(self.mu, self.theta)
        # torch.distributions.Gamma draws with this function too, but takes no generator.
        rate = torch._standard_gamma(theta.contiguous(), generator=generator) * (mu / theta)
        return torch.poisson(rate, generator=generator)


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial(CountDistribution):
    """Zero with probability ``pi = sigmoid(dropout_logit)``, otherwise a draw from ``base``.

    Examples
    --------
    >>> import torch
    >>> nb = NegativeBinomial(torch.tensor(2.0), torch.tensor(1.0))
    >>> zinb = ZeroInflatedNegativeBinomial(nb, dropout_logit=torch.tensor(0.0))
    >>> round(zinb.zero_prob.item(), 4), zinb.mean.item()
    (0.6667, 1.0)
    """

    base: NegativeBinomial
    dropout_logit: Tensor

    @property
    def dropout(self) -> Tensor:
        """``pi``: the probability that a count is replaced by zero."""
        return self.dropout_logit.sigmoid()

    @property
    def mean(self) -> Tensor:
        return (1 - self.dropout) * self.base.mean

    @property
    def variance(self) -> Tensor:
        kept = 1 - self.dropout
        return kept * (self.base.variance + self.dropout * self.base.mean**2)

    @property
    def log_zero_prob(self) -> Tensor:
        return log_zero_prob(self.base.log_zero_prob, self.dropout_logit)

    def log_prob(self, counts: Tensor) -> Tensor:
        kept = self.base.log_prob(counts) - softplus(self.dropout_logit)
        return torch.where(counts > 0, kept, self.log_zero_prob)

    @property
    def posterior_dropout(self) -> Tensor:
        """``P(the zero is a dropout | x = 0) = pi / (pi + (1 - pi) NB(0))``."""
        return torch.sigmoid(self.dropout_logit - self.base.log_zero_prob)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        counts = self.base.sample(generator)
        dropout = self.dropout.expand(counts.shape)
        return torch.where(torch.bernoulli(dropout, generator=generator) > 0, 0, counts)


def log_zero_prob(log_nb_zero: Tensor, dropout_logit: Tensor) -> Tensor:
    """``log(pi + (1 - pi) NB(0))`` from ``z = log NB(0)`` and the logit ``l`` of ``pi``.

    Near ``z = 0`` it is ``log1p((1 - pi) expm1(z))``; elsewhere a difference of two terms of which neither is
    large: ``log(e^l + e^z) - log(e^l + 1)``, for positive ``l`` with ``l`` taken out of both.
    """
    near = log_nb_zero > -1
    small = torch.log1p(torch.sigmoid(-dropout_logit) * torch.expm1(torch.where(near, log_nb_zero, 0)))
    large = torch.where(
        dropout_logit > 0,
        softplus(log_nb_zero - dropout_logit) - softplus(-dropout_logit),
        torch.logaddexp(dropout_logit, log_nb_zero) - softplus(dropout_logit),
    )
    return torch.where(near, small, large)


def nb_log_ratios(counts: Tensor, log_mu: Tensor, mu: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the misfit of positive counts, ``delta``, ``log_total``, ``log_count``: 0 at ``counts == mu``.

    ``delta = (x - mu) / (theta + mu)``, ``log_total = log[(x + theta) / (mu + theta)]`` and
    ``log_count = log[mu (x + theta) / (x (mu + theta))]``. The part of log NB that grows with the misfit is
    ``x log_count + theta log_total``, the saddle-point form of Loader (2000): where the fit is good, nothing
    large cancels.
    """
    delta = (counts - mu) / (theta + mu)
    log_total = _log_ratio(delta, torch.log(theta + counts) - torch.log(theta + mu))
    log_count = _log_ratio(-theta * delta / counts, log_mu - counts.log() + log_total)
    return delta, log_total, log_count


def _log_ratio(ratio_minus_one: Tensor, log_ratio: Tensor) -> Tensor:
    """``log r`` by log1p, and by the given difference of logarithms where ``r < 1/2`` would lose digits.

    Of the two terms one is constant in each range; a choice by mask would be slower by far.
    """
    return torch.log1p(ratio_minus_one.clamp(min=-0.5)) + (log_ratio + math.log(2)).clamp(max=0)


def gamma_terms(total: Tensor) -> Tensor:
    """Compute the share of log NB at positive counts that depends on ``total = counts + theta``."""
    return remainder(total) - 0.5 * torch.log(total)


def inverse_dispersion_term(theta: Tensor) -> Tensor:
    """Compute the share of log NB at positive counts that depends on theta alone."""
    return 0.5 * torch.log(theta) - remainder_from_zero(theta)


def data_constant(counts: Tensor) -> Tensor:
    """Compute the share of log NB at positive counts that depends on the counts alone."""
    return -0.5 * torch.log(counts) - remainder(counts) - _HALF_LOG_2PI
