"""The count distributions: negative binomial, zero-inflated negative binomial, and its reads.

The first two are exact from means of 1e-8 to 1e5, inverse dispersions of 1e-3 to 1e8 and counts to 250,000;
everything broadcasts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .molecules import molecules_within
from .stirling import remainder, remainder_from_zero

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_AT_ONCE = 2**13  # counts of reads
_LARGEST_RATE = 2.0**31  # no data hold more, and a draw must end
# Where a logarithm is taken in another way. At this ratio minus one autograd counts its slope twice, so it is
# none that round numbers have.
_SWITCH = -math.sqrt(0.2470317)


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
        return torch.poisson(rate.clamp(max=_LARGEST_RATE), generator=generator)


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

    With the reads of molecules as base it is the molecules that drop out, before they are copied.
    """

    base: NegativeBinomial | AmplifiedNegativeBinomial
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


@dataclass(frozen=True)
class AmplifiedNegativeBinomial(CountDistribution):
    """Reads of molecules that were copied: ``x = Z_1 + ... + Z_k``, where the molecules k are NB.

    Each molecule has ``Z = 1 + NB(copies - 1, shape)`` reads, so that of k molecules, ``k >= 1``,
    ``x = k + NB(k (copies - 1), k shape)``, and there is a read wherever there is a molecule. Hence the zeros
    are those of the molecules, and the variance is ``mu copies^2 (1 + mu / theta) + mu Var Z``, with
    ``Var Z = (copies - 1) + (copies - 1)^2 / shape``.

    The probability of x reads is a sum over the molecules that they may come from. It is taken at all of them
    for ``x <= 56``; beyond, at 56 nodes of Gauss's rule for sums, over those that make more than e^-36 of the
    largest term: within 1e-9 nats, or 1e-9 of the logarithm where that is more, of the sum in exact
    arithmetic, for reads to 10^6, copies from 1.01 to 1,000 and shapes from 0.03 up.

    Parameters
    ----------
    molecules
        Their distribution.
    copies
        Mean number of reads of a molecule; above 1. ``copies -> 1`` is the NB of the molecules.
    shape
        How alike the molecules' numbers of reads are: 1 as in PCR that starts at random (geometric numbers),
        less where some molecules have most of the reads; ``shape -> infinity`` is one plus a Poisson number.

    Examples
    --------
    >>> import torch
    >>> molecules = NegativeBinomial(torch.tensor(2.0), torch.tensor(1.0))
    >>> reads = AmplifiedNegativeBinomial(molecules, torch.tensor(30.0), torch.tensor(1.0))
    >>> round(reads.zero_prob.item(), 4), reads.mean.item(), reads.variance.item()
    (0.3333, 60.0, 7140.0)
    """

    molecules: NegativeBinomial
    copies: Tensor
    shape: Tensor

    @property
    def mean(self) -> Tensor:
        return torch.broadcast_tensors(self.molecules.mean * self.copies, self.shape)[0]

    @property
    def variance(self) -> Tensor:
        beyond_first = self.copies - 1
        of_one = beyond_first + beyond_first**2 / self.shape
        return self.molecules.mu * of_one + self.molecules.variance * self.copies**2

    @property
    def log_zero_prob(self) -> Tensor:
        return torch.broadcast_tensors(self.molecules.log_zero_prob, self.copies, self.shape)[0]

    def log_prob(self, counts: Tensor) -> Tensor:
        molecules = self.molecules
        reads = torch.where(counts > 0, counts, 1).to(molecules.mu.dtype)
        parts = torch.broadcast_tensors(reads, molecules.mu, molecules.theta, self.copies, self.shape)
        flat = (part.reshape(-1).split(_AT_ONCE) for part in parts)
        above_zero = torch.cat([_log_sum(*some) for some in zip(*flat, strict=True)])
        return torch.where(counts > 0, above_zero.reshape(parts[0].shape), self.log_zero_prob)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        parts = (self.molecules.mu, self.molecules.theta, self.copies, self.shape)
        mu, theta, copies, shape = torch.broadcast_tensors(*parts)
        molecules = NegativeBinomial(mu, theta).sample(generator)
        of_none = molecules == 0
        further = torch.where(of_none, 1, molecules)
        reads = NegativeBinomial(further * (copies - 1), further * shape).sample(generator)
        return torch.where(of_none, 0, molecules + reads)


def _log_sum(reads: Tensor, mu: Tensor, theta: Tensor, copies: Tensor, shape: Tensor) -> Tensor:
    """Log probability of reads above 0, (n,), by summing over their molecules."""
    of = (reads, mu, theta, copies, shape)

    def roughly(molecules: Tensor, which: Tensor) -> Tensor:
        return _log_joint_roughly(molecules, *(part[which] for part in of))

    with torch.no_grad():
        molecules, log_weights = molecules_within(reads, roughly)
    reads, mu, theta, copies, shape = (part[:, None] for part in of)
    further = _log_nb(reads - molecules, molecules * (copies - 1), molecules * shape)
    return torch.logsumexp(_log_nb(molecules, mu, theta) + further + log_weights, dim=1)


def _log_joint_roughly(
    molecules: Tensor, reads: Tensor, mu: Tensor, theta: Tensor, copies: Tensor, shape: Tensor
) -> Tensor:
    """Log probability of these reads and molecules, up to a constant and to the digits that lgamma leaves."""
    further, size = reads - molecules, molecules * shape
    rate = torch.log(mu / (mu + theta)) + shape * torch.log(shape / (shape + copies - 1))
    rate = rate - torch.log((copies - 1) / (shape + copies - 1))
    binomials = torch.lgamma(molecules + theta) - torch.lgamma(molecules + 1)
    binomials += torch.lgamma(further + size) - torch.lgamma(size) - torch.lgamma(further + 1)
    return binomials + molecules * rate


def _log_nb(counts: Tensor, mu: Tensor, theta: Tensor) -> Tensor:
    """Log NB of counts of 0 or more, which need not be whole: its formula is smooth in them."""
    positive = torch.where(counts > 0, counts, 1)
    _, log_total, log_count = nb_log_ratios(positive, mu.log(), mu, theta)
    total = positive + theta
    above_zero = (
        positive * log_count
        + theta * log_total
        + remainder_from_zero(total)
        - remainder_from_zero(positive)
        + 0.5 * (torch.log(theta) - torch.log(total) - torch.log(positive))
        - remainder_from_zero(theta)
        - _HALF_LOG_2PI
    )
    return torch.where(counts > 0, above_zero, -theta * torch.log1p(mu / theta))


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
    """``log r`` by log1p; below about 1/2, where it would lose digits, by the given difference of logarithms.

    Of the two terms one is constant in each range; a choice by mask would be slower by far.
    """
    return torch.log1p(ratio_minus_one.clamp(min=_SWITCH)) + (log_ratio - math.log1p(_SWITCH)).clamp(max=0)


def gamma_terms(total: Tensor) -> Tensor:
    """Compute the share of log NB at positive counts that depends on ``total = counts + theta``."""
    return remainder(total) - 0.5 * torch.log(total)


def inverse_dispersion_term(theta: Tensor) -> Tensor:
    """Compute the share of log NB at positive counts that depends on theta alone."""
    return 0.5 * torch.log(theta) - remainder_from_zero(theta)


def data_constant(counts: Tensor) -> Tensor:
    """Compute the share of log NB at positive counts that depends on the counts alone."""
    return -0.5 * torch.log(counts) - remainder(counts) - _HALF_LOG_2PI
