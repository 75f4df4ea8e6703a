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
from torch.nn.functional import softplus

from ._stirling import remainder_slope, remainder_slope_from_zero
from .data import Batch
from .distributions import gamma_terms, inverse_dispersion_term, log_zero_prob, nb_log_ratios


def log_likelihood(
    batch: Batch, log_mean: Tensor, log_theta: Tensor, dropout_logit: Tensor | None = None
) -> Tensor:
    """Log likelihood of each cell, summed over genes, nats.

    Parameters
    ----------
    batch
        The counts of B cells x G genes.
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
            entries.flatten(1).index_copy_(1, batch.positions, at_counts)
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
            by_cell.unsqueeze(1) @ by_theta if ctx.one_theta_per_gene else weight * by_theta,
            weight * by_logit[0] if by_logit else None,
        )


def _at_zero(
    log_mean: Tensor, log_theta: Tensor, theta: Tensor, dropout_logit: Tensor | None, with_gradient: bool
) -> list[Tensor]:
    """Log probability of a zero; its derivatives by log mean, log theta and logit if asked for: (R, B, G) each."""
    excess = log_mean - log_theta
    log_ratio = softplus(excess)  # log(1 + mu / theta)
    nb_zero = -theta * log_ratio
    value = nb_zero if dropout_logit is None else log_zero_prob(nb_zero, dropout_logit)
    if not with_gradient:
        return [value]
    share = torch.exp(excess - log_ratio)  # mu / (mu + theta)
    by_mean = -theta * share
    by_theta = theta * _log1p_minus(-share, -log_ratio)
    if dropout_logit is None:
        return [value, by_mean, by_theta]
    dropped = torch.sigmoid(dropout_logit - nb_zero)  # P(dropout | x = 0)
    kept = 1 - dropped
    return [value, by_mean.mul_(kept), by_theta.mul_(kept), dropped - torch.sigmoid(dropout_logit)]


def _at_counts(
    batch: Batch, log_mean: Tensor, theta: Tensor, dropout_logit: Tensor | None, with_gradient: bool
) -> list[Tensor]:
    """As `_at_zero` for the entries of positive counts, (R, number of them) each."""
    x = batch.counts
    log_mu = log_mean.flatten(1).index_select(1, batch.positions)
    mu, theta_x = log_mu.exp(), _select(theta, batch)
    total = x + theta_x
    delta, log_total, log_count = nb_log_ratios(x, log_mu, mu, theta_x)
    value = x * log_count + theta_x * log_total + gamma_terms(total)
    value += _select(inverse_dispersion_term(theta), batch)
    logit = None
    if dropout_logit is not None:
        logit = dropout_logit.flatten(1).index_select(1, batch.positions)
        value -= softplus(logit)
    if not with_gradient:
        return [value]
    by_theta = theta_x * (_log1p_minus(delta, log_total) + remainder_slope(total) - 0.5 / total)
    by_theta += _select(0.5 - theta * remainder_slope_from_zero(theta), batch)
    gradients = [theta_x * delta, by_theta]
    return [value, *gradients] if logit is None else [value, *gradients, -torch.sigmoid(logit)]


def _log1p_minus(t: Tensor, log1p_t: Tensor) -> Tensor:
    """``log(1 + t) - t``, in single precision by its series where the difference would lose digits."""
    if t.dtype == torch.float64:
        return log1p_t - t
    series = t * t * (-1 / 2 + t * (1 / 3 + t * (-1 / 4 + t / 5)))
    return torch.where(t.abs() < 0.05, series, log1p_t - t)


def _select(by_gene: Tensor, batch: Batch) -> Tensor:
    """The value that belongs to each positive count, from one per gene, (R, 1, G), or per entry, (R, B, G)."""
    index = batch.genes if by_gene.shape[1] == 1 else batch.positions
    return by_gene.flatten(1).index_select(1, index)
