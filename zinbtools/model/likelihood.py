"""The training likelihood: value and gradient in one pass, no gamma functions, non-zeros apart from zeros.

Autograd would keep a dozen matrices of cells x genes per step and call digamma on each entry. Here

- a zero needs ``z = -theta log(1 + mu / theta)``, and for the ZINB ``log(pi + (1 - pi) e^z)``;
- a positive count needs the saddle-point form of `distributions.nb_log_ratios`, on the non-zero entries only;
- what depends on the data alone is computed once per data set (`data.CountData`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .data import Batch
from .distributions import gamma_terms, inverse_dispersion_term, log_zero_prob, nb_log_ratios
from .stirling import remainder_slope, remainder_slope_from_zero


def log_likelihood(
    batch: Batch, log_mean: Tensor, log_theta: Tensor, dropout_logit: Tensor | None = None
) -> Tensor:
    """Log likelihood of each cell, summed over genes, nats.

    Parameters
    ----------
    batch
        The counts of B cells x G genes, or of B x G of each replicate's own.
    log_mean
        Log of the NB means, (R, B, G).
    log_theta
        Log of the inverse dispersions, (R, 1, G) or (R, B, G).
    dropout_logit
        Logit of the dropout probabilities, (R, B, G); ``None`` for the NB.

    Returns
    -------
    (R, B)
    """
    return _LogLikelihood.apply(batch, log_mean, log_theta, dropout_logit)


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, batch: Batch, log_mean: Tensor, log_theta: Tensor, dropout_logit: Tensor | None
    ) -> Tensor:
        theta = log_theta.exp()
        with_gradient = any(ctx.needs_input_grad)
        # Every entry as if it were zero, then the positive counts as what they are.
        dense = _at_zero(log_mean, log_theta, theta, dropout_logit, with_gradient)
        for entries, at_counts in zip(
            dense, _at_counts(batch, log_mean, theta, dropout_logit, with_gradient), strict=True
        ):
            _rows(entries, batch).index_copy_(1, batch.positions, at_counts)
        value, *gradients = dense
        if with_gradient:
            ctx.one_theta_per_gene = log_theta.shape[1] == 1
            ctx.save_for_backward(*gradients)
        return value.sum(-1) + batch.constant

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (by_cell,) = grad_outputs
        by_mean, by_theta, *by_logit = ctx.saved_tensors
        weight = by_cell.unsqueeze(-1)
        return (
            None,
            weight * by_mean,
            (weight * by_theta).sum(1, keepdim=True) if ctx.one_theta_per_gene else weight * by_theta,
            weight * by_logit[0] if by_logit else None,
        )


def _at_zero(
    log_mean: Tensor, log_theta: Tensor, theta: Tensor, dropout_logit: Tensor | None, with_gradient: bool
) -> list[Tensor]:
    """Log probability of a zero, and its derivatives by log mean, log theta and logit: (R, B, G) each."""
    ratio = torch.exp((log_mean - log_theta).clamp_(max=80))  # mu / theta, kept from overflow
    log_ratio = torch.log1p(ratio)
    nb_zero = -theta * log_ratio
    inflated = None if dropout_logit is None else _inflate(nb_zero, dropout_logit)
    value = nb_zero if inflated is None else inflated[0]
    if not with_gradient:
        return [value]
    share = ratio.div_(1 + ratio)  # mu / (mu + theta)
    by_mean = -theta * share
    by_theta = theta * _log1p_minus(-share, -log_ratio)
    if inflated is None:
        return [value, by_mean, by_theta]
    _, kept, by_logit = inflated
    return [value, by_mean.mul_(kept), by_theta.mul_(kept), by_logit]


def _inflate(nb_zero: Tensor, logit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``log(pi + (1 - pi) e^z)`` and its derivatives by ``z``, P(no dropout | x = 0), and by the logit."""
    kept = _sigmoid(nb_zero - logit)
    by_logit = _sigmoid(-logit) - kept
    if nb_zero.dtype == torch.float64:
        return log_zero_prob(nb_zero, logit), kept, by_logit
    # softplus(z - l) - softplus(-l): in single precision as good, without choices by mask
    return _softplus(nb_zero - logit) - _softplus(-logit), kept, by_logit


# torch's own sigmoid and softplus round the last few entries of a tensor in another way than the rest:
# a replicate's result would depend on its place in the stack.


def _sigmoid(x: Tensor) -> Tensor:
    """``1 / (1 + e^-x)``."""
    return torch.exp(-x).add_(1).reciprocal_()


def _softplus(x: Tensor) -> Tensor:
    """``log(1 + e^x)`` to the absolute precision of its type."""
    return torch.log(1 + torch.exp(-x.abs())).add_(x.clamp(min=0))


def _at_counts(
    batch: Batch, log_mean: Tensor, theta: Tensor, dropout_logit: Tensor | None, with_gradient: bool
) -> list[Tensor]:
    """As `_at_zero` for the positive counts, (R, number of them) each or (1, those of all replicates)."""
    x = batch.counts
    log_mu = _rows(log_mean, batch).index_select(1, batch.positions)
    mu, theta_x = log_mu.exp(), _select(theta, batch)
    total = x + theta_x
    delta, log_total, log_count = nb_log_ratios(x, log_mu, mu, theta_x)
    value = x * log_count + theta_x * log_total + gamma_terms(total)
    value += _select(inverse_dispersion_term(theta), batch)
    logit = None
    if dropout_logit is not None:
        logit = _rows(dropout_logit, batch).index_select(1, batch.positions)
        value -= _softplus(logit)
    if not with_gradient:
        return [value]
    by_theta = theta_x * (_log1p_minus(delta, log_total) + remainder_slope(total) - 0.5 / total)
    by_theta += _select(0.5 - theta * remainder_slope_from_zero(theta), batch)
    gradients = [theta_x * delta, by_theta]
    return [value, *gradients] if logit is None else [value, *gradients, -_sigmoid(logit)]


def _log1p_minus(t: Tensor, log1p_t: Tensor) -> Tensor:
    """``log(1 + t) - t``; in single precision by its series where the difference would lose digits.

    The derivatives by log theta multiply it by theta, which may be large. (A choice by mask would be slower.)
    """
    if t.dtype == torch.float64:
        return log1p_t - t
    s = t.clamp(-0.1, 0.1)  # no overflow where the series is not used
    series = s * s * (-1 / 2 + s * (1 / 3 + s * (-1 / 4 + s / 5)))
    near = (0.05 - t.abs()).mul_(1e30).clamp_(0, 1)  # 1 or 0
    return torch.lerp(log1p_t - t, series, near)


def _select(by_gene: Tensor, batch: Batch) -> Tensor:
    """Select each positive count's value, (R, P), from those of genes, (R, 1, G), or entries, (R, B, G)."""
    index = batch.genes if by_gene.shape[1] == 1 else batch.positions
    return _rows(by_gene, batch).index_select(1, index)


def _rows(entries: Tensor, batch: Batch) -> Tensor:
    """Flatten the entries of each replicate or, where each has cells of its own, those of all together."""
    return entries.flatten(1) if batch.log1p.ndim == 2 else entries.reshape(1, -1)
