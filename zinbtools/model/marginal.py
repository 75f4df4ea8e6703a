"""Importance-sampled log likelihood of single cells, in double precision."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ..stats.importance import LogMean, log_mean, log_mean_alone
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
_ROWS, _ENTRIES = 1024, 2**18  # of a product, and of its result, at most


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
        weights = target.log_weights(draws, streams, n_samples)
        estimates.append(log_mean(weights))
        for n in curve:
            curve[n] += log_mean_alone(weights[:n]).sum() / len(cells)
    return LogMean(*(np.concatenate(values) for values in zip(*estimates, strict=True))), curve


class _Mixture:
    """C Gaussians for each of B cells: means (C, B, D), factors of the covariances (C, B, D, D), shares."""

    def __init__(self, means: Tensor, factors: Tensor, shares: list[float]) -> None:
        self._means, self._factors = means, factors
        self._whitening = torch.linalg.inv(factors)
        self._shares = torch.tensor(shares, dtype=means.dtype, device=means.device)
        log_volume = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * means.shape[-1] * _LOG_2PI
        self._log_constant = self._shares.log()[:, None] - log_volume

    def draw(self, n_draws: int, streams: Streams) -> Tensor:
        """K draws for each cell, (K, B, D)."""
        n_cells, n_dimensions = self._means.shape[1:]
        (noise,) = streams.normal(n_draws, n_cells, n_dimensions, like=self._means)
        (chance,) = streams.uniform(n_draws, n_cells, bound=0.5, like=self._means)
        chosen = torch.bucketize(chance + 0.5, self._shares.cumsum(0)[:-1])
        cell = torch.arange(n_cells, device=chosen.device)
        return self._means[chosen, cell] + (self._factors[chosen, cell] @ noise[..., None]).squeeze(-1)

    def log_density(self, states: Tensor) -> Tensor:
        """Of K states for each cell, (K, B)."""
        distance = (self._whitening @ (states[:, None] - self._means).unsqueeze(-1)).squeeze(-1)
        return (self._log_constant - 0.5 * distance.square().sum(-1)).logsumexp(1)


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

    def log_weights(self, proposal: _Mixture, streams: Streams, n_draws: int) -> np.ndarray:
        """Log weights of draws for each cell, (K, B)."""
        n_cells, at_once = len(self.cells), self._draws_at_once
        everyone = torch.arange(n_cells, device=self.cells.device).repeat(at_once)
        weights = np.empty((n_draws, n_cells))
        for start in range(0, n_draws, at_once):
            k = min(at_once, n_draws - start)
            states = proposal.draw(k, streams)
            joint = self.log_joint(states.flatten(0, 1), everyone[: k * n_cells]).view(k, n_cells)
            weights[start : start + k] = (joint - proposal.log_density(states)).numpy(force=True)
        return weights

    @property
    def _draws_at_once(self) -> int:
        """So many that a product is large, and its result not too large for the cache."""
        if self._data.device.type == "cuda":
            return 1
        return max(1, min(_ROWS, _ENTRIES // self._data.n_genes) // len(self.cells))

    def log_joint(self, states: Tensor, among: Tensor) -> Tensor:
        """Of states of the cells at the given places, which may occur more than once; (M,)."""
        cells, batch = self.cells[among], self._among(among)
        n_latent = self._model.config.n_latent
        z = states[None, :, :n_latent]
        has_library = self._model.library_encoder is not None
        library = states[None, :, n_latent:] if has_library else batch.log_library.view(1, -1, 1)
        prior_mean, prior_variance = (moment[among] for moment in self.prior)
        deviance = (states - prior_mean).square() / prior_variance
        log_prior = -0.5 * (deviance + prior_variance.log() + _LOG_2PI).sum(-1)
        if self._data.device.type == "cuda":
            return log_likelihood(batch, *self._model.decode(z, library, batch))[0] + log_prior
        return self._compiled(cells, batch, z, library) + log_prior

    def _among(self, places: Tensor) -> Batch:
        """The cells at these places: without their counts where the kernel has them from the data."""
        if self._data.device.type == "cuda":
            everyone = len(places) == len(self.cells)
            return self._batch if everyone else self._data.batch(self.cells[places], torch.float64)
        whole, nothing = self._batch, self._batch.counts[:0]
        return replace(
            whole,
            **dict.fromkeys(("counts", "genes", "positions", "log1p"), nothing),
            **{
                name: getattr(whole, name)[places]
                for name in ("constant", "group", "covariates", "log_library")
            },
        )

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
    covariance, _ = torch.linalg.inv_ex(mode.information)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    # where a model is so poor that its curvature is no number, or has no width, the encoder's will have to do
    bad = (failed != 0) | ~factor.isfinite().all(-1).all(-1)
    factor = torch.where(bad[:, None, None], target.factor, _WIDENING * factor)
    return _Mixture(
        torch.stack([torch.where(bad[:, None], target.mean, mode.state), target.mean]),
        torch.stack([factor, target.factor]),
        [1 - _DEFENSIVE, _DEFENSIVE],
    )
