"""Where training starts: the data's moments at the output, so that the network has only the rest to learn."""

from __future__ import annotations

import torch
from torch import Tensor

from .data import CountData
from .layers import Streams
from .vae import CountVAE

_INITIAL_LIBRARY_VARIANCE = 0.01
_INITIAL_DROPOUT_LOGIT = -3.0
_THETA_RANGE = (0.1, 1e3)


def initialise(model: CountVAE, data: CountData, train: Tensor, prior: Tensor, streams: Streams) -> None:
    """Draw the weights and set the priors; with ``config.initialisation == "moments"``, set the output biases too.

    Parameters
    ----------
    train
        The cells whose moments are taken.
    prior
        The cells whose library sizes make the prior, per batch.
    """
    model.reset(streams)
    _set_library_prior(model, data, prior)
    if model.config.initialisation == "moments":
        _set_output_moments(model, data, train)


def _set_library_prior(model: CountVAE, data: CountData, cells: Tensor) -> None:
    library, group = data.log_library[cells], data.group[cells]
    pooled = library.mean(), library.var(correction=0)
    for g in range(model.shape.n_groups):
        own = library[group == g]
        mean, variance = (own.mean(), own.var(correction=0)) if len(own) > 1 else pooled
        model.library_mean[g] = mean
        model.library_variance[g] = variance.clamp(min=1e-4)


@torch.no_grad()
def _set_output_moments(model: CountVAE, data: CountData, cells: Tensor) -> None:
    proportion, theta = _moments(data, cells)
    log_proportion = proportion.log().float()
    model.scale.weight *= 0.1
    model.scale.bias[:] = log_proportion
    log_theta = theta.log().float()
    if model.log_theta is not None:
        model.log_theta[:] = log_theta
    if model.dispersion is not None:
        model.dispersion.weight *= 0.1
        model.dispersion.bias[:] = log_theta
    if model.dropout is not None:
        model.dropout.weight *= 0.1
        model.dropout.bias.fill_(_INITIAL_DROPOUT_LOGIT)
    if model.library_encoder is not None:
        model.library_encoder.mean.weight *= 0.1
        model.library_encoder.mean.bias.fill_(model.library_mean.mean())
        model.library_encoder.log_variance.weight *= 0.1
        model.library_encoder.log_variance.bias.fill_(torch.tensor(_INITIAL_LIBRARY_VARIANCE).log())


def _moments(data: CountData, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each gene in the total, and the inverse dispersion that its variance around that share asks for."""
    G = data.n_genes
    sums = {k: torch.zeros(G, dtype=torch.float64, device=data.device) for k in ("x", "xx", "xl")}
    library, library_squared = 0.0, 0.0
    for batch in data.batches(cells, 4096, torch.float64):
        row = torch.div(batch.positions, G, rounding_mode="floor")
        size = batch.log_library.exp()
        x = batch.counts
        sums["x"].index_add_(0, batch.genes, x)
        sums["xx"].index_add_(0, batch.genes, x * x)
        sums["xl"].index_add_(0, batch.genes, x * size[row])
        library += size.sum()
        library_squared += size.square().sum()
    proportion = (sums["x"] + 0.5) / library
    residual = sums["xx"] - 2 * proportion * sums["xl"] + proportion**2 * library_squared
    excess = residual - proportion * library
    theta = proportion**2 * library_squared / excess.clamp(min=1e-12)
    return proportion, theta.clamp(*_THETA_RANGE)
