"""What a fitted model says of each cell and gene: expectations and draws, streamed in blocks of cells.

All functions take a model of one replicate in evaluation mode. On a CPU compiled kernels draw and sum up; on
another device torch does (`device_draws`), and what leaves it are sums.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy import special
from torch import Tensor

from ..jobs.threads import in_order
from ..kernels.draws import (
    CELLS,
    MAXIMUM,
    N_SUMS,
    NOT_KEPT,
    ONES,
    POSITIVE,
    SQUARES,
    TOTAL,
    Decoded,
    add_counts,
    add_expectations,
    add_expected,
    log_means,
    random_words,
)
from ..stats.discrepancies import GeneStatistics
from . import device_draws
from .data import Batch, CountData
from .distributions import CountDistribution, NegativeBinomial, ZeroInflatedNegativeBinomial
from .layers import Streams
from .products import affine
from .vae import CountVAE, Gaussian, Posterior

# Latent draws are made block by block, each from a seed of its own, so that any cell can be computed alone.
BLOCK = 128

# Where the latent states of replicated cells come from, see `Replicates`.
Latent = Literal["posterior", "fixed", "prior"]


class Expectation(NamedTuple):
    """A block of cells, averaged over draws from the posterior; (n_cells, n_genes) float32 unless said.

    Attributes
    ----------
    cells
        Which cells, (n_cells,).
    is_zero
        Where the observed count is zero, boolean.
    latent
        Posterior mean of z, (n_cells, n_latent).
    mean
        Mean of the NB part.
    dropout
        Dropout probability; 0 for an NB model.
    zero
        Probability of a zero.
    posterior_dropout
        P(dropout | x = 0); 0 for an NB model.
    log_theta
        Log of the inverse dispersion, (n_cells or 1, n_genes).
    """

    cells: Tensor
    is_zero: Tensor
    latent: Tensor
    mean: Tensor
    dropout: Tensor
    zero: Tensor
    posterior_dropout: Tensor
    log_theta: Tensor


def expectations(
    model: CountVAE,
    data: CountData,
    *,
    n_draws: int,
    seed: int,
    cells: np.ndarray | None = None,
    n_threads: int = 1,
) -> Iterator[Expectation]:
    """Posterior expectations block by block, of all cells or of the blocks that hold the given ``cells``."""
    wanted = np.arange(data.n_cells) if cells is None else np.asarray(cells)
    numbers = np.unique(wanted // BLOCK).tolist()
    blocks = (torch.arange(number * BLOCK, min((number + 1) * BLOCK, data.n_cells)) for number in numbers)

    @torch.no_grad()  # which holds in one thread
    def averages(job: tuple[int, Tensor, Batch]) -> Expectation:
        number, block, batch = job
        streams = Streams([block_seed(seed, number)], data.device)
        posterior = model.encode(batch)
        totals = _totals if data.device.type == "cpu" else _totals_on_device
        of_draws = (
            torch.as_tensor(total / n_draws).to(batch.log1p)
            for total in totals(model, posterior, batch, streams, n_draws)
        )
        return Expectation(block, batch.log1p == 0, posterior.z.mean[0], *of_draws)

    jobs = (
        (number, block, data.batch(block)) for number, block in zip(numbers, data.ahead(blocks), strict=True)
    )
    return in_order(averages, jobs, n_threads)


def _totals(
    model: CountVAE, posterior: Posterior, batch: Batch, streams: Streams, n_draws: int
) -> list[np.ndarray]:
    """Add up, over draws, what an `Expectation` has from ``mean`` on."""
    sums = np.zeros((4, len(batch), model.shape.n_genes), dtype=np.float32)
    log_theta = np.zeros(())
    for _ in range(n_draws):
        decoded = _decode(model, *model.draw(posterior, batch, streams), batch)
        add_expectations(decoded, sums)
        log_theta = log_theta + np.log(decoded.theta)
    return [*sums, log_theta]


def _totals_on_device(
    model: CountVAE, posterior: Posterior, batch: Batch, streams: Streams, n_draws: int
) -> list[Tensor]:
    sums, log_theta = batch.log1p.new_zeros(4, *batch.log1p.shape), batch.log1p.new_zeros(())
    for _ in range(n_draws):
        parameters = model.draw_parameters(posterior, batch, streams)
        device_draws.add_expectations(parameters, sums)
        log_theta = log_theta + parameters.log_theta[0]
    return [*sums, log_theta]


@torch.no_grad()
def embedding(model: CountVAE, data: CountData) -> np.ndarray:
    """Compute the posterior mean of z of all cells, (n_cells, n_latent) float32."""
    cells = torch.arange(data.n_cells, device=data.device)
    latent = np.empty((data.n_cells, model.config.n_latent), dtype=np.float32)
    for number, batch in enumerate(data.batches(cells, BLOCK)):
        latent[BLOCK * number : BLOCK * (number + 1)] = model.encode(batch).z.mean[0].numpy(force=True)
    return latent


@torch.no_grad()
def hidden_states(
    model: CountVAE, data: CountData, cells: Tensor, unseen: tuple[int, float] | None = None
) -> Iterator[np.ndarray]:
    """Yield the decoder's last hidden layer, and the log library size, at the posterior mean, (n, H + 1).

    The encoder may be kept from seeing one gene, by index: it gets this number in the place of ``log1p``.
    """
    for batch in data.batches(cells, BLOCK):
        if unseen is not None:
            log1p = batch.log1p.clone()
            log1p[:, unseen[0]] = unseen[1]
            batch = replace(batch, log1p=log1p)
        posterior = model.encode(batch)
        library = batch.log_library.view(1, -1, 1) if posterior.library is None else posterior.library.mean
        hidden = model.decode_hidden(posterior.z.mean, batch.covariates)
        yield torch.cat([hidden[0], library[0]], 1).numpy(force=True)


class Draw(NamedTuple):
    """Sums over replicated counts, and their expected values given the same latent states, if asked for."""

    counts: GeneStatistics
    expected: GeneStatistics | None


class Replicates:
    """Replicated counts of some cells, as a stream of sums per gene: no count is kept.

    A draw takes z and the log library size of each cell, then counts from the decoder. Each block of cells
    of each draw has random numbers of its own, so that a draw does not depend on which others are made.

    Parameters
    ----------
    model
        One replicate in evaluation mode.
    data, cells
        The cells, by index.
    seed
        Of all draws.
    latent
        ``"posterior"``: each draw takes z and the library size from the posterior approximation anew.
        ``"fixed"``: all draws share one draw of them. ``"prior"``: each draw takes them from the prior.
    """

    def __init__(
        self, model: CountVAE, data: CountData, cells: Tensor, *, seed: int, latent: Latent = "posterior"
    ) -> None:
        self._model, self._seed, self._latent = model, seed, latent
        self._n_genes, self._device = data.n_genes, data.device
        self._blocks = [self._encode(batch) for batch in data.batches(cells, BLOCK)]

    @torch.no_grad()
    def _encode(self, batch: Batch) -> tuple[Batch, Posterior]:
        """Keep what the decoder needs of a block of cells: not its counts, which are as much as the data."""
        latent = _prior(self._model, batch) if self._latent == "prior" else self._model.encode(batch)
        without = {name: getattr(batch, name)[:0].clone() for name in ("counts", "genes", "positions")}
        return replace(batch, **without, log1p=batch.log1p[:, :0].clone()), latent

    def draw(self, number: int, *, expected: bool = False) -> Draw:
        """Sums over the replicated counts of one draw; on request also what they are expected to be."""
        made = self._sums if self._device.type == "cpu" else self._sums_on_device
        sums, means = made(number, expected)
        means[MAXIMUM] = np.nan
        return Draw(_statistics(sums), _statistics(means) if expected else None)

    def _sums(self, number: int, expected: bool) -> np.ndarray:
        """Sum up the counts of a draw and, if asked, their expected values, (2, N_SUMS, n_genes)."""
        sums, means = both = np.zeros((2, N_SUMS, self._n_genes))
        for decoded, rng in self._decoded(number):
            add_counts(decoded, random_words(rng, decoded.log_mean.shape), rng, sums, NOT_KEPT)
            if expected:
                add_expected(decoded, means)
        return both

    @torch.no_grad()
    def _sums_on_device(self, number: int, expected: bool) -> np.ndarray:
        sums, means = both = torch.zeros(2, N_SUMS, self._n_genes, dtype=torch.float64, device=self._device)
        for place, (batch, latent) in enumerate(self._blocks):
            streams = Streams([block_seed(self._seed, place, number)], self._device)
            fixed = self._latent == "fixed"
            noise = Streams([block_seed(self._seed, place)], self._device) if fixed else streams
            parameters = self._model.draw_parameters(latent, batch, noise)
            device_draws.add_counts(parameters, streams.generators[0], sums)
            if expected:
                device_draws.add_expected(parameters, means)
        return both.numpy(force=True)

    @torch.no_grad()
    def _decoded(self, number: int) -> Iterator[tuple[Decoded, np.random.Generator]]:
        """Decode each block of cells, with what its counts are to be drawn with."""
        for place, (batch, latent) in enumerate(self._blocks):
            rng = _generator(self._seed, place, number)
            noise = _Noise(_generator(self._seed, place) if self._latent == "fixed" else rng)
            z, library = self._model.draw(latent, batch, noise)
            yield _decode(self._model, z, library, batch), rng


class _Noise(Streams):
    """Standard normal numbers from a generator that is quicker to make than torch's."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(())
        self._rng = rng

    def normal(self, *shape: int, like: Tensor) -> Tensor:
        return torch.from_numpy(self._rng.standard_normal((1, *shape), dtype=np.float32)).to(like)


def _generator(seed: int, *key: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def _prior(model: CountVAE, batch: Batch) -> Posterior:
    """Return the prior of the latent states in the place of their posterior."""
    shape = (1, len(batch), model.config.n_latent)
    z = Gaussian(batch.log1p.new_zeros(shape), batch.log1p.new_ones(shape))
    if model.library_encoder is None:
        return Posterior(z, None)
    return Posterior(z, Gaussian(*(moment.view(1, -1, 1) for moment in model.library_prior(batch))))


def _decode(model: CountVAE, z: Tensor, library: Tensor, batch: Batch) -> Decoded:
    """Decode one state of each cell for the kernels."""
    hidden = model.decode_hidden(z, batch.covariates)
    log_mean = affine(hidden[0], model.scale.weight[0]).numpy(force=True)
    assert model.scale.bias is not None
    log_means(
        log_mean,
        model.scale.bias[0, 0].numpy(force=True),
        library.expand(len(z), len(batch), 1)[0, :, 0].numpy(force=True),
        model.config.library != "size_factor",
    )
    logit = np.zeros((0, 0), dtype=np.float32)
    if model.dropout is not None:
        assert model.dropout.bias is not None
        logit = affine(hidden[0], model.dropout.weight[0], model.dropout.bias[0, 0]).numpy(force=True)
    theta = model.log_inverse_dispersion(hidden, batch)[0].double().exp().numpy(force=True)
    return Decoded(log_mean, theta, logit)


def drawn_counts(
    model: CountVAE, posterior: Posterior, batch: Batch, streams: Streams, rng: np.random.Generator
) -> Tensor:
    """Draw a state of each cell and its counts, (n_cells, n_genes), as its input is: float32.

    The counts are drawn by ``rng``, on another device than a CPU by ``streams`` too.
    """
    z, library = model.draw(posterior, batch, streams)
    if batch.log1p.device.type != "cpu":
        return model.decode(z, library, batch).distribution().sample(streams.generators[0])[0]
    decoded = _decode(model, z, library, batch)
    shape = decoded.log_mean.shape
    counts = np.zeros(shape, dtype=np.float32)
    add_counts(decoded, random_words(rng, shape), rng, np.zeros((N_SUMS, shape[-1])), counts)
    return torch.from_numpy(counts).to(batch.log1p)


def _statistics(sums: np.ndarray) -> GeneStatistics:
    return GeneStatistics(
        n_cells=int(sums[CELLS, 0]),
        n_zeros=sums[CELLS] - sums[POSITIVE],
        n_ones=sums[ONES],
        total=sums[TOTAL],
        total_of_squares=sums[SQUARES],
        maximum=sums[MAXIMUM],
    )


@torch.no_grad()
def quantile_residuals(model: CountVAE, data: CountData, cells: Tensor, *, seed: int) -> Iterator[np.ndarray]:
    r"""Randomised quantile residuals of each cell and gene, block by block, (n_cells, n_genes) float64.

    ``u = F(x - 1) + v [F(x) - F(x - 1)]`` with ``v`` uniform and F the distribution function of the count
    given one draw of the cell's latent state (Dunn & Smyth 1996), the one that `Replicates` with the same
    seed has as ``"fixed"``. If that is a draw from the exact posterior, it and the counts are distributed
    as the true state and the counts are, and the residuals of a true model are uniform; given the mean of
    many draws they would not be. In double precision.
    """
    precise = copy.deepcopy(model).double()
    for place, batch in enumerate(data.batches(cells, BLOCK, torch.float64)):
        rng = _generator(seed, place)
        counts = precise.draw_parameters(precise.encode(batch), batch, _Noise(rng)).distribution()
        x = batch.dense()[None]
        point = counts.log_prob(x).exp()
        below = (_distribution_function(counts, x) - point).clamp(min=0)
        uniform = torch.from_numpy(rng.random(x.shape)).to(x)
        yield (below + uniform * point)[0].clamp(max=1).numpy(force=True)


def _distribution_function(counts: CountDistribution, x: Tensor) -> Tensor:
    """``P(count <= x)``; by the incomplete beta function for positive ``x``."""
    if isinstance(counts, ZeroInflatedNegativeBinomial):
        return counts.dropout + (1 - counts.dropout) * _distribution_function(counts.base, x)
    assert isinstance(counts, NegativeBinomial)
    positive = x > 0
    of_entries = torch.stack([tensor.expand(x.shape) for tensor in (x, counts.mu, counts.theta)])
    at, mu, theta = of_entries[:, positive].numpy(force=True)
    above_zero = torch.from_numpy(special.betainc(theta, at + 1, theta / (theta + mu))).to(x)
    return counts.zero_prob.expand(x.shape).masked_scatter(positive, above_zero)


@torch.no_grad()
def gene_reconstruction(
    model: CountVAE, data: CountData, cells: Tensor, *, n_samples: int, seed: int
) -> Iterator[np.ndarray]:
    """``E_q log p(x_ng | z, l)`` of each cell and gene, nats, block by block, (n_cells, n_genes) float64."""
    precise = copy.deepcopy(model).double()
    streams = Streams([seed], data.device)
    for batch in data.batches(cells, BLOCK, torch.float64):
        posterior, counts = precise.encode(batch), batch.dense()
        total = torch.zeros_like(counts)
        for _ in range(n_samples):
            total += precise.draw_parameters(posterior, batch, streams).distribution().log_prob(counts)[0]
        yield (total / n_samples).cpu().numpy()


@torch.no_grad()
def mean_dropout(model: CountVAE, data: CountData, *, seed: int) -> Tensor:
    """Dropout probability averaged over all cells and genes, by one latent draw per cell, (R,)."""
    streams = Streams([seed] * model.n_replicates, data.device)
    total = torch.zeros(model.n_replicates, dtype=torch.float64, device=data.device)
    for batch in data.batches(torch.arange(data.n_cells, device=data.device), BLOCK):
        logit = model.draw_parameters(model.encode(batch), batch, streams).dropout_logit
        if logit is not None:
            total += logit.sigmoid().sum((1, 2), dtype=torch.float64)
    return total / (data.n_cells * data.n_genes)


def block_seed(seed: int, *key: int) -> int:
    """Seed of the draws of a block of cells, by its number."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])
