"""Importance-sampled log likelihood of single cells.

The network answers in the single precision of its weights (on a GPU in double). From there on, likelihood,
densities and weights are in double precision.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._check.rng import integers, seed_sequence
from ..jobs.threads import MOST_THREADS, in_order
from ..stats.importance import GOOD_K, LogMean, log_mean, log_mean_alone, unseen, with_missing
from .compiled_likelihood import ROWS, CompiledLikelihood
from .config import Proposal
from .data import CountData
from .laplace import MAX_STEPS, Mode, Modes, posterior_mode, posterior_mode_together
from .layers import Streams
from .likelihood import log_likelihood
from .vae import CountVAE, Gaussian

_WIDENING = 1.2  # of the standard deviations at the mode: a proposal must not be narrower than the posterior
_DEFENSIVE = 0.1  # share of the draws that come from the encoder nevertheless
_STARTS = 8  # of the search for modes, in each cell of a model that has several
_PATIENCE = 24  # steps of each
_TRIED = 16  # cells, or a few more, that are searched for others
_HIGH = 0.25  # share of cells with a high Pareto k: then four times as many are
_LET_PASS = 1e-4  # of the log likelihood, in others: a tenth of the region of practical equivalence
_NO_MASS = -1e300  # its log
_LEAST_MASS = 1e-4  # of a mode, beside the cell's largest, to be drawn from
_STATES = 2**14  # drawn at once, at most
_CELLS = 64  # to look at together, at most
_WORTHWHILE = 16  # cells to look at together, at least, where there are so many
_CELLS_ON_DEVICE = 256  # the same where launching takes the time
_ENTRIES_ON_DEVICE = 2**25  # states times genes, at most


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
    batch_size: int | None = None,
    proposal: Proposal = "laplace",
    n_threads: int = 1,
) -> MarginalLikelihood:
    r"""Estimate ``log p(x_n)`` by importance sampling.

    With states ``y_k = (z_k, l_k) ~ r(y)`` and ``w_k = p(x_n|y_k) p(y_k) / r(y_k)``, the estimate is
    ``log mean_k w_k``, in float64.

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
        there says, from which nine of ten draws are taken, and the tenth from the encoder's. If many cells
        have a high Pareto k, or a search from elsewhere finds other modes in some, modes are sought from
        several starts in all, and the standard errors admit what even these may have missed.
    batch_size
        Cells that are looked at together, at most; by default 64 on a CPU and 256 on another device.
    n_threads
        That share the batches, if the data are in memory. No number depends on it.
    """
    batches = cells.cpu().tensor_split(_n_batches(len(cells), batch_size, data.device))
    seeds = integers(seed_sequence(seed), len(batches))
    parts = [
        _of_replicate(_frozen(model, r), data, batches, seeds, n_samples, proposal, n_threads)
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


def _n_batches(n_cells: int, size: int | None, device: torch.device) -> int:
    """Choose it: for threads on a CPU; on another device as few as can be, as launching takes the time."""
    if device.type != "cpu":
        return math.ceil(n_cells / (size or _CELLS_ON_DEVICE))
    for_threads = MOST_THREADS * math.ceil(n_cells / (MOST_THREADS * (size or _CELLS)))
    return min(for_threads, math.ceil(n_cells / _WORTHWHILE))


def _frozen(model: CountVAE, replicate: int) -> CountVAE:
    """Copy one replicate, of whose parameters no gradients are asked.

    Threads that share parameters with gradients may stop for good: torch has one wait for the interpreter
    while it holds the parameter's lock, and the other for that lock while it holds the interpreter.
    """
    model = copy.deepcopy(model)
    if model.n_replicates > 1:
        model.take([replicate])
    return model.requires_grad_(False)


class _Found(NamedTuple):
    """Of a batch: the estimates, the sums over cells by numbers of draws, and the modes of some cells."""

    estimate: LogMean
    sums: list[float]
    modes: Modes | None


def _of_replicate(
    model: CountVAE,
    data: CountData,
    batches: Sequence[Tensor],
    seeds: Sequence[int],
    n_samples: int,
    proposal: Proposal,
    n_threads: int,
) -> tuple[LogMean, dict[int, float]]:
    answering = copy.deepcopy(model).double() if data.device.type != "cpu" else model
    by_draws = [*(2**k for k in range((n_samples - 1).bit_length())), n_samples]
    n_cells = sum(map(len, batches))
    kept = slice(None, None, math.ceil(n_cells / (4 * _TRIED)))  # cells of each batch whose modes are kept

    @torch.no_grad()  # which holds in one thread
    def estimate(job: tuple[Tensor, int], n_starts: int = 1) -> _Found:
        cells, seed = job
        target, streams = _Target(answering, data, cells), Streams([seed], data.device)
        draws, modes = target.encoded, None
        missing: np.ndarray | float = 0.0
        if proposal == "laplace":
            elsewhere = Streams([seed ^ 1], data.device)  # so that the draws are those of any other proposal
            modes, missing = _modes(target, model, n_starts, elsewhere)
            draws = _around(modes, target)
        weights = target.log_weights(draws, streams, n_samples)
        return _Found(
            with_missing(log_mean(weights), missing),
            [log_mean_alone(weights[:n]).sum() for n in by_draws],
            None if modes is None else modes.of_cells(kept),
        )

    def everywhere(n_starts: int) -> list[_Found]:
        jobs = zip(data.ahead(batches), seeds, strict=True)
        of_batch = partial(estimate, n_starts=n_starts)
        return list(in_order(of_batch, jobs, n_threads if data.in_memory else 1))

    found = everywhere(1)
    if proposal == "laplace":
        high = np.concatenate([part.estimate.pareto_k > GOOD_K for part in found]).mean() > _HIGH
        tried = slice(None, None, 1 if high else 4)
        known = [
            (cells[kept][tried], part.modes.of_cells(tried))
            for cells, part in zip(batches, found, strict=True)
            if part.modes
        ]
        least = _LET_PASS * abs(np.concatenate([part.estimate.value for part in found]).mean())
        if _overlooked(answering, model, data, known, seeds[0]) > least:
            found = everywhere(_STARTS)
    estimates, sums, _ = zip(*found, strict=True)
    curve = np.sum(sums, axis=0) / n_cells
    together = LogMean(*(np.concatenate(values) for values in zip(*estimates, strict=True)))
    return together, dict(zip(by_draws, curve.tolist(), strict=True))


class _Mixture:
    """C Gaussians for each of B cells.

    Means (C, B, D), factors of the covariances (C, B, D, D), shares of the draws (C, B).
    """

    def __init__(self, means: Tensor, factors: Tensor, shares: Tensor) -> None:
        self._means, self._factors = means, factors
        self._whitening = torch.linalg.inv(factors)
        self._bounds = shares.cumsum(0)[:-1]
        log_volume = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * means.shape[-1] * _LOG_2PI
        self._log_constant = shares.log() - log_volume

    def draw(self, n_draws: int, streams: Streams) -> Tensor:
        """Draw K states for each cell, (K, B, D)."""
        n_cells, n_dimensions = self._means.shape[1:]
        (noise,) = streams.normal(n_cells, n_dimensions, n_draws, like=self._means)
        (chance,) = streams.uniform(n_cells, n_draws, bound=0.5, like=self._means)
        chosen = (chance + 0.5 > self._bounds.unsqueeze(-1)).sum(0)
        draws = self._means.unsqueeze(-1) + self._factors @ noise
        return draws.take_along_dim(chosen[None, :, None], 0)[0].permute(2, 0, 1)

    def log_density(self, states: Tensor) -> Tensor:
        """Compute the log density of K states for each cell, (K, B)."""
        distance = self._whitening @ (states.permute(1, 2, 0) - self._means.unsqueeze(-1))
        return (self._log_constant.unsqueeze(-1) - 0.5 * distance.square().sum(2)).logsumexp(0).T


_LOG_2PI = math.log(2 * math.pi)


class _Target:
    """The joint density of the counts of some cells and their latent states (z, and l where it is latent)."""

    def __init__(self, model: CountVAE, data: CountData, cells: Tensor) -> None:
        self._model, self._data, self.cells = model, data, cells
        self._batch = data.batch(cells, model.scale.weight.dtype)
        posterior = model.encode(self._batch)
        mean, variance = (moment[0].double() for moment in posterior.z)
        prior_mean, prior_variance = torch.zeros_like(mean), torch.ones_like(variance)
        if posterior.library is not None:
            parts = zip(posterior.library, model.library_prior(self._batch), strict=True)
            (l_mean, l_prior_mean), (l_variance, l_prior_variance) = parts
            mean, variance = torch.cat([mean, l_mean[0]], 1), torch.cat([variance, l_variance[0]], 1)
            prior_mean = torch.cat([prior_mean, l_prior_mean[:, None]], 1)
            prior_variance = torch.cat([prior_variance, l_prior_variance[:, None]], 1)
        self.prior = Gaussian(prior_mean, prior_variance)
        self.mean, self.factor = mean, torch.diag_embed(variance.sqrt())
        self.encoded = _Mixture(mean[None], self.factor[None], torch.ones_like(mean[None, :, 0]))
        on_host = data.device.type == "cpu"
        self._compiled = CompiledLikelihood(model, data, cells, self._batch) if on_host else None

    def starts(self, n: int, streams: Streams) -> Tensor:
        """Choose where to start n searches for modes, (n, B, D).

        At the encoder's mean, the prior's, and draws from the prior; but for the first with the library size
        that was observed.
        """
        (noise,) = streams.normal(max(0, n - 2), *self.mean.shape, like=self.mean)
        states = torch.stack([self.prior.mean, *(self.prior.mean + self.prior.variance.sqrt() * noise)])
        states[..., self._model.config.n_latent :] = self._batch.log_library[:, None]
        return torch.cat([self.mean[None], states])[:n]

    def log_weights(self, proposal: _Mixture, streams: Streams, n_draws: int) -> np.ndarray:
        """Compute the log weights of draws for each cell, (K, B)."""
        n_cells = len(self.cells)
        at_once = max(1, min(n_draws, _STATES // n_cells))
        everyone = torch.arange(n_cells).repeat(at_once)
        weights = np.empty((n_draws, n_cells))
        for start in range(0, n_draws, at_once):
            k = min(at_once, n_draws - start)
            states = proposal.draw(k, streams)
            if self._compiled is None:
                joint = self.log_joint_together(states)
            else:
                joint = self.log_joint(states.flatten(0, 1), everyone[: k * n_cells]).view(k, n_cells)
            weights[start : start + k] = (joint - proposal.log_density(states)).numpy(force=True)
        return weights

    def log_joint(self, states: Tensor, among: Tensor) -> Tensor:
        """Compute the joint log density of states of the cells at the given places, with repeats, (M,).

        On a CPU; see `log_joint_together`.
        """
        log_prior = _log_normal(states, *(moment[among] for moment in self.prior))
        parts = zip(states.split(ROWS), among.split(ROWS), strict=True)
        return torch.cat([self._log_likelihood(*part) for part in parts]) + log_prior

    def _log_likelihood(self, states: Tensor, among: Tensor) -> Tensor:
        n_latent = self._model.config.n_latent
        z = states[None, :, :n_latent].to(self._batch.counts.dtype)
        if self._model.library_encoder is None:
            library = self._data.log_library[self.cells[among]].view(1, -1, 1)
        else:
            library = states[None, :, n_latent:]
        assert self._compiled is not None
        return self._compiled(z, library, among)

    def log_joint_together(self, states: Tensor) -> Tensor:
        """Compute the joint log density of C states of each cell, (C, B, D), by torch; (C, B).

        The states are decoded as if each were a cell, and the likelihood takes them as replicates.
        """
        at_once = max(1, _ENTRIES_ON_DEVICE // self._batch.log1p.numel())
        parts = [self._log_likelihood_together(part) for part in states.split(at_once)]
        return torch.cat(parts) + _log_normal(states, *self.prior)

    def _log_likelihood_together(self, states: Tensor) -> Tensor:
        batch, shape = self._batch, states.shape[:2]
        z, library = states.split(
            [self._model.config.n_latent, states.shape[2] - self._model.config.n_latent], 2
        )
        if self._model.library_encoder is None:
            library = batch.log_library.view(1, -1, 1).expand(*shape, 1)
        as_cells = replace(
            batch, group=batch.group.repeat(shape[0]), covariates=batch.covariates.repeat(shape[0], 1)
        )
        z, library = (part.flatten(0, 1)[None].to(batch.counts.dtype) for part in (z, library))
        parameters = self._model.decode(z, library, as_cells)
        log_mean, log_theta, logit = (
            part if part is None or part.shape[1] == 1 else part.unflatten(1, shape)[0] for part in parameters
        )
        assert log_mean is not None
        assert log_theta is not None
        return log_likelihood(batch, log_mean, log_theta, logit)

    def climb(self, model: CountVAE, starts: Tensor, max_steps: int) -> Mode:
        """Search for the mode of each cell's posterior, from each start, (S, B, D); see `posterior_mode`."""
        if self._compiled is None:
            batch, log_joint = self._data.batch(self.cells), self.log_joint_together
            searches = [
                posterior_mode_together(model, batch, self.prior, start, log_joint, max_steps)
                for start in starts
            ]
            return Mode(*(torch.stack(parts) for parts in zip(*searches, strict=True)))
        shape = starts.shape[:2]
        prior = Gaussian(*(moment.repeat(shape[0], 1) for moment in self.prior))
        cells, n_cells = self.cells.repeat(shape[0]), shape[1]
        found = posterior_mode(
            model,
            self._data,
            cells,
            prior,
            starts.flatten(0, 1),
            lambda states, among: self.log_joint(states, among % n_cells),
            max_steps,
        )
        return Mode(*(part.unflatten(0, shape) for part in found))


def _log_normal(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Log density of independent normal variables, over the last axis."""
    deviance = (x - mean).square() / variance
    return -0.5 * (deviance + variance.log() + _LOG_2PI).sum(-1)


def _climb(target: _Target, model: CountVAE, starts: Tensor, max_steps: int = MAX_STEPS) -> Modes:
    """Search for modes from each of the starts, (S, B, D); the factors are widened."""
    state, information, value = target.climb(model, starts, max_steps)
    covariance, _ = torch.linalg.inv_ex(information)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    # where a model is so poor that its curvature is no number, or has no width, the encoder's will have to do
    bad = (failed != 0) | ~factor.isfinite().all(-1).all(-1)
    log_mass = value + factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return Modes(
        torch.where(bad[..., None], target.mean, state),
        torch.where(bad[..., None, None], target.factor, _WIDENING * factor),
        torch.where(bad | ~log_mass.isfinite(), _NO_MASS, log_mass),
    )


def _modes(
    target: _Target, model: CountVAE, n_starts: int, streams: Streams
) -> tuple[Modes, np.ndarray | float]:
    """Find the modes of some cells, and tell from several starts what all of them may have missed, nats."""
    if n_starts == 1:
        return _climb(target, model, target.mean[None]), 0.0
    found = _climb(target, model, target.starts(n_starts, streams), _PATIENCE)
    modes, times_found = found.distinct()
    missing = unseen(*(part.numpy(force=True) for part in (modes.log_mass, times_found)))
    return modes._replace(log_mass=modes.log_mass.where(times_found > 0, _NO_MASS)), missing


def _overlooked(
    answering: CountVAE,
    model: CountVAE,
    data: CountData,
    some: Sequence[tuple[Tensor, Modes]],
    seed: int,
) -> float:
    """Search a few cells from elsewhere: nats per cell in modes far from those that were found before."""
    chosen, known = zip(*some, strict=True)
    cells = next(iter(data.ahead([torch.cat(chosen)])))
    modes = Modes(*(torch.cat(parts, 1) for parts in zip(*known, strict=True)))
    target = _Target(answering, data, cells)
    start = target.starts(3, Streams([seed], data.device))[-1:]
    other = _climb(target, model, start)
    gain = torch.nn.functional.softplus(other.log_mass - modes.log_mass)
    return float(gain.where(~modes.near(other.states[0]), 0).mean())


def _around(modes: Modes, target: _Target) -> _Mixture:
    """Make a proposal of the modes of each cell and its encoder's answer; see `marginal_log_likelihood`.

    A mode's share goes with the root of its mass: of how narrow a posterior is there, the mass tells little.
    """
    mass = (modes.log_mass - modes.log_mass.max(0).values).exp()
    shares = mass.sqrt() * (mass >= _LEAST_MASS)
    shares = (1 - _DEFENSIVE) * shares / shares.sum(0)
    encoded = torch.full_like(shares[:1], _DEFENSIVE)
    return _Mixture(
        torch.cat([modes.states, target.mean[None]]),
        torch.cat([modes.factors, target.factor[None]]),
        torch.cat([shares, encoded]),
    )
