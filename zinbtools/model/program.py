"""One training step of one replicate, written out: the mean ELBO of a minibatch and its gradient.

Between the matrix products, which are torch's, stand the compiled passes of `kernels.network` and
`kernels.training`. The model is that of `vae.CountVAE`, whose names the parameters have here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..kernels import network as kernels
from ..kernels.network import Norm, NormGradient, Prior
from ..kernels.rows import Dispersion, Rows
from ..kernels.single import f32
from ..kernels.training import Gradient, Minibatch, log_likelihood, working_space
from .config import FitConfig
from .data import CountData
from .layers import NORM_EPS, SLOW_MKL
from .vae import MIN_VARIANCE

_SPARSE = 0.2  # share of positive counts below which products that pass over zeros are faster
_SMALL = 2**20 if SLOW_MKL else 0  # multiplications of a product below which numpy is faster than torch
_MIN_VARIANCE, _NORM_EPS = f32(MIN_VARIANCE), f32(NORM_EPS)


# Layers that read the same input are one layer, side by side.
_JOINT = {
    "first": ("encoder.blocks.0", "library_encoder.blocks.0"),
    "encoder.moments": ("encoder.mean", "encoder.log_variance"),
    "library_encoder.moments": ("library_encoder.mean", "library_encoder.log_variance"),
    "outputs": ("scale", "dropout", "dispersion"),
}


class Parameters(NamedTuple):
    """By joint name: what products and kernels read, where gradients go, batch norm's running moments.

    Operands and gradients of one parameter are both float32 or both bfloat16.
    """

    operands: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    running: Mapping[str, Tensor]


def side_by_side(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join a replicate's tensors by joint name, those of a joint layer in one."""
    parts: dict[str, list[Tensor]] = {}
    for name, value in values.items():
        parts.setdefault(_joint_name(name), []).append(value)
    return {name: torch.cat(several, -1) for name, several in parts.items()}


def apart(joint: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `side_by_side`, without a copy; ``like`` has the names, order and shapes."""
    values, start = {}, dict.fromkeys(joint, 0)
    for name, value in like.items():
        whole, width = _joint_name(name), value.shape[-1]
        values[name] = joint[whole].narrow(-1, start[whole], width)
        start[whole] += width
    return values


def _joint_name(name: str) -> str:
    for joint, layers in _JOINT.items():
        for layer in layers:
            if name.startswith(f"{layer}."):
                return joint + name.removeprefix(layer)
    return name


class ArrayData:
    """The data as arrays, which kernels read."""

    def __init__(self, data: CountData) -> None:
        self._data = data
        self.log_library = data.log_library.float().numpy()
        self.group = data.group.numpy()
        self.covariates = data.covariates
        self.n_genes, self.density = data.n_genes, data.density

    def rows(self, cells: np.ndarray) -> tuple[Rows, np.ndarray]:
        """Read rows with these cells among them; return the rows and where each cell is."""
        stored, places = self._data.rows(torch.from_numpy(cells))
        return stored.single_arrays, places.numpy()

    def chunks(self, cells: Tensor, size: int) -> Iterator[np.ndarray]:
        """Yield the cells in order, ``size`` at a time."""
        return (chunk.numpy() for chunk in self._data.ahead(cells.split(size)))


class Program:
    """The mean ELBO of a minibatch of B cells, and the gradient of its negative.

    The layers are wired once: each knows the arrays that it reads and writes.
    """

    def __init__(
        self,
        config: FitConfig,
        data: ArrayData,
        parameters: Parameters,
        library_prior: Prior,
        n_cells: int,
        *,
        zero_inflated: bool,
    ) -> None:
        self._data, self._share = data, f32(1 / n_cells)
        self._normal_prior = Prior(np.zeros(n_cells, dtype=f32), np.ones(n_cells, dtype=f32))
        self._library_prior = library_prior
        wide = parameters.operands["outputs.weight"].dtype
        first = _SparseFirst if data.density < _SPARSE else _First
        self._first = first(config, parameters, n_cells, data.n_genes)
        self._covariates = torch.empty(n_cells, data.covariates.shape[1])
        halves = list(
            zip(*(x.split(config.n_hidden, 1) for x in (self._first.out, self._first.by_out)), strict=True)
        )
        self._encoder = _Encoder(config, parameters, "encoder", config.n_layers, *halves[0])
        self._library = (
            _Encoder(config, parameters, "library_encoder", 1, *halves[1])
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
        self._outputs = _OutputLayers(parameters, self._hidden, self._by_hidden)
        self._dispersion = _DISPERSIONS[config.dispersion](parameters, self._outputs, data.n_genes)
        self._inflated, self._normalised = zero_inflated, config.library != "size_factor"
        by_library = (
            np.empty(n_cells, dtype=f32) if self._library is None else self._library.by_draw.numpy()[:, 0]
        )
        self._gradient = Gradient(
            -self._share, self._outputs.by_bias, self._dispersion.by_log_theta, by_library
        )
        self._space = working_space(data.n_genes, len(self._dispersion.log_theta))

    def forward(self, cells: np.ndarray, noise: np.random.Generator, *, training: bool) -> float:
        """Compute the mean ELBO by one draw per cell; in training mode, `backward` may follow."""
        data = self._data
        group = data.group[cells]
        rows, places = data.rows(cells)
        self._first.read(rows, places)
        if data.covariates.shape[1]:
            self._covariates.copy_(data.covariates[cells])
        self._first.forward(noise, training=training)
        divergence = self._encoder.forward(noise, self._normal_prior, training=training)
        if self._library is None:
            library = data.log_library[cells]
        else:
            prior = Prior(*(moment[group] for moment in self._library_prior))
            divergence += self._library.forward(noise, prior, training=training)
            library = self._library.draw_array[:, 0]
        for block in self._decoder:
            block.forward(noise, training=training)
        if self._hidden is not self._top:
            self._hidden.copy_(self._top)
        self._outputs.forward()
        self._dispersion.forward()
        value = log_likelihood(
            rows,
            Minibatch(places, self._outputs.array, self._outputs.bias, library),
            Dispersion(self._dispersion.log_theta, self._dispersion.row(group)),
            self._gradient,
            self._space,
            self._inflated,
            self._normalised,
        )
        return (value - divergence) / len(cells)

    def backward(self) -> None:
        """Fill the gradients of the parameters."""
        self._dispersion.backward()
        self._outputs.backward()
        if self._by_hidden is not self._by_top:
            self._by_top.copy_(self._by_hidden)
        for block in reversed(self._decoder):
            block.backward()
        self._encoder.backward(self._share)
        if self._library is not None:
            self._library.backward(self._share)
        self._first.backward()


class _Encoder:
    """Hidden layers above the first, mean and log variance of the posterior, and a draw from it."""

    def __init__(
        self, config: FitConfig, parameters: Parameters, name: str, n_layers: int, x: Tensor, by_x: Tensor
    ) -> None:
        self._blocks: list[_Block] = []
        for k in range(1, n_layers):
            block = _Block(
                config, parameters, f"{name}.blocks.{k}", x, by_x, dropout_rate=config.dropout_rate
            )
            self._blocks.append(block)
            x, by_x = block.out, block.by_out
        layer = f"{name}.moments"
        weight, bias = (parameters.operands[f"{layer}.{leaf}"] for leaf in ("weight", "bias"))
        by_weight, by_bias = (parameters.gradients[f"{layer}.{leaf}"] for leaf in ("weight", "bias"))
        n_cells, n_moments = len(x), weight.shape[1]
        out = torch.empty(n_cells, n_moments)
        self._multiply = product(x, weight, out)
        self._pass_to_weight, self._pass_to_x = product(x.t(), out, by_weight), product(out, weight.t(), by_x)
        self._moments, self._bias, self._by_bias = out.numpy(), bias.numpy()[0], by_bias.numpy()[0]
        self.draw, self.by_draw = torch.empty(2, n_cells, n_moments // 2)
        self.draw_array, self._by_draw_array = self.draw.numpy(), self.by_draw.numpy()

    def forward(self, noise: np.random.Generator, prior: Prior, *, training: bool) -> float:
        """Fill ``draw``; return the summed KL divergence from the prior of each cell's mean and variance."""
        for block in self._blocks:
            block.forward(noise, training=training)
        self._multiply()
        self._noise, self._prior = noise.standard_normal(self.draw_array.shape, dtype=f32), prior
        return kernels.draw(self._moments, self._bias, self._noise, prior, _MIN_VARIANCE, self.draw_array)

    def backward(self, by_divergence: np.float32) -> None:
        """Pass the gradients by the draw, ``by_draw``, and by each cell's divergence back to the input."""
        kernels.draw_backward(
            self._moments,
            self._noise,
            self._prior,
            _MIN_VARIANCE,
            self._by_draw_array,
            by_divergence,
            self._by_bias,
        )
        self._pass_to_weight()
        self._pass_to_x()
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
        n_units = weight.shape[1]
        self._product = torch.empty(n_cells, n_units, dtype=weight.dtype)
        self._normal, self.out, self.by_out = torch.empty(3, n_cells, n_units)
        if weight.dtype == torch.float32:
            self._normal = self._product
        by_product = self.by_out if self._normal is self._product else self._product
        below, *self._added = zip(inputs, weight.split(sizes), strict=True)
        self._multiply_below = product(*below, self._product)
        self._pass_to_parts = [
            product(part.t(), by_product, by_part)
            for part, by_part in zip(inputs, by_weight.split(sizes), strict=True)
        ]
        if by_x is not None:
            self._pass_to_parts.append(product(by_product, weight[:d].t(), by_x))
        gain, shift = (parameters.operands[f"{name}.norm.{leaf}"].numpy() for leaf in ("weight", "bias"))
        by_gain, by_shift = (
            parameters.gradients[f"{name}.norm.{leaf}"].numpy() for leaf in ("weight", "bias")
        )
        mean, variance = (
            parameters.running[f"{name}.norm.running_{leaf}"].numpy() for leaf in ("mean", "var")
        )
        self._norm = Norm(gain, shift, mean, variance, _NORM_EPS, f32(config.norm_momentum))
        self._by_norm = NormGradient(by_gain, by_shift)
        self._normal_array, self._out_array = self._normal.numpy(), self.out.numpy()
        self._by_out_array, self._inverse_sd = self.by_out.numpy(), np.empty(n_units, dtype=f32)
        self._threshold = round(dropout_rate * 2**16)
        # 16 random bits per unit, four units to a word; without dropout none
        self._n_words = -(-n_cells * n_units // 4) if self._threshold else 0

    def forward(self, noise: np.random.Generator, *, training: bool) -> None:
        """Compute the output; ``noise`` silences units in training mode."""
        self._multiply()
        if training:
            bits = noise.bit_generator.random_raw(self._n_words).view(np.uint16)
            kernels.normalise(
                self._normal_array, self._norm, self._threshold, bits, self._inverse_sd, self._out_array
            )
        else:
            kernels.normalise_by(self._normal_array, self._norm, self._out_array)

    def backward(self) -> None:
        """Pass the gradient by the output back to the weights and to the input."""
        kernels.normalise_backward(
            self._normal_array,
            self._out_array,
            self._norm.gain,
            self._inverse_sd,
            self._threshold,
            self._by_out_array,
            self._by_norm,
        )
        self._pass_on()

    def _multiply(self) -> None:
        """Put the product of input and weights where it is normalised."""
        self._multiply_below()
        for x, weight in self._added:
            self._product.addmm_(x, weight)
        if self._normal is not self._product:
            self._normal.copy_(self._product)

    def _pass_on(self) -> None:
        """Pass the gradient by the product, ``by_out``, back to the weights and to the input."""
        if self._normal is not self._product:
            self._product.copy_(self.by_out)
        for pass_to_part in self._pass_to_parts:
            pass_to_part()


class _First(_Block):
    """The block that reads ``log(1 + x)``, written out as a matrix."""

    def __init__(self, config: FitConfig, parameters: Parameters, n_cells: int, n_genes: int) -> None:
        x = torch.empty(n_cells, n_genes, dtype=parameters.operands["first.linear.weight"].dtype)
        super().__init__(config, parameters, "first", x, None, dropout_rate=config.dropout_rate)
        self._x = as_array(x)

    def read(self, rows: Rows, cells: np.ndarray) -> None:
        """Take the input from these rows."""
        kernels.gather(rows, cells, self._x)


class _SparseFirst(_First):
    """The same by products that pass over zeros."""

    def __init__(self, config: FitConfig, parameters: Parameters, n_cells: int, n_genes: int) -> None:
        super().__init__(config, parameters, n_cells, n_genes)
        self._weight, self._by_weight = (
            as_array(of["first.linear.weight"]) for of in (parameters.operands, parameters.gradients)
        )
        places, values = np.empty(n_cells * n_genes, dtype=np.int32), np.empty(n_cells * n_genes, dtype=f32)
        self._by_gene = kernels.ByGene(np.empty(n_genes + 1, dtype=np.int64), places, values)

    def read(self, rows: Rows, cells: np.ndarray) -> None:
        self._rows, self._cells = rows, cells

    def _multiply(self) -> None:
        kernels.multiply(self._rows, self._cells, self._weight, self._normal_array)

    def _pass_on(self) -> None:
        kernels.gather_by_gene(self._rows, self._cells, self._by_gene)
        kernels.multiply_transposed(self._by_gene, self._by_out_array, self._by_weight)


class _OutputLayers:
    """Linear maps to numbers per gene, side by side; their biases are left to the likelihood."""

    def __init__(self, parameters: Parameters, hidden: Tensor, by_hidden: Tensor) -> None:
        weight, by_weight = (where["outputs.weight"] for where in (parameters.operands, parameters.gradients))
        self.bias, self.by_bias = (
            where["outputs.bias"].numpy()[0] for where in (parameters.operands, parameters.gradients)
        )
        self.values = torch.empty(len(hidden), weight.shape[1], dtype=weight.dtype)
        self.array = as_array(self.values)
        self.forward = product(hidden, weight, self.values)
        self._pass_to_weight = product(hidden.t(), self.values, by_weight)
        self._pass_to_hidden = product(self.values, weight.t(), by_hidden)

    def backward(self) -> None:
        """Pass the gradient by the values, which has taken their place, back to weights and input."""
        self._pass_to_weight()
        self._pass_to_hidden()


class _GeneDispersion:
    """Log inverse dispersions that are parameters, (T, G): one row for all cells, or one per batch."""

    def __init__(self, parameters: Parameters, outputs: _OutputLayers, n_genes: int) -> None:
        self.log_theta = parameters.operands["log_theta"].numpy()
        self.by_log_theta = parameters.gradients["log_theta"].numpy()
        self._row = np.zeros(len(outputs.values), dtype=np.int64)

    def row(self, group: np.ndarray) -> np.ndarray:
        """Return which row is a cell's."""
        return self._row

    def forward(self) -> None:
        """Do nothing: they are parameters."""

    def backward(self) -> None:
        """Do nothing: the likelihood gives the gradient by them."""


class _BatchDispersion(_GeneDispersion):
    """One row per batch of cells."""

    def row(self, group: np.ndarray) -> np.ndarray:
        return group


class _NoDispersion(_GeneDispersion):
    """A constant row; the gradient goes nowhere."""

    def __init__(self, parameters: Parameters, outputs: _OutputLayers, n_genes: int) -> None:
        self.log_theta = parameters.running["log_theta"].numpy()
        self.by_log_theta = np.empty_like(self.log_theta)
        self._row = np.zeros(len(outputs.values), dtype=np.int64)


class _CellDispersion(_GeneDispersion):
    """Log inverse dispersions that the network gives as its last outputs, (B, G): one row per cell."""

    def __init__(self, parameters: Parameters, outputs: _OutputLayers, n_genes: int) -> None:
        n_cells = len(outputs.values)
        self._values = outputs.values[:, -n_genes:]
        self._bias, self._by_bias = outputs.bias[-n_genes:], outputs.by_bias[-n_genes:]
        self._single = torch.empty(2, n_cells, n_genes)
        self.log_theta, self.by_log_theta = self._single.numpy()
        self._row = np.arange(n_cells)

    def forward(self) -> None:
        """Add the bias to the network's output."""
        self._single[0] = self._values
        self.log_theta += self._bias

    def backward(self) -> None:
        """Put the gradient where the output was."""
        self.by_log_theta.sum(0, out=self._by_bias)
        self._values.copy_(self._single[1])


_DISPERSIONS = {
    "gene": _GeneDispersion,
    "gene-batch": _BatchDispersion,
    "gene-cell": _CellDispersion,
    "none": _NoDispersion,
}


def product(x: Tensor, y: Tensor, out: Tensor) -> Callable[[], object]:
    """Return what puts ``x @ y`` in its place, now and whenever the operands have changed."""
    if out.dtype == torch.float32 and x.shape[1] * out.numel() < _SMALL:
        return partial(np.matmul, x.numpy(), y.numpy(), out.numpy())
    return partial(torch.mm, x, y, out=out)


def as_array(tensor: Tensor) -> np.ndarray:
    """View a tensor's memory as an array; bfloat16 as uint16."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()
