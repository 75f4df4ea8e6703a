"""What `kernels.draws` does, by torch, so that nothing leaves the device but sums.

Of R = 1 replicate, B cells and G genes. The rows of ``sums``, (6, G), are those of the kernels, float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels.draws import CELLS, MAXIMUM, ONES, POSITIVE, SQUARES, TOTAL
from .distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from .vae import CountParameters


def add_counts(parameters: CountParameters, generator: torch.Generator, sums: Tensor) -> None:
    """Draw a count for each entry and add it to ``sums``."""
    counts = parameters.distribution().sample(generator)[0]
    positive, ones = (counts > 0).sum(0), (counts == 1).sum(0)
    _add(sums, len(counts), positive, ones, counts.double().sum(0), counts.double().square().sum(0))
    torch.maximum(sums[MAXIMUM], counts.amax(0), out=sums[MAXIMUM])


def add_expected(parameters: CountParameters, sums: Tensor) -> None:
    """Add what each entry is expected to contribute to ``sums``; the maximum is left as it is."""
    nb, kept = _parts(parameters)
    ratio, zero = nb.mu / nb.theta, nb.zero_prob
    ones = kept * zero * nb.mu / (1 + ratio)
    squares = kept * nb.mu * (1 + nb.mu + ratio)
    _add(sums, kept.shape[1], *(part[0].sum(0) for part in (kept * (1 - zero), ones, kept * nb.mu, squares)))


def add_expectations(parameters: CountParameters, sums: Tensor) -> None:
    """Add NB mean, dropout probability, P(0) and P(dropout | 0) of each entry to ``sums``, (4, B, G)."""
    counts = parameters.distribution()
    sums[2] += counts.zero_prob[0]
    if isinstance(counts, ZeroInflatedNegativeBinomial):
        sums[0] += counts.base.mean[0]
        sums[1] += counts.dropout[0]
        sums[3] += counts.posterior_dropout[0]
    else:
        sums[0] += counts.mean[0]


def _parts(parameters: CountParameters) -> tuple[NegativeBinomial, Tensor]:
    """Return the NB, and the probability of no dropout, (1, B, G)."""
    nb = NegativeBinomial(parameters.log_mean.exp(), parameters.log_theta.exp())
    if parameters.dropout_logit is None:
        return nb, torch.ones_like(nb.mu)
    return nb, (-parameters.dropout_logit).sigmoid()


def _add(sums: Tensor, n_cells: int, positive: Tensor, ones: Tensor, total: Tensor, squares: Tensor) -> None:
    sums[CELLS] += n_cells
    for row, values in ((POSITIVE, positive), (ONES, ones), (TOTAL, total), (SQUARES, squares)):
        sums[row] += values
