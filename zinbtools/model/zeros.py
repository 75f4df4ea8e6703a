"""The zeros that a model expects, beside those of the data and of counts of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..jobs.threads import in_order
from .data import Batch, CountData
from .distributions import ZeroInflatedNegativeBinomial
from .layers import Streams
from .predictive import BLOCK, block_seed, drawn_counts
from .vae import CountVAE


class ZeroCalibration(NamedTuple):
    """Numbers of zeros of each gene, float64.

    Attributes
    ----------
    observed, expected
        Zeros of the data, and the mean number that the model expects given the cells, (n_genes,).
    null_observed, null_expected
        The same for counts that the model has drawn itself, (n_null, n_genes), of some of the cells.
    scale
        Number of cells per cell that was drawn.
    """

    observed: np.ndarray
    expected: np.ndarray
    null_observed: np.ndarray
    null_expected: np.ndarray
    scale: float


def zero_calibration(
    model: CountVAE,
    data: CountData,
    cells: Tensor,
    drawn: Tensor,
    *,
    n_null: int,
    n_draws: int,
    seed: int,
    n_threads: int = 1,
) -> ZeroCalibration:
    """Zeros of some cells against the model's own zero probabilities, and the same for its replicates.

    A replicate takes each cell's latent state from the posterior and its counts from the decoder, and is
    then treated as the data were: encoded, and its zeros compared with those that are expected given it. So
    what the encoder gets wrong, and what seeing the counts is worth, is in the null too.

    Parameters
    ----------
    model
        One replicate in evaluation mode.
    data, cells
        The cells, by index.
    drawn
        Those of them whose counts are drawn.
    n_null
        Replicates.
    n_draws
        Draws from the posterior over which the expected number is averaged.
    seed
        Of all draws.
    n_threads
        That share the blocks of cells; each block has random numbers of its own.
    """

    @torch.no_grad()  # which holds in one thread
    def of_data(job: tuple[int, Batch]) -> np.ndarray:
        number, batch = job
        streams = Streams([block_seed(seed, number)], data.device)
        return np.stack([_n_zeros(batch), _expected_zeros(model, batch, n_draws, streams)])

    @torch.no_grad()
    def of_replicates(job: tuple[int, Batch]) -> np.ndarray:
        number, batch = job
        own = block_seed(seed ^ 1, number)
        streams, rng = Streams([own], data.device), np.random.Generator(np.random.SFC64(own))
        posterior = model.encode(batch)
        found = np.empty((2, n_null, data.n_genes))
        for k in range(n_null):
            counts = drawn_counts(model, posterior, batch, streams, rng)
            replicate = replace(batch, log1p=counts.log1p())
            found[0, k] = _n_zeros(replicate)
            found[1, k] = _expected_zeros(model, replicate, n_draws, streams)
        return found

    total, null = np.zeros((2, data.n_genes)), np.zeros((2, n_null, data.n_genes))
    for zeros in in_order(of_data, enumerate(data.batches(cells, BLOCK)), n_threads):
        total += zeros
    for zeros in in_order(of_replicates, enumerate(data.batches(drawn, BLOCK)), n_threads):
        null += zeros
    return ZeroCalibration(total[0], total[1], null[0], null[1], len(cells) / len(drawn))


def _n_zeros(batch: Batch) -> np.ndarray:
    return (batch.log1p == 0).sum(0).numpy(force=True)


def _expected_zeros(model: CountVAE, batch: Batch, n_draws: int, streams: Streams) -> np.ndarray:
    """Sum over the cells of the probability of a zero, averaged over draws from their posterior."""
    posterior = model.encode(batch)
    total = torch.zeros(batch.log1p.shape[1], dtype=torch.float64, device=batch.log1p.device)
    for _ in range(n_draws):
        counts = model.draw_parameters(posterior, batch, streams).distribution()
        total += counts.zero_prob[0].sum(0, dtype=torch.float64)
    return (total / n_draws).numpy(force=True)


@torch.no_grad()
def dropped_zeros(model: CountVAE, data: CountData, cells: Tensor, *, n_draws: int, seed: int) -> float:
    """Share of the zeros of some cells that a ZINB makes by dropout where its NB would not.

    ``sum_ng pi_ng (1 - NB(0)_ng) / sum_ng [x_ng = 0]``, averaged over draws from the posterior.
    """
    streams = Streams([seed], data.device)
    dropped, n_zeros = torch.zeros(2, dtype=torch.float64, device=data.device)
    for batch in data.batches(cells, BLOCK):
        posterior = model.encode(batch)
        n_zeros += (batch.log1p == 0).sum()
        for _ in range(n_draws):
            counts = model.draw_parameters(posterior, batch, streams).distribution()
            assert isinstance(counts, ZeroInflatedNegativeBinomial)
            dropped += (counts.dropout * (1 - counts.base.zero_prob)).sum(dtype=torch.float64) / n_draws
    return float(dropped / n_zeros.clamp(min=1))


@torch.no_grad()
def replicated_counts(model: CountVAE, data: CountData, *, seed: int) -> sparse.csr_matrix:
    """Draw the counts of all cells once, their latent states from the posterior; (N, G) float32."""
    streams = Streams([seed], data.device)
    rng = np.random.Generator(np.random.SFC64(seed))
    blocks = []
    for batch in data.batches(torch.arange(data.n_cells, device=data.device), BLOCK):
        counts = drawn_counts(model, model.encode(batch), batch, streams, rng)
        blocks.append(sparse.csr_matrix(counts.numpy(force=True)))
    return sparse.vstack(blocks, format="csr")
