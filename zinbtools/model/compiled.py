"""Training on a CPU, by a step that is written out (`program`) instead of left to autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

from . import kernels
from ._vector import f32
from .config import FitConfig
from .data import CountData
from .program import Parameters, Program, Rows, as_array
from .vae import CountVAE

_WIDE = 256  # genes from which on products in bfloat16 pay
_WIDE_WEIGHTS = {
    "encoder.blocks.0.linear.weight",
    "library_encoder.blocks.0.linear.weight",
    "scale.weight",
    "dropout.weight",
    "dispersion.weight",
}
_BETAS = 0.9, 0.999  # Adam's, as in `kernels.adam`


def has_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 natively."""
    return bool(get_host_cpu_features().get("amx-bf16", False))


class CompiledStack:
    """Replicates that take their steps one after the other. See `training.Stack`."""

    def __init__(self, model: CountVAE, data: CountData, seeds: Sequence[int]) -> None:
        rows = Rows(data)
        self._replicates = [_Replicate(model, place, rows, seed) for place, seed in enumerate(seeds)]

    def step(self, cells: Sequence[Tensor], rate: float) -> list[float]:
        return [r.step(own.numpy(), rate) for r, own in zip(self._replicates, cells, strict=True)]

    def elbo(self, cells: Tensor) -> list[float]:
        return [replicate.elbo(cells.numpy()) for replicate in self._replicates]

    def take(self, places: Sequence[int]) -> None:
        self._replicates = [self._replicates[place] for place in places]

    def state(self, place: int) -> Mapping[str, Tensor]:
        return self._replicates[place].state


class _Bank:
    """Parameters of one kind side by side in memory, with their gradients and Adam's moments.

    With ``halved``, products see the parameters, and give the gradients, in bfloat16.
    """

    def __init__(self, values: Mapping[str, Tensor], halved: bool) -> None:
        flat = torch.cat([value.flatten() for value in values.values()])
        operands = flat.bfloat16() if halved else flat
        gradients = torch.zeros_like(operands)
        self.values, self.operands, self.gradients = (
            _split(whole, values) for whole in (flat, operands, gradients)
        )
        self._arrays = (
            flat.numpy(),
            as_array(gradients),
            *np.zeros((2, len(flat)), dtype=f32),
            as_array(operands if halved else torch.empty(0)),
        )

    def descend(self, n_steps: int, rate: float, config: FitConfig) -> None:
        """The step number ``n_steps``, from 1, of Adam along the gradients."""
        first, second = (1 - beta**n_steps for beta in _BETAS)
        kernels.adam(
            *self._arrays,
            f32(rate / first),
            f32(second**-0.5),
            f32(config.adam_eps),
            f32(config.weight_decay),
        )


def _split(whole: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = whole.split([value.numel() for value in like.values()])
    return {name: part.view(value.shape) for part, (name, value) in zip(parts, like.items(), strict=True)}


class _Replicate:
    """One replicate: its parameters, its random stream, and a program for each size of minibatch."""

    def __init__(self, model: CountVAE, place: int, rows: Rows, seed: int) -> None:
        self._config, self._rows, self.zero_inflated = model.config, rows, model.dropout is not None
        parameters = {name: value.detach()[place] for name, value in model.named_parameters()}
        wide = [name for name in parameters if name in _WIDE_WEIGHTS]
        narrow = [name for name in parameters if name not in _WIDE_WEIGHTS]
        halved = rows.n_genes >= _WIDE and has_bfloat16()
        self._wide = _Bank({name: parameters[name] for name in wide}, halved)
        self._narrow = _Bank({name: parameters[name] for name in narrow}, halved=False)
        running = {
            name: value[place].clone()
            for name, value in model.replicate_state().items()
            if name not in parameters
        }
        self.state = self._wide.values | self._narrow.values | running
        self.parameters = Parameters(
            self._wide.operands | self._narrow.operands,
            self._wide.gradients | self._narrow.gradients,
            running,
        )
        self._library_prior = model.library_mean.numpy(), model.library_variance.numpy()
        self._noise, self._validation_seed = _noise(seed), seed ^ 1
        self._n_steps = 0
        self._programs: dict[int, Program] = {}

    def step(self, cells: np.ndarray, rate: float) -> float:
        """One step of descent; the mean ELBO before it."""
        program = self.program(len(cells))
        elbo = program.forward(cells, self._noise, training=True)
        if np.isfinite(elbo):
            program.backward()
            self._n_steps += 1
            for bank in (self._wide, self._narrow):
                bank.descend(self._n_steps, rate, self._config)
        return elbo

    def elbo(self, cells: np.ndarray) -> float:
        """Mean ELBO by one draw per cell, the same in every call."""
        noise, size = _noise(self._validation_seed), self._config.batch_size
        total = 0.0
        for start in range(0, len(cells), size):
            chunk = cells[start : start + size]
            total += len(chunk) * self.program(len(chunk)).forward(chunk, noise, training=False)
        return total / len(cells)

    def program(self, n_cells: int) -> Program:
        if n_cells not in self._programs:
            self._programs[n_cells] = Program(
                self._config, self._rows, self.parameters, self._library_prior, n_cells
            )
        return self._programs[n_cells]


def _noise(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))
