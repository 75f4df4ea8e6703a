"""A training step that is recorded once and then launched as a whole, as a CUDA graph.

What differs between steps lies in memory that stays: the cells, the random numbers, the learning rate. The
number of positive counts differs too; it is filled up to one that hardly any minibatch exceeds, and who does
takes the step unrecorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .data import Batch, CountData
from .layers import Streams

_BEFORE = 3  # steps that are taken before one is recorded: the first ones set up libraries and moments
_MARGIN = 4  # standard deviations of a minibatch's number of positive counts

#: Takes a step on a batch with random numbers; gives each replicate's ELBO.
Descend = Callable[[Batch, Streams], Tensor]


class RecordedStep:
    """The step of R replicates on minibatches of B cells.

    Parameters
    ----------
    descend
        What is recorded.
    data, streams
        Where cells and random numbers come from; the data are in memory.
    n_replicates, n_cells
        R and B.
    """

    def __init__(
        self, descend: Descend, data: CountData, streams: Streams, n_replicates: int, n_cells: int
    ) -> None:
        self._descend, self._data, self._streams = descend, data, streams
        self._n_replicates = n_replicates
        self._cells = torch.empty(n_replicates * n_cells, dtype=torch.int64, device=data.device)
        self._held = _Held(streams)
        self._n_entries = usual_entries(data.lengths, n_replicates * n_cells)
        self._n_before = _BEFORE
        self._replay: Callable[[], None] | None = None
        self._elbo = torch.empty(0)

    def __call__(self, cells: Sequence[Tensor]) -> Tensor:
        together = torch.cat(list(cells))
        if self._data.n_positive(together) > self._n_entries:
            return self._descend(self._data.side_by_side(cells), self._streams)
        self._cells.copy_(together, non_blocking=True)
        self._held.refill()
        if self._n_before:
            self._n_before -= 1
            _beside(self._run, self._data.device)
        else:
            if self._replay is None:
                self._replay = record(self._run)
            self._replay()
        return self._elbo.clone()

    def _run(self) -> None:
        batch = self._data.batch(self._cells, n_entries=self._n_entries).apart(self._n_replicates)
        self._elbo = self._descend(batch, self._held)


def usual_entries(lengths: np.ndarray, n_cells: int) -> int:
    """Choose a number of positive counts that few minibatches exceed, by those of each cell, (N,)."""
    enough = n_cells * lengths.mean() + _MARGIN * math.sqrt(n_cells) * lengths.std()
    return math.ceil(min(enough, n_cells * lengths.max()))


def record(run: Callable[[], None]) -> Callable[[], None]:
    """Record what a function launches on the CUDA device, without running it; give what launches it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _beside(run: Callable[[], None], device: torch.device) -> None:
    """Run as recordings do: on another stream than the one in use."""
    if device.type != "cuda":
        run()
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        run()
    torch.cuda.current_stream(device).wait_stream(stream)


class _Held(Streams):
    """Random numbers in memory that stays, in the order in which the first step asks for them."""

    def __init__(self, streams: Streams) -> None:
        super().__init__(())
        self._source = streams
        self._asked: list[Callable[[], Tensor]] = []
        self._held: list[Tensor] = []
        self._taken = 0

    def refill(self) -> None:
        """Draw the numbers of the next step."""
        for held, ask in zip(self._held, self._asked, strict=True):
            held.copy_(ask())
        self._taken = 0

    def _next(self, how: str, shape: tuple[int, ...], like: Tensor, *limits: float) -> Tensor:
        if self._taken == len(self._held):
            of_kind = like.new_empty(0)
            self._asked.append(lambda: self._source._next(how, shape, of_kind, *limits))
            self._held.append(self._asked[-1]().clone())
        self._taken += 1
        return self._held[self._taken - 1]
