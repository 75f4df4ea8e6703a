"""Training on a CPU, by a step that is written out (`program`) instead of left to autograd."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

from ..kernels import network as kernels
from ..kernels.network import Prior, Weights
from ..kernels.single import f32
from .config import FitConfig
from .data import CountData
from .program import ArrayData, Parameters, Program, apart, as_array, side_by_side
from .vae import CountVAE

WIDE = 256  # genes from which on products in bfloat16 pay
_WIDE_WEIGHTS = {"first.linear.weight", "outputs.weight"}
_BETAS = 0.9, 0.999  # Adam's, as in `network.adam`


def has_bfloat16() -> bool:
    """Tell whether this processor multiplies bfloat16 natively, as newer ones of Intel and AMD do."""
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in ("amx-bf16", "avx512bf16"))


class CompiledStack:
    """Replicates that take their steps one after the other. See `training.Stack`."""

    steps_between_reads = 1

    def __init__(self, model: CountVAE, data: CountData, seeds: Sequence[int]) -> None:
        arrays = ArrayData(data)
        self._replicates = [_Replicate(model, place, arrays, seed) for place, seed in enumerate(seeds)]

    @torch.inference_mode()
    def step(self, cells: Sequence[Tensor], rate: float) -> Tensor:
        own = zip(self._replicates, cells, strict=True)
        return torch.tensor([replicate.step(c.numpy(), rate) for replicate, c in own], dtype=torch.float64)

    @torch.inference_mode()
    def elbo(self, cells: Tensor) -> list[float]:
        return [replicate.elbo(cells) for replicate in self._replicates]

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
        first, second = np.zeros((2, len(flat)), dtype=f32)
        halves = as_array(operands if halved else torch.empty(0))
        self._weights = Weights(flat.numpy(), as_array(gradients), first, second, halves)

    def descend(self, n_steps: int, rate: float, config: FitConfig) -> None:
        """Take the step number ``n_steps``, from 1, of Adam along the gradients."""
        first, second = (1 - beta**n_steps for beta in _BETAS)
        kernels.adam(
            self._weights,
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

    def __init__(self, model: CountVAE, place: int, data: ArrayData, seed: int) -> None:
        self._config, self._data, self.zero_inflated = model.config, data, model.dropout is not None
        own = {name: value[place] for name, value in model.replicate_state().items()}
        names = dict(model.named_parameters())
        parameters = side_by_side({name: value for name, value in own.items() if name in names})
        running = side_by_side({name: value for name, value in own.items() if name not in names})
        halved = data.n_genes >= WIDE and has_bfloat16()
        self._banks = (
            [
                _Bank(
                    {name: value for name, value in parameters.items() if (name in _WIDE_WEIGHTS) == wide},
                    wide,
                )
                for wide in (True, False)
            ]
            if halved
            else [_Bank(parameters, halved=False)]
        )
        values, operands, gradients = (
            ChainMap(*(getattr(bank, what) for bank in self._banks))
            for what in ("values", "operands", "gradients")
        )
        self.parameters = Parameters(operands, gradients, running)
        self.state = apart(ChainMap(values, running), own)
        self._library_prior = Prior(model.library_mean.numpy(), model.library_variance.numpy())
        self._noise, self._validation_noise = _noise(seed), _noise(seed ^ 1)
        self._validation_start = self._validation_noise.bit_generator.state
        self._n_steps = 0
        self._programs: dict[int, Program] = {}

    @np.errstate(all="ignore")  # the ELBO says what is not finite
    def step(self, cells: np.ndarray, rate: float) -> float:
        """Take one step of descent; return the mean ELBO before it."""
        program = self.program(len(cells))
        elbo = program.forward(cells, self._noise, training=True)
        if np.isfinite(elbo):
            program.backward()
            self._n_steps += 1
            for bank in self._banks:
                bank.descend(self._n_steps, rate, self._config)
        return elbo

    @np.errstate(all="ignore")
    def elbo(self, cells: Tensor) -> float:
        """Compute the mean ELBO by one draw per cell, the same in every call."""
        noise = self._validation_noise
        noise.bit_generator.state = self._validation_start
        total = 0.0
        for chunk in self._data.chunks(cells, self._config.batch_size):
            total += len(chunk) * self.program(len(chunk)).forward(chunk, noise, training=False)
        return total / len(cells)

    def program(self, n_cells: int) -> Program:
        if n_cells not in self._programs:
            self._programs[n_cells] = Program(
                self._config,
                self._data,
                self.parameters,
                self._library_prior,
                n_cells,
                zero_inflated=self.zero_inflated,
            )
        return self._programs[n_cells]


def _noise(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))
