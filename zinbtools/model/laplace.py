"""Where a cell's latent state probably is, given its counts: the mode of the posterior and its curvature.

The encoder answers all cells by one function; here each cell's own answer is sought, by Fisher scoring.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .compiled_slopes import CompiledSlopes
from .data import Batch, CountData
from .layers import Block
from .likelihood import log_likelihood
from .products import multiply
from .vae import CountParameters, CountVAE, Gaussian

MAX_STEPS = 8
_MAX_CUTS = 6
_ENOUGH = 0.01  # nats that a step should promise
_STEPS_OF_ONE = 2  # matrix of information, the dearest part of a step
_DERIVATIVES = 2**19  # by the states, of numbers per gene, at once: a few megabytes


class Mode(NamedTuple):
    """Of each cell the most probable state, (B, D).

    And there the posterior's information, (B, D, D), and the log joint density, (B,).
    """

    state: Tensor
    information: Tensor
    value: Tensor


class Modes(NamedTuple):
    """S Gaussians around modes of each of B posteriors.

    Means, (S, B, D), factors of the covariances, (S, B, D, D), and the logs of the masses but for a constant
    of the cell, (S, B).
    """

    states: Tensor
    factors: Tensor
    log_mass: Tensor

    def of_cells(self, cells: slice) -> Modes:
        """Copy those of some cells."""
        return Modes(*(part[:, cells].clone() for part in self))  # a view would keep all

    def near(self, states: Tensor) -> Tensor:
        """Tell which of the Gaussians have some states, (B, D), in their bulk, (S, B)."""
        whitened, _ = torch.linalg.solve_ex(self.factors, (states - self.states).unsqueeze(-1))
        return whitened.square().sum((-2, -1)) < states.shape[-1]

    def distinct(self) -> tuple[Modes, Tensor]:
        """Sort the modes of each cell by mass, and count how often each was found, (S, B).

        A mode in the bulk of a larger one is the same, and counts for that one: its own count is 0.
        """
        order = self.log_mass.argsort(0, descending=True)
        modes = Modes(
            self.states.take_along_dim(order[..., None], 0),
            self.factors.take_along_dim(order[..., None, None], 0),
            self.log_mass.take_along_dim(order, 0),
        )
        times_found = torch.zeros_like(order)
        for k, state in enumerate(modes.states):
            same = modes.near(state) & (times_found > 0)
            largest = torch.where(same.any(0), same.int().argmax(0), k)
            times_found.scatter_add_(0, largest[None], torch.ones_like(order[:1]))
        return modes, times_found


@torch.no_grad()
def posterior_mode(
    model: CountVAE,
    data: CountData,
    cells: Tensor,
    prior: Gaussian,
    start: Tensor,
    log_joint: Callable[[Tensor, Tensor], Tensor],
    max_steps: int = MAX_STEPS,
) -> Mode:
    """Climb to the mode of each cell's posterior, on a CPU.

    A step solves ``information step = gradient``; one that leads down is cut to a third, up to six times.
    Cells that have arrived are left alone.

    Parameters
    ----------
    model
        One replicate in evaluation mode; in single precision, as steps need not be exact.
    data, cells
        B cells, by index.
    prior
        Of the state: z and, where it is latent, the log library size; (B, D).
    start
        The state to start from, (B, D), float64.
    log_joint
        The log density of counts and state, (M,), of the states, (M, D), of those cells whose places among
        the B are given, (M,).
    max_steps
        After which a cell that has not arrived is left where it is.
    """
    climbing = torch.arange(len(cells), device=cells.device)
    state, value = start.clone(), log_joint(start, climbing)
    information = torch.empty(*start.shape, start.shape[1], dtype=start.dtype, device=start.device)
    slopes = CompiledSlopes(model, data)

    def inform() -> None:
        for some in climbing.split(max(1, _DERIVATIVES // (data.n_genes * start.shape[1]))):
            batch, of_prior = data.batch(cells[some]), Gaussian(*(part[some] for part in prior))
            parameters = _parameters(model, batch, state[some].to(batch.log1p.dtype))
            information[some] = _information(model, batch, of_prior, state[some], parameters)

    for n in range(max_steps):
        if n % _STEPS_OF_ONE == 0:
            inform()
        here, mean, variance = (part[climbing] for part in (state, *prior))
        gradient = slopes(cells[climbing], here) + (mean - here) / variance
        step, _ = torch.linalg.solve_ex(information[climbing], gradient)  # what is singular goes nowhere
        promising = (gradient * step).sum(-1) > 2 * _ENOUGH
        trying, step, moved = climbing[promising], step[promising], []
        for _ in range(_MAX_CUTS):
            if not len(trying):
                break
            tried = state[trying] + step
            found = log_joint(tried, trying)
            better = found > value[trying]
            moved.append(trying[better])
            state[moved[-1]], value[moved[-1]] = tried[better], found[better]
            trying, step = trying[~better], step[~better] / 3
        if not any(map(len, moved)):
            break
        climbing = torch.cat(moved).sort().values
    climbing = torch.arange(len(cells), device=cells.device)
    inform()
    return Mode(state, information, value)


@torch.no_grad()
def posterior_mode_together(
    model: CountVAE,
    batch: Batch,
    prior: Gaussian,
    start: Tensor,
    log_joint: Callable[[Tensor], Tensor],
    max_steps: int = MAX_STEPS,
) -> Mode:
    """Climb as `posterior_mode` does, on a device where launching costs more than computing.

    All cells take part in every step, those that have arrived for nothing, and all cuts of a step are tried
    at once. The host waits once per step, to see whether any cell has moved.

    Parameters
    ----------
    batch
        The B cells, in single precision.
    log_joint
        The log density of counts and state, (C, B), of C states of each cell, (C, B, D).
    model, prior, start, max_steps
        As for `posterior_mode`.
    """
    state, value = start, log_joint(start[None])[0]
    climbing = torch.ones_like(value, dtype=torch.bool)
    cuts = 3.0 ** -torch.arange(_MAX_CUTS, dtype=start.dtype, device=start.device)
    for n in range(max_steps):
        gradient, parameters = _gradient(model, batch, prior, state)
        if n % _STEPS_OF_ONE == 0:
            information = _information(model, batch, prior, state, parameters)
        step, _ = torch.linalg.solve_ex(information, gradient)
        promising = (gradient * step).sum(-1) > 2 * _ENOUGH
        tried = state + cuts[:, None, None] * step
        found = log_joint(tried)
        before = ((found > value).cumsum(0) == 0).sum(0)  # cuts that are too long
        climbing = climbing & promising & (before < _MAX_CUTS)
        if not climbing.any():
            break
        chosen = before.clamp(max=_MAX_CUTS - 1)[None]
        state = state.where(~climbing[:, None], tried.take_along_dim(chosen[..., None], 0)[0])
        value = value.where(~climbing, found.take_along_dim(chosen, 0)[0])
    _, parameters = _gradient(model, batch, prior, state)
    return Mode(state, _information(model, batch, prior, state, parameters), value)


def _gradient(
    model: CountVAE, batch: Batch, prior: Gaussian, state: Tensor
) -> tuple[Tensor, CountParameters]:
    """Gradient of the log joint density by the state, (B, D), and the parameters of the counts there."""
    with torch.enable_grad():
        single = state.to(batch.log1p.dtype).requires_grad_()
        parameters = _parameters(model, batch, single)
        (slope,) = torch.autograd.grad(log_likelihood(batch, *parameters).sum(), single)
    return slope.to(state) + (prior.mean - state) / prior.variance, parameters


def _parameters(model: CountVAE, batch: Batch, state: Tensor) -> CountParameters:
    """Compute the parameters of the counts at the state, (B, D)."""
    n_latent = model.config.n_latent
    has_library = model.library_encoder is not None
    library = state[None, :, n_latent:] if has_library else batch.log_library.view(1, -1, 1)
    return model.decode(state[None, :, :n_latent], library, batch)


def _information(
    model: CountVAE, batch: Batch, prior: Gaussian, state: Tensor, parameters: CountParameters
) -> Tensor:
    """Fisher information of the log joint density about the state, (B, D, D)."""
    z = state[:, : model.config.n_latent].to(batch.log1p.dtype)
    tangents = _hidden_tangents(model, batch, z, state.shape[1])
    mean = multiply(tangents, model.scale.weight[0])
    if model.config.library != "size_factor":
        share = torch.softmax(parameters.log_mean[0], -1)
        mean -= multiply(mean, share.unsqueeze(-1))
    if model.library_encoder is not None:
        mean[:, -1] += 1
    of_mean, of_both, of_logit = _information_of_count(parameters)
    information = _between(mean, of_mean, mean)
    if model.dropout is not None:
        logit = multiply(tangents, model.dropout.weight[0])
        mixed = _between(mean, of_both, logit)
        information += mixed + mixed.transpose(1, 2) + _between(logit, of_logit, logit)
    return information.to(state) + torch.diag_embed(1 / prior.variance)


def _hidden_tangents(model: CountVAE, batch: Batch, z: Tensor, n_dimensions: int) -> Tensor:
    """Derivatives of the last hidden layer by the D dimensions of the state, (B, D, H)."""
    tangents = torch.eye(n_dimensions, z.shape[1], dtype=z.dtype, device=z.device).expand(len(z), -1, -1)
    for block in model.decoder:
        assert isinstance(block, Block)
        (hidden,), gain, positive = block.linearised(torch.cat([z, batch.covariates], 1)[None])
        tangents = multiply(tangents, block.linear.weight[0, : z.shape[1]] * gain)
        tangents = tangents * positive.transpose(0, 1)
        z = hidden
    return tangents


def _information_of_count(parameters: CountParameters) -> tuple[Tensor, Tensor, Tensor]:
    """Fisher information of one count about its log mean, about both, and about its dropout logit.

    For the NB it is ``mu theta / (mu + theta)``. The ZINB's is the NB's but for the zeros, whose scores are
    weighted by the probability that they are no dropouts.
    """
    mu, theta = parameters.log_mean[0].exp(), parameters.log_theta[0].exp()
    of_nb = mu * theta / (mu + theta)
    if parameters.dropout_logit is None:
        return of_nb, of_nb, of_nb
    dropout = parameters.dropout_logit[0].sigmoid()
    nb_zero = (-theta * torch.log1p(mu / theta)).exp()
    zero = dropout + (1 - dropout) * nb_zero
    kept = (1 - dropout) * nb_zero / zero
    by_logit = 1 - dropout - kept  # the score of a zero; that of its log mean is -kept of_nb
    of_mean = (1 - dropout) * (of_nb - nb_zero * of_nb**2) + zero * (kept * of_nb) ** 2
    of_both = -(1 - dropout) * dropout * nb_zero * of_nb - zero * kept * of_nb * by_logit
    of_logit = (1 - zero) * dropout**2 + zero * by_logit**2
    return of_mean, of_both, of_logit


def _between(one: Tensor, weight: Tensor, other: Tensor) -> Tensor:
    """Sums over genes of products, (B, D, D)."""
    return multiply(one * weight.unsqueeze(1), other.transpose(1, 2))
