"""Training on a CPU, by a step that is written out (`program`) instead of left to autograd."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from llvmlite.binding import get_host_cpu_features
from torch import Tensor, nn

from ..kernels import network as kernels
from ..kernels.network import Prior, Weights
from ..kernels.single import f32
from .config import FitConfig
from .data import CountData
from .products import ALIGNED, as_array
from .program import ArrayData, Parameters, Program, apart, side_by_side
from .vae import CountVAE

WIDE = 256  # genes from which on products in bfloat16 pay
_WIDE_WEIGHTS = {"first.linear.weight", "outputs.weight"}
_BETAS = 0.9, 0.999  # Adam's, as in `network.adam`


def has_bfloat16() -> bool:
    """Tell whether this processor multiplies bfloat16 natively, as newer ones of Intel and AMD do."""
    features = get_host_cpu_features()
    return any(features.get(name, False) for name in ("amx-bf16", "avx512bf16"))


class CompiledStack:
    """Replicates that share their products, and take turns between them. See `training.Stack`."""

    steps_between_reads = 1

    def __init__(self, model: CountVAE, data: CountData, seeds: Sequence[int]) -> None:
        self._config, self._data, self._inflated = model.config, ArrayData(data), model.dropout is not None
        own, names = model.replicate_state(), dict(model.named_parameters())
        parameters = side_by_side({name: value for name, value in own.items() if name in names})
        self._running = side_by_side({name: value for name, value in own.items() if name not in names})
        self._like = own
        halved = data.n_genes >= WIDE and has_bfloat16()
        wide = {name: value for name, value in parameters.items() if halved and name in _WIDE_WEIGHTS}
        rest = {name: value for name, value in parameters.items() if name not in wide}
        self._banks = [_Bank(values, halved=values is wide) for values in (wide, rest) if values]
        self._library_prior = Prior(model.library_mean.numpy(), model.library_variance.numpy())
        self._noise = [_noise(seed) for seed in seeds]
        self._validation_seeds = [seed ^ 1 for seed in seeds]
        self._n_steps = [0] * len(seeds)
        self._wire()

    def _wire(self) -> None:
        """Name the arrays of all replicates, which programs will read."""
        values, operands, gradients = (
            ChainMap(*(getattr(bank, what) for bank in self._banks))
            for what in ("values", "operands", "gradients")
        )
        self.parameters = Parameters(operands, gradients, self._running)
        self._states = apart(ChainMap(values, self._running), self._like)
        self._programs: dict[int, Program] = {}

    @torch.inference_mode()
    @np.errstate(all="ignore")  # the ELBO says what is not finite
    def step(self, cells: Sequence[Tensor], rate: float) -> Tensor:
        program = self.program(len(cells[0]))
        elbos = program.forward([own.numpy() for own in cells], self._noise, training=True)
        following = [place for place, elbo in enumerate(elbos) if np.isfinite(elbo)]
        if following:
            program.backward()
        for place in following:
            self._n_steps[place] += 1
            for bank in self._banks:
                bank.descend(place, self._n_steps[place], rate, self._config)
        return torch.tensor(elbos, dtype=torch.float64)

    @torch.inference_mode()
    @np.errstate(all="ignore")
    def elbo(self, cells: Tensor) -> list[float]:
        n_replicates = len(self._noise)
        noise = [_noise(seed) for seed in self._validation_seeds]
        total = np.zeros(n_replicates)
        for chunk in self._data.chunks(cells, self._config.batch_size):
            program = self.program(len(chunk))
            total += len(chunk) * np.array(program.forward([chunk] * n_replicates, noise, training=False))
        means: list[float] = (total / len(cells)).tolist()
        return means

    def take(self, places: Sequence[int]) -> None:
        index = list(places)
        for bank in self._banks:
            bank.take(index)
        self._running = {name: value[index] for name, value in self._running.items()}
        self._noise = [self._noise[place] for place in places]
        self._validation_seeds = [self._validation_seeds[place] for place in places]
        self._n_steps = [self._n_steps[place] for place in places]
        self._wire()

    def state(self, place: int) -> Mapping[str, Tensor]:
        return {name: value[place] for name, value in self._states.items()}

    def program(self, n_cells: int) -> Program:
        """Return what computes minibatches of this size."""
        if n_cells not in self._programs:
            self._programs[n_cells] = Program(
                self._config,
                self._data,
                self.parameters,
                self._library_prior,
                n_cells,
                zero_inflated=self._inflated,
            )
        return self._programs[n_cells]


class _Bank:
    """Parameters of one kind side by side in memory, with their gradients and Adam's moments.

    A row is a replicate's, with zeros at its end. With ``halved``, products see the parameters, and give the
    gradients, in bfloat16.
    """

    def __init__(self, values: Mapping[str, Tensor], halved: bool) -> None:
        self._shapes = {name: value.shape[1:] for name, value in values.items()}
        self._halved = halved
        flat = torch.cat([value.flatten(1) for value in values.values()], 1)
        flat = nn.functional.pad(flat, (0, -flat.shape[1] % ALIGNED))
        self._lay_out(flat, np.zeros((2, *flat.shape), dtype=f32))

    def _lay_out(self, flat: Tensor, moments: np.ndarray) -> None:
        self._flat, self._moments = flat, moments
        operands = flat.bfloat16() if self._halved else flat
        gradients = torch.zeros_like(operands)
        self.values, self.operands, self.gradients = (
            self._split(whole) for whole in (flat, operands, gradients)
        )
        halves = as_array(operands) if self._halved else np.empty((len(flat), 0), dtype=f32)
        self._weights = [
            Weights(*own) for own in zip(flat.numpy(), as_array(gradients), *moments, halves, strict=True)
        ]

    def _split(self, whole: Tensor) -> dict[str, Tensor]:
        sizes = [shape.numel() for shape in self._shapes.values()]
        *parts, _ = whole.split([*sizes, whole.shape[1] - sum(sizes)], 1)
        return {
            name: part.view(-1, *shape)
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }

    def take(self, places: Sequence[int]) -> None:
        """Keep only these replicates, in this order."""
        self._lay_out(self._flat[places], self._moments[:, places])

    def descend(self, place: int, n_steps: int, rate: float, config: FitConfig) -> None:
        """Take a replicate's step number ``n_steps``, from 1, of Adam along the gradients."""
        first, second = (1 - beta**n_steps for beta in _BETAS)
        kernels.adam(
            self._weights[place],
            f32(rate / first),
            f32(second**-0.5),
            f32(config.adam_eps),
            f32(config.weight_decay),
        )


def _noise(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))
