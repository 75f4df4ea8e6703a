"""Training by autograd, on any device: all replicates in one program, which pays where launching is slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Adam

from .data import CountData
from .layers import Streams
from .vae import CountVAE, mean_elbo

_DRAWN_AHEAD = 16  # of the random numbers of a step, as many at once as take little memory


class AutogradStack:
    """Replicates that share every operation. See `training.Stack`.

    A step never waits for the device: nothing in it is read on the host.
    """

    steps_between_reads = 64

    def __init__(self, model: CountVAE, data: CountData, seeds: Sequence[int]) -> None:
        self._model, self._data = model, data
        self._streams = Streams(seeds, data.device, ahead=_DRAWN_AHEAD)
        self._validation_seeds = [seed ^ 1 for seed in seeds]
        self._optimizer = self._new_optimizer()

    def step(self, cells: Sequence[Tensor], rate: float) -> Tensor:
        self._model.train()
        elbo = self._model.elbo(self._data.side_by_side(cells), self._streams).mean(1)
        self._optimizer.zero_grad()
        (-elbo.sum()).backward()
        failed = ~torch.isfinite(elbo.detach())
        for parameter in self._model.parameters():
            assert parameter.grad is not None
            parameter.grad.masked_fill_(failed.view(-1, *[1] * (parameter.ndim - 1)), 0)
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.step()
        return elbo.detach()

    def elbo(self, cells: Tensor) -> list[float]:
        self._model.eval()
        streams = Streams(self._validation_seeds, self._data.device, ahead=_DRAWN_AHEAD)
        return mean_elbo(self._model, self._data, cells, streams).tolist()

    def take(self, places: Sequence[int]) -> None:
        index = torch.tensor(list(places), device=self._data.device)
        moments = [self._optimizer.state[parameter] for parameter in self._model.parameters()]
        self._model.take(places)
        self._streams = self._streams.subset(places)
        self._validation_seeds = [self._validation_seeds[place] for place in places]
        self._optimizer = self._new_optimizer()
        for parameter, moment in zip(self._model.parameters(), moments, strict=True):
            self._optimizer.state[parameter] = {
                name: value if name == "step" else value[index] for name, value in moment.items()
            }

    def state(self, place: int) -> Mapping[str, Tensor]:
        return {name: value[place] for name, value in self._model.replicate_state().items()}

    def _new_optimizer(self) -> Adam:
        config = self._model.config
        return Adam(
            self._model.parameters(),
            eps=config.adam_eps,
            weight_decay=config.weight_decay,
            fused=self._data.device.type != "cpu",
        )
