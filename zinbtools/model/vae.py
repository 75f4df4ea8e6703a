"""CountVAE: the scVI autoencoder with an NB or ZINB likelihood, R replicates in one program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import FitConfig, Likelihood
from .data import Batch, CountData
from .distributions import CountDistribution, NegativeBinomial, ZeroInflatedNegativeBinomial
from .layers import Block, Linear, Streams
from .likelihood import log_likelihood

MIN_VARIANCE = 1e-4  # of q(z|x) and q(l|x)
_LOG_THETA_OF_POISSON = math.log(1e8)


class Gaussian(NamedTuple):
    """Mean and variance, (R, B, d) each."""

    mean: Tensor
    variance: Tensor

    def draw(self, streams: Streams) -> Tensor:
        return self.mean + self.variance.sqrt() * streams.normal(*self.mean.shape[1:], like=self.mean)


class Posterior(NamedTuple):
    """q(z|x), and q(l|x) where the log library size l is latent."""

    z: Gaussian
    library: Gaussian | None


class CountParameters(NamedTuple):
    """What the decoder says of each entry: logs of NB mean and inverse dispersion, logit of the dropout.

    ``log_mean`` (R, B, G); ``log_theta`` (R, 1, G) or (R, B, G); ``dropout_logit`` (R, B, G) or ``None``.
    """

    log_mean: Tensor
    log_theta: Tensor
    dropout_logit: Tensor | None

    def distribution(self) -> CountDistribution:
        nb = NegativeBinomial(self.log_mean.exp(), self.log_theta.exp())
        return nb if self.dropout_logit is None else ZeroInflatedNegativeBinomial(nb, self.dropout_logit)


@dataclass(frozen=True)
class Shape:
    """Sizes of the architecture that the data fix."""

    n_genes: int
    n_groups: int = 1
    n_covariates: int = 0


class Encoder(nn.Module):
    """Amortised diagonal Gaussian posterior."""

    def __init__(self, n_in: int, n_out: int, n_layers: int, config: FitConfig, n_replicates: int) -> None:
        super().__init__()
        widths = [n_in] + [config.n_hidden] * n_layers
        self.blocks = nn.ModuleList(
            Block(a, b, n_replicates, momentum=config.norm_momentum, dropout_rate=config.dropout_rate)
            for a, b in pairwise(widths)
        )
        self.mean = Linear(config.n_hidden, n_out, n_replicates)
        self.log_variance = Linear(config.n_hidden, n_out, n_replicates)

    def forward(self, x: Tensor, streams: Streams | None) -> Gaussian:
        for block in self.blocks:
            x = block(x, streams)
        return Gaussian(self.mean(x), self.log_variance(x).exp() + MIN_VARIANCE)


class CountVAE(nn.Module):
    """R replicates of one architecture.

    ``z ~ N(0, I)``, ``l ~ N(m_s, v_s)``, ``rho = softmax(f(z, covariates))``, ``x_g ~ NB(e^l rho_g,
    theta_g)``, and for the ZINB a zero instead with probability ``sigmoid(h_g(z, covariates))``. Where size
    factors are given, ``mu_g = size factor * exp(f_g)``.

    Parameters
    ----------
    likelihood
        ``"nb"`` or ``"zinb"``.
    shape
        Numbers of genes, batches and covariates.
    config
        The architecture.
    n_replicates
        R.
    """

    log_theta: Tensor | None
    library_mean: Tensor
    library_variance: Tensor

    def __init__(
        self, likelihood: Likelihood, shape: Shape, config: FitConfig, n_replicates: int = 1
    ) -> None:
        super().__init__()
        self.likelihood, self.shape, self.config = likelihood, shape, config
        G, H, R = shape.n_genes, config.n_hidden, n_replicates
        self.encoder = Encoder(G, config.n_latent, config.n_layers, config, R)
        self.library_encoder = Encoder(G, 1, 1, config, R) if config.library == "latent" else None
        widths = [config.n_latent] + [H] * config.n_layers
        self.decoder = nn.ModuleList(
            Block(a + shape.n_covariates, b, R, momentum=config.norm_momentum) for a, b in pairwise(widths)
        )
        self.scale = Linear(H, G, R)
        self.dropout = Linear(H, G, R) if likelihood == "zinb" else None
        self.dispersion = Linear(H, G, R) if config.dispersion == "gene-cell" else None
        n_theta = shape.n_groups if config.dispersion == "gene-batch" else 1
        if config.dispersion == "none":
            self.register_buffer("log_theta", torch.full((R, 1, G), _LOG_THETA_OF_POISSON))
        else:
            self.log_theta = None if self.dispersion else nn.Parameter(torch.zeros(R, n_theta, G))
        self.register_buffer("library_mean", torch.zeros(shape.n_groups))
        self.register_buffer("library_variance", torch.ones(shape.n_groups))

    @property
    def n_replicates(self) -> int:
        return len(self.scale.weight)

    def wide_layers(self) -> list[Linear]:
        """Return the layers whose products have a side as long as there are genes."""
        encoders = [encoder for encoder in (self.encoder, self.library_encoder) if encoder is not None]
        first = [encoder.blocks[0].get_submodule("linear") for encoder in encoders]
        layers = (*first, self.scale, self.dropout, self.dispersion)
        return [layer for layer in layers if isinstance(layer, Linear)]

    def reset(self, streams: Streams) -> None:
        """Draw the weights of each replicate from its own stream."""
        for layer in self.modules():
            if isinstance(layer, Linear):
                layer.reset(streams)
        if isinstance(self.log_theta, nn.Parameter):
            self.log_theta.data = streams.normal(*self.log_theta.shape[1:], like=self.log_theta)

    def replicate_state(self) -> dict[str, Tensor]:
        """Return what is a replicate's own, by name: parameters and batch norm statistics, (R, ...) each."""
        state = self.state_dict()
        return {
            name: value for name, value in state.items() if name not in ("library_mean", "library_variance")
        }

    def set_replicate_state(self, state: Mapping[str, Tensor]) -> None:
        """Replace all replicates by those of ``state``, which may be fewer or more."""
        for name, value in state.items():
            owner, _, leaf = name.rpartition(".")
            module = self.get_submodule(owner)
            if isinstance(getattr(module, leaf), nn.Parameter):
                setattr(module, leaf, nn.Parameter(value))
            else:
                setattr(module, leaf, value)

    def take(self, replicates: Sequence[int]) -> None:
        """Keep only these replicates, in this order."""
        index = torch.tensor(list(replicates), device=self.scale.weight.device)
        self.set_replicate_state({name: value[index] for name, value in self.replicate_state().items()})

    def encode(self, batch: Batch, streams: Streams | None = None) -> Posterior:
        """Compute the posterior of each cell; ``streams`` feed the dropout masks while training."""
        z = self.encoder(batch.log1p, streams)
        library = None if self.library_encoder is None else self.library_encoder(batch.log1p, streams)
        return Posterior(z, library)

    def draw(self, posterior: Posterior, batch: Batch, streams: Streams) -> tuple[Tensor, Tensor]:
        """Draw z, (R, B, d), and the log library size, (R or 1, B, 1)."""
        z = posterior.z.draw(streams)
        if posterior.library is None:
            return z, batch.log_library.view(-1, len(batch), 1)
        return z, posterior.library.draw(streams)

    def decode(self, z: Tensor, library: Tensor, batch: Batch) -> CountParameters:
        """Compute the parameters of the count distributions, given z and the log library size."""
        hidden = self.decode_hidden(z, batch.covariates)
        log_scale = self.scale(hidden)
        if self.config.library != "size_factor":
            log_scale = log_scale.log_softmax(-1)
        dropout_logit = None if self.dropout is None else self.dropout(hidden)
        return CountParameters(log_scale + library, self.log_inverse_dispersion(hidden, batch), dropout_logit)

    def log_inverse_dispersion(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Compute it from the decoder's last hidden layer; (R, 1, G) or (R, B, G)."""
        if self.dispersion is not None:
            return self.dispersion(hidden)
        assert self.log_theta is not None
        if self.config.dispersion != "gene-batch":
            return self.log_theta
        if batch.group.ndim == 1:
            return self.log_theta[:, batch.group]
        of_cells = batch.group.unsqueeze(-1).expand(-1, -1, self.shape.n_genes)
        return self.log_theta.gather(1, of_cells)

    def decode_hidden(self, z: Tensor, covariates: Tensor) -> Tensor:
        """Compute the decoder up to its last hidden layer, (R, B, H)."""
        covariates = covariates.expand(len(z), *covariates.shape[-2:])
        for block in self.decoder:
            z = block(torch.cat([z, covariates], -1) if self.shape.n_covariates else z)
        return z

    def divergence(self, posterior: Posterior, batch: Batch) -> Tensor:
        """Compute the KL divergence from prior to posterior of z and log library size, nats, (R, B)."""
        mean, variance = posterior.z
        kl = 0.5 * (mean.square() + variance - 1 - variance.log()).sum(-1)
        if posterior.library is not None:
            prior_mean, prior_variance = self.library_prior(batch)
            mean, variance = (moment.squeeze(-1) for moment in posterior.library)
            ratio = variance / prior_variance
            kl = kl + 0.5 * ((mean - prior_mean).square() / prior_variance + ratio - 1 - ratio.log())
        return kl

    def library_prior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the prior mean and variance of each cell's log library size, (B,)."""
        return self.library_mean[batch.group], self.library_variance[batch.group]

    def draw_parameters(self, posterior: Posterior, batch: Batch, streams: Streams) -> CountParameters:
        """Compute the parameters of the count distributions at one draw from the posterior."""
        return self.decode(*self.draw(posterior, batch, streams), batch)

    def elbo(self, batch: Batch, streams: Streams) -> Tensor:
        """Compute the evidence lower bound of each cell by one draw, nats, (R, B)."""
        posterior = self.encode(batch, streams)
        parameters = self.draw_parameters(posterior, batch, streams)
        return log_likelihood(batch, *parameters) - self.divergence(posterior, batch)


@torch.no_grad()
def mean_elbo(model: CountVAE, data: CountData, cells: Tensor, streams: Streams) -> Tensor:
    """Compute the mean ELBO over cells, nats per cell, (R,), by one draw each; in evaluation mode."""
    total = torch.zeros(model.n_replicates, dtype=torch.float64, device=data.device)
    for batch in data.batches(cells, model.config.batch_size):
        total += model.elbo(batch, streams).sum(1)
    return total / len(cells)
