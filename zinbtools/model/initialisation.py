"""Where training starts: the data's moments at the output, so that the network has only the rest to learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .data import CountData
from .layers import Linear, Streams
from .vae import CountVAE

_INITIAL_LIBRARY_VARIANCE = 0.01
_INITIAL_DROPOUT_LOGIT = -3.0
_INITIAL_WEIGHT_SCALE = 0.1
_THETA_RANGE = (0.1, 1e3)


def initialise(model: CountVAE, data: CountData, train: Tensor, prior: Tensor, streams: Streams) -> None:
    """Draw the weights, set the priors and, with ``initialisation="moments"``, the output biases.

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
    _aim(model.scale, proportion.log())
    if isinstance(model.log_theta, nn.Parameter):
        model.log_theta[:] = theta.log()
    if model.dispersion is not None:
        _aim(model.dispersion, theta.log())
    if model.dropout is not None:
        _aim(model.dropout, torch.tensor(_INITIAL_DROPOUT_LOGIT))
    if model.library_encoder is not None:
        _aim(model.library_encoder.mean, model.library_mean.mean())
        _aim(model.library_encoder.log_variance, torch.tensor(_INITIAL_LIBRARY_VARIANCE).log())


def _aim(head: Linear, value: Tensor) -> None:
    """Let an output layer start near a value: its bias there, its weights small."""
    assert head.bias is not None
    head.weight.mul_(_INITIAL_WEIGHT_SCALE)
    head.bias[:] = value.to(head.bias.dtype)


def _moments(data: CountData, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Share of each gene in the total, and inverse dispersion of the counts around that share, (G,) each."""
    G = data.n_genes
    sums = {k: torch.zeros(G, dtype=torch.float64, device=data.device) for k in ("x", "xx", "xl")}
    library, library_squared = torch.zeros(2, dtype=torch.float64, device=data.device)
    for batch in data.batches(cells, 512, torch.float64):
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
