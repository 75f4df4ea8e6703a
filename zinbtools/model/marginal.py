"""Importance-sampled log likelihood of single cells, in double precision."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .data import CountData
from .layers import Streams
from .likelihood import log_likelihood
from .vae import CountVAE, Gaussian


class MarginalLikelihood(NamedTuple):
    """Log likelihood of each cell, nats, and its Monte Carlo standard error, (R, n_cells) each."""

    log_likelihood: Tensor
    standard_error: Tensor


@torch.no_grad()
def marginal_log_likelihood(
    model: CountVAE,
    data: CountData,
    cells: Tensor,
    *,
    n_samples: int = 100,
    seed: int = 0,
    batch_size: int = 128,
) -> MarginalLikelihood:
    r"""Estimate ``log p(x_n)`` by importance sampling from the approximate posterior.

    With ``(z_k, l_k) ~ q(z|x_n) q(l|x_n)`` and ``w_k = p(x_n|z_k, l_k) p(z_k) p(l_k) / (q(z_k|x_n)
    q(l_k|x_n))``, the estimate is ``log mean_k w_k``; its standard error, by the delta method, is
    ``sqrt(sum w^2 / (sum w)^2 - 1 / K)``, too small where few draws carry the weight. All in float64.

    Parameters
    ----------
    model
        R replicates in evaluation mode; left as it is.
    data, cells
        The cells to evaluate, by index.
    n_samples
        Draws per cell, K.
    seed
        Of the draws; replicates use the same ones.
    """
    precise = copy.deepcopy(model).double()
    streams = Streams([seed] * model.n_replicates, data.device)
    values, errors = [], []
    for batch in data.batches(cells, batch_size, torch.float64):
        posterior = precise.encode(batch)
        standard = Gaussian(torch.zeros_like(posterior.z.mean), torch.ones_like(posterior.z.variance))
        prior = Gaussian(*(moment.view(1, -1, 1) for moment in precise.library_prior(batch)))
        weights = []
        for _ in range(n_samples):
            z, library = precise.draw(posterior, batch, streams)
            log_weight = log_likelihood(batch, *precise.decode(z, library, batch))
            log_weight += _log_normal(z, standard) - _log_normal(z, posterior.z)
            if posterior.library is not None:
                log_weight += _log_normal(library, prior) - _log_normal(library, posterior.library)
            weights.append(log_weight)
        value, error = _log_mean_exp(torch.stack(weights))
        values.append(value)
        errors.append(error)
    return MarginalLikelihood(torch.cat(values, 1), torch.cat(errors, 1))


def _log_normal(value: Tensor, gaussian: Gaussian) -> Tensor:
    """Log density of a diagonal Gaussian, summed over dimensions, (R, B)."""
    deviance = (value - gaussian.mean).square() / gaussian.variance
    return -0.5 * (deviance + gaussian.variance.log() + math.log(2 * math.pi)).sum(-1)


def _log_mean_exp(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log of the mean weight over draws, (K, ...), and its standard error by the delta method."""
    n = len(log_weights)
    log_total = log_weights.logsumexp(0)
    inverse_ess = (2 * (log_weights - log_total)).exp().sum(0)
    variance = (inverse_ess - 1 / n).clamp(min=0) if n > 1 else torch.full_like(log_total, torch.nan)
    return log_total - math.log(n), variance.sqrt()
