"""Log probability of a gene's count given the other genes of its cell."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .data import CountData
from .layers import Streams
from .predictive import BLOCK
from .vae import CountVAE, Gaussian


@torch.no_grad()
def gene_predictive(
    model: CountVAE, data: CountData, cells: Tensor, *, n_samples: int, seed: int
) -> Iterator[np.ndarray]:
    """``log p(x_ng | x_n,-g)`` of each cell and gene, nats, block by block, (n_cells, n_genes) float64.

    With importance weights w_k of draws from the approximate posterior, as in `marginal_log_likelihood`:
    ``log mean_k w_k - log mean_k (w_k / p(x_ng | z_k, l_k))``: the weights without the gene's own factor are
    those of its cell without the gene.
    """
    precise = copy.deepcopy(model).double()
    streams = Streams([seed], data.device)
    for batch in data.batches(cells, BLOCK, torch.float64):
        posterior, counts = precise.encode(batch), batch.dense()
        standard = Gaussian(torch.zeros_like(posterior.z.mean), torch.ones_like(posterior.z.variance))
        prior = Gaussian(*(moment.view(1, -1, 1) for moment in precise.library_prior(batch)))
        whole = counts.new_full((len(batch), 1), -math.inf)
        without = torch.full_like(counts, -math.inf)
        for _ in range(n_samples):
            z, library = precise.draw(posterior, batch, streams)
            of_gene = precise.decode(z, library, batch).distribution().log_prob(counts)[0]
            weight = of_gene.sum(-1, keepdim=True)
            weight += (_log_density(z, standard) - _log_density(z, posterior.z))[0]
            if posterior.library is not None:
                weight += (_log_density(library, prior) - _log_density(library, posterior.library))[0]
            whole = torch.logaddexp(whole, weight)
            without = torch.logaddexp(without, weight - of_gene)
        yield (whole - without).cpu().numpy()


def _log_density(value: Tensor, gaussian: Gaussian) -> Tensor:
    """Compute a diagonal Gaussian's log density but for a constant that cancels, (R, B, 1)."""
    deviance = (value - gaussian.mean).square() / gaussian.variance
    return -0.5 * (deviance + gaussian.variance.log()).sum(-1, keepdim=True)
