"""One training step of one replicate, written out: the mean ELBO of a minibatch and its gradient.

Between the matrix products, which are torch's, stand the compiled passes of `kernels` and
`likelihood_kernel`. The model is that of `vae.CountVAE`, whose names the parameters have here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import kernels
from ._vector import f32
from .config import FitConfig
from .data import CountData
from .layers import NORM_EPS
from .likelihood_kernel import log_likelihood, scratch
from .vae import MIN_VARIANCE

_MIN_VARIANCE, _NORM_EPS = f32(MIN_VARIANCE), f32(NORM_EPS)


class Parameters(NamedTuple):
    """By name: what products and kernels read, where the gradients go, batch normalisation's running moments.

    Operands and gradients of one parameter are both float32 or both bfloat16.
    """

    operands: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    running: Mapping[str, Tensor]


class Rows:
    """The data as the kernels read them."""

    def __init__(self, data: CountData) -> None:
        self.starts, self.genes, self.counts = (
            rows.numpy() for rows in (data.starts, data.genes, data.counts)
        )
        self.constant = data.constant.float().numpy()
        self.log_library = data.log_library.float().numpy()
        self.group = data.group.numpy()
        self.covariates = data.covariates
        self.n_genes = data.n_genes


class Program:
    """The mean ELBO of a minibatch of B cells, and the gradient of its negative.

    The layers are wired once: each knows the arrays that it reads and writes.
    """

    def __init__(
        self,
        config: FitConfig,
        rows: Rows,
        parameters: Parameters,
        library_prior: tuple[np.ndarray, np.ndarray],
        n_cells: int,
    ) -> None:
        self._rows, self._share = rows, f32(1 / n_cells)
        self._normal_prior = np.zeros(n_cells, dtype=f32), np.ones(n_cells, dtype=f32)
        self._library_prior = library_prior
        wide = parameters.operands["scale.weight"].dtype
        self._input = torch.empty(n_cells, rows.n_genes, dtype=wide)
        self._input_array = as_array(self._input)
        self._covariates = torch.empty(n_cells, rows.covariates.shape[1])
        self._encoder = _Encoder(config, parameters, "encoder", config.n_layers, self._input)
        self._library = (
            _Encoder(config, parameters, "library_encoder", 1, self._input)
            if config.library == "latent"
            else None
        )
        self._decoder: list[_Block] = []
        x, by_x = self._encoder.draw, self._encoder.by_draw
        for k in range(config.n_layers):
            block = _Block(config, parameters, f"decoder.{k}", x, by_x, covariates=self._covariates)
            self._decoder.append(block)
            x, by_x = block.out, block.by_out
        self._top, self._by_top = x, by_x
        self._hidden, self._by_hidden = x.to(wide), by_x.to(wide)  # themselves, unless halved
        self._scale = _Output(parameters, "scale", self._hidden)
        self._dropout = (
            _Output(parameters, "dropout", self._hidden) if "dropout.weight" in parameters.operands else None
        )
        self._dispersion = _DISPERSIONS[config.dispersion](parameters, self._hidden)
        self._outputs = [o for o in (self._scale, self._dropout, self._dispersion.output) if o is not None]
        self._by_library = np.empty(n_cells, dtype=f32)
        self._likelihood = (
            *(rows.starts, rows.genes, rows.counts, rows.constant),
            *self._scale.arrays,
            *(self._scale.no_arrays() if self._dropout is None else self._dropout.arrays),
            *(self._dispersion.log_theta, self._dispersion.by_log_theta),
            config.library != "size_factor",
            *scratch(rows.n_genes, len(self._dispersion.log_theta)),
            *(-self._share, self._by_library),
        )

    def forward(self, cells: np.ndarray, noise: np.random.Generator, *, training: bool) -> float:
        """The mean ELBO by one draw per cell; after a pass in training mode, `backward` may follow."""
        rows, mode = self._rows, noise if training else None
        group = rows.group[cells]
        kernels.gather(rows.starts, rows.genes, rows.counts, cells, self._input_array)
        if rows.covariates.shape[1]:
            self._covariates.copy_(rows.covariates[cells])
        encoders = [(self._encoder, self._normal_prior)]
        if self._library is not None:
            mean, variance = self._library_prior
            encoders.append((self._library, (mean[group], variance[group])))
        for encoder, _ in encoders:
            encoder.forward(mode)
        divergence = sum(encoder.sample(noise, prior) for encoder, prior in encoders)
        library = rows.log_library[cells] if self._library is None else self._library.draw_array[:, 0]
        for block in self._decoder:
            block.forward(mode)
        if self._hidden is not self._top:
            self._hidden.copy_(self._top)
        for output in self._outputs:
            output.forward()
        self._dispersion.forward()
        value = log_likelihood(*self._likelihood, cells, self._dispersion.row(group), library)
        return (value - divergence) / len(cells)

    def backward(self) -> None:
        """Fill the gradients of the parameters."""
        self._dispersion.backward()
        for place, output in enumerate(self._outputs):
            output.backward(self._by_hidden, add=place > 0)
        if self._by_hidden is not self._by_top:
            self._by_top.copy_(self._by_hidden)
        for block in reversed(self._decoder):
            block.backward()
        self._encoder.backward(self._share)
        if self._library is not None:
            self._library.by_draw_array[:, 0] = self._by_library
            self._library.backward(self._share)


class _Encoder:
    """Hidden layers, mean and log variance of the posterior, and a draw from it."""

    def __init__(
        self, config: FitConfig, parameters: Parameters, name: str, n_layers: int, x: Tensor
    ) -> None:
        rate = config.dropout_rate
        self._blocks = [_Block(config, parameters, f"{name}.blocks.0", x, None, dropout_rate=rate)]
        for k in range(1, n_layers):
            below = self._blocks[-1]
            block = _Block(
                config, parameters, f"{name}.blocks.{k}", below.out, below.by_out, dropout_rate=rate
            )
            self._blocks.append(block)
        top = self._blocks[-1]
        self._by_top = top.by_out
        self._heads = [_Head(parameters, f"{name}.{leaf}", top.out) for leaf in ("mean", "log_variance")]
        self._moments = [head.out.numpy() for head in self._heads]
        self._by_biases = [head.by_bias.numpy()[0] for head in self._heads]
        self.draw, self.by_draw = torch.empty(2, *self._heads[0].out.shape)
        self.draw_array, self.by_draw_array = self.draw.numpy(), self.by_draw.numpy()

    def forward(self, noise: np.random.Generator | None) -> None:
        """Fill the moments; ``noise`` silences units in training mode, there is none in evaluation mode."""
        for block in self._blocks:
            block.forward(noise)
        for head in self._heads:
            head.forward()

    def sample(self, noise: np.random.Generator, prior: tuple[np.ndarray, np.ndarray]) -> float:
        """Fill ``draw``; returns the summed KL divergence from the prior of each cell's mean and variance."""
        self._prior = prior
        self._noise = noise.standard_normal(self.draw_array.shape, dtype=f32)
        return kernels.draw(*self._moments, self._noise, *prior, _MIN_VARIANCE, self.draw_array)

    def backward(self, by_divergence: np.float32) -> None:
        """From the gradient by the draw, ``by_draw``, and by each cell's divergence."""
        kernels.draw_backward(
            *(*self._moments, self._noise, *self._prior, _MIN_VARIANCE),
            *(self.by_draw_array, by_divergence, *self._by_biases),
        )
        for place, head in enumerate(self._heads):
            head.backward(self._by_top, add=place > 0)
        for block in reversed(self._blocks):
            block.backward()


class _Block:
    """Linear map, batch normalisation, ReLU, dropout: as `layers.Block`.

    ``out`` is the output, ``by_out`` the gradient by it, ``by_x`` that by the input.
    """

    def __init__(
        self,
        config: FitConfig,
        parameters: Parameters,
        name: str,
        x: Tensor,
        by_x: Tensor | None,
        *,
        covariates: Tensor | None = None,
        dropout_rate: float = 0,
    ) -> None:
        weight, by_weight = (
            where[f"{name}.linear.weight"] for where in (parameters.operands, parameters.gradients)
        )
        n_cells, d = x.shape
        # columns of the input that come from below, and covariates
        inputs = [x] if covariates is None or not covariates.shape[1] else [x, covariates]
        sizes = [part.shape[1] for part in inputs]
        self._terms = list(zip(inputs, weight.split(sizes), strict=True))
        self._by_terms = [
            (part.t(), by_part) for part, by_part in zip(inputs, by_weight.split(sizes), strict=True)
        ]
        self._x_weight, self._by_x = weight[:d].t(), by_x
        n_units = weight.shape[1]
        self._product = torch.empty(n_cells, n_units, dtype=weight.dtype)
        self._normal, self.out, self.by_out = torch.empty(3, n_cells, n_units)
        if weight.dtype == torch.float32:
            self._normal = self._product
        gain, shift = (parameters.operands[f"{name}.norm.{leaf}"].numpy() for leaf in ("weight", "bias"))
        by_norm = (parameters.gradients[f"{name}.norm.{leaf}"].numpy() for leaf in ("weight", "bias"))
        running = [parameters.running[f"{name}.norm.running_{leaf}"].numpy() for leaf in ("mean", "var")]
        normal, out, inverse_sd = self._normal.numpy(), self.out.numpy(), np.empty(n_units, dtype=f32)
        momentum = f32(config.norm_momentum)
        threshold = round(dropout_rate * 2**16)
        # 16 random bits per unit, four units to a word; without dropout none
        self._n_words = -(-n_cells * n_units // 4) if threshold else 0
        self._evaluate = (normal, gain, shift, _NORM_EPS, *running, out)
        self._train = (normal, gain, shift, _NORM_EPS, *running, out, momentum, inverse_sd, threshold)
        self._backward = (normal, out, gain, inverse_sd, threshold, self.by_out.numpy(), *by_norm)

    def forward(self, noise: np.random.Generator | None) -> None:
        """The output; ``noise`` silences units in training mode, there is none in evaluation mode."""
        (x, weight), *covariates = self._terms
        torch.mm(x, weight, out=self._product)
        for x, weight in covariates:
            self._product.addmm_(x, weight)
        if self._normal is not self._product:
            self._normal.copy_(self._product)
        if noise is None:
            kernels.normalise_by(*self._evaluate)
        else:
            bits = noise.bit_generator.random_raw(self._n_words).view(np.uint16)
            kernels.normalise(*self._train, bits)

    def backward(self) -> None:
        """From the gradient by the output to that by the weights and by the input."""
        kernels.normalise_backward(*self._backward)
        by_product = self.by_out if self._normal is self._product else self._product.copy_(self.by_out)
        for x, by_weight in self._by_terms:
            torch.mm(x, by_product, out=by_weight)
        if self._by_x is not None:
            torch.mm(by_product, self._x_weight, out=self._by_x)


class _Head:
    """An affine map to a few dimensions."""

    def __init__(self, parameters: Parameters, name: str, x: Tensor) -> None:
        names = f"{name}.weight", f"{name}.bias"
        self._weight, self._bias = (parameters.operands[leaf] for leaf in names)
        self._by_weight, self.by_bias = (parameters.gradients[leaf] for leaf in names)
        self.out = torch.empty(len(x), self._weight.shape[1])
        self._x, self._x_t, self._weight_t = x, x.t(), self._weight.t()

    def forward(self) -> None:
        torch.addmm(self._bias, self._x, self._weight, out=self.out)

    def backward(self, by_x: Tensor, *, add: bool) -> None:
        """From the gradient by the output, which has taken its place, to ``by_x``, perhaps in addition."""
        torch.mm(self._x_t, self.out, out=self._by_weight)
        by_x.addmm_(self.out, self._weight_t, beta=int(add))


class _Output:
    """A linear map to one number per gene; its bias is left to the likelihood."""

    def __init__(self, parameters: Parameters, name: str, hidden: Tensor) -> None:
        weight, self._by_weight = (
            where[f"{name}.weight"] for where in (parameters.operands, parameters.gradients)
        )
        bias, by_bias = (
            where[f"{name}.bias"].numpy()[0] for where in (parameters.operands, parameters.gradients)
        )
        self.values = torch.empty(len(hidden), weight.shape[1], dtype=weight.dtype)
        self.arrays = as_array(self.values), bias, by_bias
        self._hidden, self._hidden_t, self._weight, self._weight_t = hidden, hidden.t(), weight, weight.t()

    def no_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What stands for an output that the model does not have: no cells, and biases that nobody reads."""
        values, bias, by_bias = self.arrays
        return values[:0], np.zeros_like(bias), np.zeros_like(by_bias)

    def forward(self) -> None:
        torch.mm(self._hidden, self._weight, out=self.values)

    def backward(self, by_hidden: Tensor, *, add: bool) -> None:
        """From the gradient by the values, which has taken their place; see `_Head.backward`."""
        torch.mm(self._hidden_t, self.values, out=self._by_weight)
        if add:  # in bfloat16, addmm is slow
            by_hidden += torch.mm(self.values, self._weight_t)
        else:
            torch.mm(self.values, self._weight_t, out=by_hidden)


class _GeneDispersion:
    """Log inverse dispersions that are parameters, (T, G): one row for all cells, or one per batch."""

    output: _Output | None = None

    def __init__(self, parameters: Parameters, hidden: Tensor) -> None:
        self.log_theta = parameters.operands["log_theta"].numpy()
        self.by_log_theta = parameters.gradients["log_theta"].numpy()
        self._row = np.zeros(len(hidden), dtype=np.int64)

    def row(self, group: np.ndarray) -> np.ndarray:
        """Which row is a cell's."""
        return self._row

    def forward(self) -> None:
        """Nothing to be done: they are parameters."""

    def backward(self) -> None:
        """Likewise."""


class _BatchDispersion(_GeneDispersion):
    """One row per batch of cells."""

    def row(self, group: np.ndarray) -> np.ndarray:
        return group


class _CellDispersion(_GeneDispersion):
    """Log inverse dispersions that the network gives, (B, G): one row per cell."""

    def __init__(self, parameters: Parameters, hidden: Tensor) -> None:
        self.output = _Output(parameters, "dispersion", hidden)
        self._single = torch.empty(2, *self.output.values.shape)
        self.log_theta, self.by_log_theta = self._single.numpy()
        self._row = np.arange(len(hidden))

    def forward(self) -> None:
        """The network's output with its bias."""
        assert self.output is not None
        _, bias, _ = self.output.arrays
        self._single[0] = self.output.values
        self.log_theta += bias

    def backward(self) -> None:
        """The gradient goes to where the output was."""
        assert self.output is not None
        _, _, by_bias = self.output.arrays
        self.by_log_theta.sum(0, out=by_bias)
        self.output.values.copy_(self._single[1])


_DISPERSIONS = {"gene": _GeneDispersion, "gene-batch": _BatchDispersion, "gene-cell": _CellDispersion}


def as_array(tensor: Tensor) -> np.ndarray:
    """A tensor's memory as an array; bfloat16 as uint16."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()
