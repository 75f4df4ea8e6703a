"""What a fitted model says of each cell and gene: expectations and draws, streamed in blocks of cells.

All functions take a model of one replicate in evaluation mode.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..stats.discrepancies import GeneStatistics
from .data import CountData
from .distributions import ZeroInflatedNegativeBinomial
from .layers import Streams
from .vae import CountVAE

# Latent draws are made block by block, each from a seed of its own, so that any cell can be computed alone.
BLOCK = 128


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


@torch.no_grad()
def expectations(
    model: CountVAE, data: CountData, *, n_draws: int, seed: int, cells: np.ndarray | None = None
) -> Iterator[Expectation]:
    """Posterior expectations block by block, of all cells or of the blocks that hold the given ``cells``."""
    wanted = np.arange(data.n_cells) if cells is None else np.asarray(cells)
    for number in np.unique(wanted // BLOCK).tolist():
        block = torch.arange(number * BLOCK, min((number + 1) * BLOCK, data.n_cells), device=data.device)
        batch = data.batch(block)
        streams = Streams([_block_seed(seed, number)], data.device)
        posterior = model.encode(batch)
        sums: list[Tensor] = []
        for _ in range(n_draws):
            parameters = model.draw_parameters(posterior, batch, streams)
            counts = parameters.distribution()
            nothing = torch.zeros_like(parameters.log_mean)
            terms = [
                parameters.log_mean.exp(),
                nothing if parameters.dropout_logit is None else parameters.dropout_logit.sigmoid(),
                counts.zero_prob,
                counts.posterior_dropout if isinstance(counts, ZeroInflatedNegativeBinomial) else nothing,
                parameters.log_theta,
            ]
            sums = [a + b for a, b in zip(sums, terms, strict=True)] if sums else terms
        yield Expectation(
            block, batch.log1p == 0, posterior.z.mean[0], *(total[0] / n_draws for total in sums)
        )


@torch.no_grad()
def predictive_statistics(
    model: CountVAE, data: CountData, cells: Tensor, *, n_samples: int, seed: int
) -> Iterator[GeneStatistics]:
    """Sums per gene over replicated counts of the given cells, one per posterior predictive draw.

    A draw takes z and the library size from the posterior of each cell, then counts from the decoder.
    """
    streams = Streams([seed], data.device)
    generator = torch.Generator(data.device).manual_seed(seed)
    for _ in range(n_samples):
        total = GeneStatistics.from_counts(np.zeros((0, data.n_genes)))
        for batch in data.batches(cells, BLOCK):
            parameters = model.draw_parameters(model.encode(batch), batch, streams)
            counts = parameters.distribution().sample(generator)[0]
            total += GeneStatistics.from_counts(counts.cpu().numpy())
        yield total


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


def _block_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])
