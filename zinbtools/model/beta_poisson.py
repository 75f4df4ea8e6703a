"""The Beta-Poisson distribution: what a gene makes in bursts, from the NB (short ones) to the ZIP (long)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels.beta_poisson import log_probabilities
from .distributions import CountDistribution

_NEARLY = 1e-9  # from the ends of the shape, where draws are those of the NB and of the ZIP


@dataclass(frozen=True)
class BetaPoisson(CountDistribution):
    """Poisson numbers whose rate is ``mu u / E u`` with ``u ~ Beta(k_on, k_off)``.

    So are the molecules of a gene that is switched on with rate ``k_on`` and off with rate ``k_off``, per
    lifetime of a molecule (Peccoud and Ycart 1995). With the excess of the squared coefficient of variation
    over that of a Poisson number, ``alpha``, and a shape ``r``: ``k_on = r / alpha`` and
    ``k_off = r (k_on + 1) / (1 - r)``. The variance is ``mu + alpha mu^2`` for every ``r``.

    The log probability is within 1e-11, or 1e-11 of itself where that is more, of that in exact arithmetic
    for means from 1e-4 to 1,000, alpha from 1e-4 to 30, shapes from 1e-6 to 0.99 and counts to 10^5
    for which ``mu (1 + alpha) / (1 - r)``, the rate of a gene that is always on, is at most 10^5. Its terms
    are added up, about as many as the square root of that rate. Within 1e-6 of ``r = 1`` it goes along a
    straight line in the shape to the NB.

    Parameters
    ----------
    mu
        Means, counts; positive.
    alpha
        Excess relative variances; positive.
    shape
        ``r``, from 0 to 1. 1 is the NB with ``theta = 1 / alpha``; 0 is a Poisson number with a dropout of
        ``alpha / (1 + alpha)``.

    Examples
    --------
    >>> import torch
    >>> bursts = BetaPoisson(torch.tensor(6.0), torch.tensor(1 / 3), torch.tensor(1 / 3))
    >>> [round(float(k), 6) for k in bursts.rates]  # the rate is uniform between 0 and 12
    [1.0, 1.0]
    >>> round(bursts.zero_prob.item(), 4), round(bursts.variance.item(), 4)
    (0.0833, 18.0)
    """

    mu: Tensor
    alpha: Tensor
    shape: Tensor

    @property
    def rates(self) -> tuple[Tensor, Tensor]:
        """``k_on`` and ``k_off``, per lifetime of a molecule; the latter infinite for the NB."""
        on = self.shape / self.alpha
        return on, self.shape * (on + 1) / (1 - self.shape)

    @property
    def mean(self) -> Tensor:
        return torch.broadcast_tensors(self.mu, self.alpha, self.shape)[0]

    @property
    def variance(self) -> Tensor:
        return self.mean + self.alpha * self.mean**2

    @property
    def log_zero_prob(self) -> Tensor:
        return self.log_prob(torch.zeros_like(self.mu))

    def log_prob(self, counts: Tensor) -> Tensor:
        found: Tensor = _LogProbability.apply(counts, self.mu, self.alpha, self.shape)
        return found

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        parts = torch.broadcast_tensors(self.mu, self.alpha, self.shape)
        mu, alpha, shape = (part.double() for part in parts)
        shape = shape.clamp(_NEARLY, 1 - _NEARLY)
        on, off = BetaPoisson(mu, alpha, shape).rates
        first, second = (_log_gamma(k, generator) for k in (on, off))
        u = torch.sigmoid(first - second)
        return torch.poisson(mu * u * (on + off) / on, generator=generator).to(parts[0].dtype)


def _log_gamma(shape: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw logarithms of gamma variables, which may be far below the smallest number themselves."""
    above = torch._standard_gamma(shape + 1, generator=generator).log()
    return above + torch.rand(shape.shape, dtype=shape.dtype, generator=generator).log() / shape


class _LogProbability(torch.autograd.Function):
    """By the compiled kernel, in double precision on the CPU, with its exact first derivatives."""

    @staticmethod
    def forward(ctx: Any, counts: Tensor, mu: Tensor, alpha: Tensor, shape: Tensor) -> Tensor:
        parts = torch.broadcast_tensors(counts, mu, alpha, shape)
        flat = [np.ascontiguousarray(part.detach().double().numpy(force=True)).reshape(-1) for part in parts]
        found = np.empty((4, len(flat[0])))
        log_probabilities(*flat, found)
        values = torch.from_numpy(found).reshape(4, *parts[0].shape).to(mu.device)
        ctx.save_for_backward(values[1] / parts[1], values[2], values[3])
        ctx.shapes = [(of.shape, of.dtype) for of in (mu, alpha, shape)]
        return values[0].to(mu.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = upstream
        slopes = (
            (weight * slope).sum_to_size(size).to(dtype)
            for slope, (size, dtype) in zip(ctx.saved_tensors, ctx.shapes, strict=True)
        )
        return None, *slopes
