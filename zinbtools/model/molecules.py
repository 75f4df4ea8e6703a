"""How many molecules some reads may come from, and which of these numbers to sum over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..kernels.gram import gram_rule, lengths

N_NODES = 56
_HEAD = 16  # that are taken one by one where a longer range starts at 1, where terms may bend sharply
_NATS = 36.0  # below the largest term, where terms are left out
_LARGEST = 2**31

Terms = Callable[[Tensor, Tensor], Tensor]


def molecules_within(reads: Tensor, log_term: Terms) -> tuple[Tensor, Tensor]:
    """Nodes and log weights of a sum over ``1, ..., reads``, (n, 56) each, such that the rest is negligible.

    Parameters
    ----------
    reads
        Whole numbers of 1 or more, (n,).
    log_term
        Logarithms of the terms at some numbers of molecules, (m,), for the reads of these indices, (m,). They
        rise to one maximum and fall.
    """
    whole = reads.long()
    first, length = torch.ones_like(whole), whole.clone()
    many = torch.nonzero(whole > N_NODES).ravel()
    if len(many):
        first[many], length[many] = _window(whole[many], lambda k: log_term(k.to(reads.dtype), many))
    ranges = np.stack([(first == 1).numpy(force=True), length.numpy(force=True)])
    different, place = np.unique(ranges, axis=1, return_inverse=True)
    nodes = np.zeros((different.shape[1], N_NODES))
    log_weights = np.full(nodes.shape, -np.inf)
    for row, (from_one, n) in enumerate(different.T.tolist()):
        places, weights = _with_head(n) if from_one and n > N_NODES else gram_rule(n, N_NODES)
        nodes[row, : len(places)], log_weights[row, : len(places)] = places, np.log(weights)
    where = torch.as_tensor(place.ravel(), device=reads.device)
    chosen, of_chosen = (torch.as_tensor(t, device=reads.device)[where] for t in (nodes, log_weights))
    return (first[:, None] + chosen).to(reads.dtype), of_chosen.to(reads.dtype)


def _with_head(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rule for the sum over ``0, ..., n - 1`` that takes the first ones one by one."""
    nodes, weights = gram_rule(n - _HEAD, N_NODES - _HEAD)
    return np.append(np.arange(_HEAD), nodes + _HEAD), np.append(np.ones(_HEAD), weights)


def _window(largest: Tensor, log_term: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """First number and length of the range in which terms are not negligible."""
    one = torch.ones_like(largest)
    top = _first(one, largest, lambda k: log_term(k + 1) < log_term(k))
    least = log_term(top) - _NATS
    first = _first(one, top, lambda k: log_term(k) >= least)
    last = _first(top, largest, lambda k: log_term(k + 1) < least)
    allowed = torch.as_tensor(lengths(N_NODES, _LARGEST), device=largest.device)
    length = torch.minimum(allowed[torch.searchsorted(allowed, last - first + 1)], largest)
    return torch.minimum(first, largest - length + 1), length


def _first(low: Tensor, high: Tensor, holds: Callable[[Tensor], Tensor]) -> Tensor:
    """Smallest of ``low, ..., high`` where something holds that goes on to hold; ``high`` where none is."""
    while bool((open_ := low < high).any()):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        true = holds(middle)
        low, high = torch.where(open_ & ~true, middle + 1, low), torch.where(open_ & true, middle, high)
    return high
