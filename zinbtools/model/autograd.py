"""Training by autograd, on any device: all replicates in one program, which pays where launching is slow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Adam

from .compiled import WIDE
from .data import Batch, CountData
from .graphs import RecordedStep
from .layers import Streams
from .vae import CountVAE, mean_elbo

_DRAWN_AHEAD = 16  # of the random numbers of a step, as many at once as take little memory
_GRAPHS = "ZINBTOOLS_CUDA_GRAPHS"  # environment variable that, at 1, asks for them


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a CUDA device multiplies bfloat16 natively, as those since Ampere do."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def wants_graphs(data: CountData) -> bool:
    """Tell whether steps are to be CUDA graphs: they can be, and the environment variable asks for them."""
    return data.device.type == "cuda" and data.in_memory and os.environ.get(_GRAPHS) == "1"


class AutogradStack:
    """Replicates that share every operation. See `training.Stack`.

    A step never waits for the device: nothing in it is read on the host.

    Parameters
    ----------
    halved
        Whether products with a side as long as there are genes are in bfloat16; by default if there are 256
        genes or more and the device has such products.
    graphs
        Whether steps are recorded and launched as a whole; by default as `wants_graphs` says.
    """

    steps_between_reads = 64

    def __init__(
        self,
        model: CountVAE,
        data: CountData,
        seeds: Sequence[int],
        *,
        halved: bool | None = None,
        graphs: bool | None = None,
    ) -> None:
        self._model, self._data = model, data
        self._streams = Streams(seeds, data.device, ahead=_DRAWN_AHEAD)
        self._validation_seeds = [seed ^ 1 for seed in seeds]
        self._halved = data.n_genes >= WIDE and has_bfloat16(data.device) if halved is None else halved
        self._graphs = wants_graphs(data) if graphs is None else graphs
        self._recorded: dict[int, RecordedStep] = {}
        self._optimizer = self._new_optimizer()

    def step(self, cells: Sequence[Tensor], rate: float) -> Tensor:
        self._set_rate(rate)
        if not self._graphs:
            return self._descend(self._data.side_by_side(cells), self._streams)
        n_cells = len(cells[0])
        if n_cells not in self._recorded:
            self._recorded[n_cells] = RecordedStep(
                self._descend, self._data, self._streams, len(cells), n_cells
            )
        return self._recorded[n_cells](cells)

    def _descend(self, batch: Batch, streams: Streams) -> Tensor:
        """Take the step: all that runs on the device."""
        self._model.train()
        with self._products():
            elbo = self._model.elbo(batch, streams).mean(1)
        self._optimizer.zero_grad()
        (-elbo.sum()).backward()
        failed = ~torch.isfinite(elbo.detach())
        for parameter in self._model.parameters():
            assert parameter.grad is not None
            parameter.grad.masked_fill_(failed.view(-1, *[1] * (parameter.ndim - 1)), 0)
        self._optimizer.step()
        return elbo.detach()

    def elbo(self, cells: Tensor) -> list[float]:
        self._model.eval()
        streams = Streams(self._validation_seeds, self._data.device, ahead=_DRAWN_AHEAD)
        with self._products():
            return mean_elbo(self._model, self._data, cells, streams).tolist()

    def take(self, places: Sequence[int]) -> None:
        index = torch.tensor(list(places), device=self._data.device)
        moments = [self._optimizer.state[parameter] for parameter in self._model.parameters()]
        self._model.take(places)
        self._streams = self._streams.subset(places)
        self._validation_seeds = [self._validation_seeds[place] for place in places]
        self._recorded = {}
        self._optimizer = self._new_optimizer()
        for parameter, moment in zip(self._model.parameters(), moments, strict=True):
            self._optimizer.state[parameter] = {
                name: value if name == "step" else value[index] for name, value in moment.items()
            }

    def state(self, place: int) -> Mapping[str, Tensor]:
        return {name: value[place] for name, value in self._model.replicate_state().items()}

    @contextmanager
    def _products(self) -> Iterator[None]:
        """Let the wide layers multiply in bfloat16, if that is what is done; the model is others' too."""
        wide = self._model.wide_layers() if self._halved else []
        try:
            for layer in wide:
                layer.halved = True
            yield
        finally:
            for layer in wide:
                layer.halved = False

    def _new_optimizer(self) -> Adam:
        config, on_device = self._model.config, self._data.device.type != "cpu"
        return Adam(
            self._model.parameters(),
            lr=torch.zeros((), device=self._data.device) if self._graphs else 0.0,  # a graph reads it anew
            eps=config.adam_eps,
            weight_decay=config.weight_decay,
            fused=on_device,
            capturable=on_device and self._graphs,
        )

    def _set_rate(self, rate: float) -> None:
        (group,) = self._optimizer.param_groups
        if self._graphs:
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
