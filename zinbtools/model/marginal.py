"""Importance-sampled log likelihood of single cells, in double precision."""

from __future__ import annotations

import copy
import math
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ..stats.importance import LogMean, log_mean
from .data import Batch, CountData
from .evaluation_kernel import log_likelihoods, scratch
from .laplace import posterior_mode
from .layers import Streams
from .likelihood import log_likelihood
from .vae import CountVAE, Gaussian

Proposal = Literal["laplace", "posterior"]
PROPOSALS = get_args(Proposal)

_WIDENING = 1.2  # of the standard deviations at the mode: a proposal must not be narrower than the posterior
_DEFENSIVE = 0.1  # share of the draws that come from the encoder nevertheless


class MarginalLikelihood(NamedTuple):
    """Log likelihood of each cell, nats, and how far to trust it; tensors of (R, n_cells) unless said.

    Attributes
    ----------
    log_likelihood, standard_error, effective_sample_size, pareto_k, debiased
        As in `zinbtools.stats.importance.LogMean`.
    by_draws
        The mean over cells from the first 1, 2, 4, ... and from all K draws: ``{n_draws: (R,)}``.
    """

    log_likelihood: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor
    pareto_k: Tensor
    debiased: Tensor
    by_draws: dict[int, Tensor]


@torch.no_grad()
def marginal_log_likelihood(
    model: CountVAE,
    data: CountData,
    cells: Tensor,
    *,
    n_samples: int = 100,
    seed: int = 0,
    batch_size: int = 128,
    proposal: Proposal = "laplace",
) -> MarginalLikelihood:
    r"""Estimate ``log p(x_n)`` by importance sampling.

    With states ``y_k = (z_k, l_k) ~ r(y)`` and ``w_k = p(x_n|y_k) p(y_k) / r(y_k)``, the estimate is
    ``log mean_k w_k``. All in float64.

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
    proposal
        The distribution r. ``"posterior"`` is the encoder's ``q(z|x_n) q(l|x_n)``, as in scvi-tools;
        ``"laplace"`` a Gaussian around the mode of the cell's posterior, a little wider than the curvature
        there says, from which nine of ten draws are taken, and the tenth from the encoder's.
    """
    parts = [
        _of_replicate(model, r, data, cells, n_samples, seed, batch_size, proposal)
        for r in range(model.n_replicates)
    ]
    estimates, curves = zip(*parts, strict=True)
    by_draws = {n: torch.tensor([curve[n] for curve in curves], dtype=torch.float64) for n in curves[0]}
    stacked = LogMean(*(np.stack(values) for values in zip(*estimates, strict=True)))
    return MarginalLikelihood(
        log_likelihood=torch.from_numpy(stacked.value),
        standard_error=torch.from_numpy(stacked.standard_error),
        effective_sample_size=torch.from_numpy(stacked.effective_sample_size),
        pareto_k=torch.from_numpy(stacked.pareto_k),
        debiased=torch.from_numpy(stacked.debiased),
        by_draws=by_draws,
    )


def _of_replicate(
    model: CountVAE,
    replicate: int,
    data: CountData,
    cells: Tensor,
    n_samples: int,
    seed: int,
    batch_size: int,
    proposal: Proposal,
) -> tuple[LogMean, dict[int, float]]:
    model = copy.deepcopy(model)
    model.take([replicate])
    precise = copy.deepcopy(model).double()
    streams = Streams([seed], data.device)
    estimates = []
    curve = dict.fromkeys([*(2**k for k in range((n_samples - 1).bit_length())), n_samples], 0.0)
    for chunk in data.ahead(cells.split(batch_size)):
        target = _Target(precise, data, chunk)
        draws = _proposal(target, model, data) if proposal == "laplace" else target.encoded
        weights = np.stack([target.log_weight(draws, streams) for _ in range(n_samples)])
        estimates.append(log_mean(weights))
        for n in curve:
            curve[n] += log_mean(weights[:n]).value.sum() / len(cells)
    return LogMean(*(np.concatenate(values) for values in zip(*estimates, strict=True))), curve


class _Mixture:
    """C Gaussians for each of B cells: means (C, B, D), factors of the covariances (C, B, D, D), shares."""

    def __init__(self, means: Tensor, factors: Tensor, shares: list[float]) -> None:
        self._means, self._factors = means, factors
        self._whitening = torch.linalg.inv(factors)
        self._shares = torch.tensor(shares, dtype=means.dtype, device=means.device)
        log_volume = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * means.shape[-1] * _LOG_2PI
        self._log_constant = self._shares.log()[:, None] - log_volume

    def draw(self, streams: Streams) -> Tensor:
        """A draw for each cell, (B, D)."""
        n_cells, n_dimensions = self._means.shape[1:]
        (noise,) = streams.normal(n_cells, n_dimensions, 1, like=self._means)
        states = self._means + (self._factors @ noise).squeeze(-1)
        if len(states) == 1:
            return states[0]
        (chance,) = streams.uniform(n_cells, bound=0.5, like=self._means)
        chosen = torch.bucketize(chance + 0.5, self._shares.cumsum(0)[:-1])
        return states[chosen, torch.arange(n_cells, device=states.device)]

    def log_density(self, states: Tensor) -> Tensor:
        """Of a state for each cell, (B,)."""
        distance = (self._whitening @ (states - self._means).unsqueeze(-1)).squeeze(-1)
        return (self._log_constant - 0.5 * distance.square().sum(-1)).logsumexp(0)


_LOG_2PI = math.log(2 * math.pi)


class _Target:
    """The joint density of the counts of some cells and their latent states (z, and l where it is latent)."""

    def __init__(self, model: CountVAE, data: CountData, cells: Tensor) -> None:
        self._model, self._data, self.cells = model, data, cells
        self._batch = data.batch(cells, torch.float64)
        posterior = model.encode(self._batch)
        mean, variance = (moment[0] for moment in posterior.z)
        prior_mean, prior_variance = torch.zeros_like(mean), torch.ones_like(variance)
        if posterior.library is not None:
            parts = zip(posterior.library, model.library_prior(self._batch), strict=True)
            (l_mean, l_prior_mean), (l_variance, l_prior_variance) = parts
            mean, variance = torch.cat([mean, l_mean[0]], 1), torch.cat([variance, l_variance[0]], 1)
            prior_mean = torch.cat([prior_mean, l_prior_mean[:, None]], 1)
            prior_variance = torch.cat([prior_variance, l_prior_variance[:, None]], 1)
        self.prior = Gaussian(prior_mean, prior_variance)
        self.mean, self.factor = mean, torch.diag_embed(variance.sqrt())
        self.encoded = _Mixture(mean[None], self.factor[None], [1.0])

    def log_weight(self, proposal: _Mixture, streams: Streams) -> np.ndarray:
        """Log weight of a draw for each cell, (B,)."""
        states = proposal.draw(streams)
        return (self.log_joint(states) - proposal.log_density(states)).numpy(force=True)

    def log_joint(self, states: Tensor, among: Tensor | None = None) -> Tensor:
        """Of a state for each cell, (B,), or for each of those at the given places, (M,)."""
        cells, batch, (prior_mean, prior_variance) = self.cells, self._batch, self.prior
        if among is not None and len(among) < len(cells):
            cells, prior_mean, prior_variance = cells[among], prior_mean[among], prior_variance[among]
            batch = self._data.batch(cells, torch.float64)
        n_latent = self._model.config.n_latent
        z = states[None, :, :n_latent]
        has_library = self._model.library_encoder is not None
        library = states[None, :, n_latent:] if has_library else batch.log_library.view(1, -1, 1)
        deviance = (states - prior_mean).square() / prior_variance
        log_prior = -0.5 * (deviance + prior_variance.log() + _LOG_2PI).sum(-1)
        if self._data.device.type == "cuda":
            return log_likelihood(batch, *self._model.decode(z, library, batch))[0] + log_prior
        return self._compiled(cells, batch, z, library) + log_prior

    def _compiled(self, cells: Tensor, batch: Batch, z: Tensor, library: Tensor) -> Tensor:
        """Log likelihood of each cell by the compiled kernel."""
        model, group = self._model, batch.group
        rows, places = self._data.rows(cells)
        hidden = model.decode_hidden(z, batch)
        log_scale = model.scale(hidden)[0]
        logit = log_scale[:0] if model.dropout is None else model.dropout(hidden)[0]
        if model.dispersion is not None:
            log_theta, theta_row = model.dispersion(hidden)[0], torch.arange(len(group))
        else:
            assert model.log_theta is not None
            per_batch = model.config.dispersion == "gene-batch"
            log_theta, theta_row = model.log_theta[0], group if per_batch else torch.zeros_like(group)
        values = torch.empty(len(group), dtype=torch.float64)
        arguments = (
            *(rows.starts, rows.genes, rows.counts, rows.constant, places),
            *(log_scale, logit, log_theta, theta_row, library[0, :, 0]),
        )
        log_likelihoods(
            *(tensor.numpy() for tensor in arguments),
            *(model.config.library != "size_factor", *scratch(*log_theta.shape[::-1]), values.numpy()),
        )
        return values


def _proposal(target: _Target, model: CountVAE, data: CountData) -> _Mixture:
    """Around the modes of the posteriors; see `marginal_log_likelihood`."""
    mode = posterior_mode(model, data, target.cells, target.prior, target.mean, target.log_joint)
    factor = _WIDENING * torch.linalg.cholesky(torch.linalg.inv(mode.information))
    return _Mixture(
        torch.stack([mode.state, target.mean]),
        torch.stack([factor, target.factor]),
        [1 - _DEFENSIVE, _DEFENSIVE],
    )
