"""One training step of R replicates, written out: the mean ELBO of a minibatch each, and its gradient.

A matrix product is made for all replicates at once; between products, the compiled passes of
`kernels.network` and `kernels.training` take one replicate after the other. The model is that of
`vae.CountVAE`, whose names the parameters have here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from .layers import NORM_EPS
from .products import as_array, product, stacked
from .vae import MIN_VARIANCE

_SPARSE = 0.2  # share of positive counts below which products that pass over zeros are faster
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

    Each has a leading axis R. Operands and gradients of one parameter are both float32 or both bfloat16.
    """

    operands: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    running: Mapping[str, Tensor]


def side_by_side(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join tensors by joint name, those of a joint layer in one."""
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
    """The mean ELBO of a minibatch of B cells of each of R replicates, and the gradient of its negative.

    The layers are wired once: each knows the arrays that it reads and writes, which have a leading axis R.
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
        weight = parameters.operands["outputs.weight"]
        n_replicates, wide = len(weight), weight.dtype
        first = _SparseFirst if data.density < _SPARSE else _First
        self._first = first(config, parameters, n_cells, data.n_genes)
        self._covariates = stacked(n_replicates, n_cells, data.covariates.shape[1])
        halves = list(
            zip(*(x.split(config.n_hidden, -1) for x in (self._first.out, self._first.by_out)), strict=True)
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
            np.empty((n_replicates, n_cells), dtype=f32)
            if self._library is None
            else self._library.by_draw.numpy()[:, :, 0]
        )
        by_outputs = zip(self._outputs.by_bias, self._dispersion.by_log_theta, by_library, strict=True)
        self._gradients = [Gradient(-self._share, *own) for own in by_outputs]
        self._space = working_space(data.n_genes, self._dispersion.log_theta.shape[1])

    def forward(
        self, cells: Sequence[np.ndarray], noise: Sequence[np.random.Generator], *, training: bool
    ) -> list[float]:
        """Compute each replicate's mean ELBO over its B cells, by one draw per cell and by noise of its own.

        In training mode, `backward` may follow.
        """
        data = self._data
        groups = [data.group[own] for own in cells]
        found = [data.rows(own) for own in cells]
        self._first.read(found)
        if data.covariates.shape[1]:
            for covariates, own in zip(self._covariates, cells, strict=True):
                covariates.copy_(data.covariates[own])
        self._first.forward(noise, training=training)
        divergences = self._encoder.forward(noise, [self._normal_prior] * len(cells), training=training)
        if self._library is None:
            libraries = [data.log_library[own] for own in cells]
        else:
            priors = [Prior(*(moment[group] for moment in self._library_prior)) for group in groups]
            of_library = self._library.forward(noise, priors, training=training)
            divergences = [a + b for a, b in zip(divergences, of_library, strict=True)]
            libraries = list(self._library.draw_array[:, :, 0])
        for block in self._decoder:
            block.forward(noise, training=training)
        if self._hidden is not self._top:
            self._hidden.copy_(self._top)
        self._outputs.forward()
        self._dispersion.forward()
        elbos = []
        for r, (rows, places) in enumerate(found):
            value = log_likelihood(
                rows,
                Minibatch(places, self._outputs.array[r], self._outputs.bias[r], libraries[r]),
                Dispersion(self._dispersion.log_theta[r], self._dispersion.row(groups[r])),
                self._gradients[r],
                self._space,
                self._inflated,
                self._normalised,
            )
            elbos.append((value - divergences[r]) / len(places))
        return elbos

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


class _Gaussians(NamedTuple):
    """One replicate's moments of the posterior, what makes them, and the draw, as arrays."""

    moments: np.ndarray
    bias: np.ndarray
    by_bias: np.ndarray
    noise: np.ndarray
    draw: np.ndarray
    by_draw: np.ndarray


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
        n_replicates, n_cells, n_moments = len(x), x.shape[1], weight.shape[2]
        out = stacked(n_replicates, n_cells, n_moments)
        self._multiply = product(x, weight, out)
        self._pass_to_weight, self._pass_to_x = product(x.mT, out, by_weight), product(out, weight.mT, by_x)
        noise, self.draw, self.by_draw = (stacked(n_replicates, n_cells, n_moments // 2) for _ in range(3))
        self.draw_array = self.draw.numpy()
        arrays = (out, bias[:, 0], by_bias[:, 0], noise, self.draw, self.by_draw)
        self._each = [_Gaussians(*own) for own in zip(*(array.numpy() for array in arrays), strict=True)]

    def forward(
        self, noise: Sequence[np.random.Generator], priors: Sequence[Prior], *, training: bool
    ) -> list[float]:
        """Fill ``draw``; return each replicate's summed KL divergence from the priors of its cells."""
        for block in self._blocks:
            block.forward(noise, training=training)
        self._multiply()
        self._priors, divergences = priors, []
        for own, stream, prior in zip(self._each, noise, priors, strict=True):
            stream.standard_normal(dtype=f32, out=own.noise)
            divergences.append(kernels.draw(own.moments, own.bias, own.noise, prior, _MIN_VARIANCE, own.draw))
        return divergences

    def backward(self, by_divergence: np.float32) -> None:
        """Pass the gradients by the draw, ``by_draw``, and by each cell's divergence back to the input."""
        for own, prior in zip(self._each, self._priors, strict=True):
            kernels.draw_backward(
                own.moments, own.noise, prior, _MIN_VARIANCE, own.by_draw, by_divergence, own.by_bias
            )
        self._pass_to_weight()
        self._pass_to_x()
        for block in reversed(self._blocks):
            block.backward()


class _Units(NamedTuple):
    """One replicate's hidden units of a block, as arrays."""

    normal: np.ndarray
    out: np.ndarray
    by_out: np.ndarray
    inverse_sd: np.ndarray
    norm: Norm
    by_norm: NormGradient


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
        n_replicates, n_cells, d = x.shape
        # columns of the input that come from below, and covariates
        inputs = [x] if covariates is None or not covariates.shape[2] else [x, covariates]
        sizes = [part.shape[2] for part in inputs]
        n_units = weight.shape[2]
        self._product = stacked(n_replicates, n_cells, n_units, dtype=weight.dtype)
        self._normal, self.out, self.by_out = (stacked(*self._product.shape) for _ in range(3))
        if weight.dtype == torch.float32:
            self._normal = self._product
        by_product = self.by_out if self._normal is self._product else self._product
        below, *self._added = zip(inputs, weight.split(sizes, 1), strict=True)
        self._multiply_below = product(*below, self._product)
        self._pass_to_parts = [
            product(part.mT, by_product, by_part)
            for part, by_part in zip(inputs, by_weight.split(sizes, 1), strict=True)
        ]
        if by_x is not None:
            self._pass_to_parts.append(product(by_product, weight[:, :d].mT, by_x))
        gain, shift = (parameters.operands[f"{name}.norm.{leaf}"].numpy() for leaf in ("weight", "bias"))
        by_gain, by_shift = (
            parameters.gradients[f"{name}.norm.{leaf}"].numpy() for leaf in ("weight", "bias")
        )
        mean, variance = (
            parameters.running[f"{name}.norm.running_{leaf}"].numpy() for leaf in ("mean", "var")
        )
        eps, momentum = _NORM_EPS, f32(config.norm_momentum)
        self._each = [
            _Units(
                self._normal[r].numpy(),
                self.out[r].numpy(),
                self.by_out[r].numpy(),
                np.empty(n_units, dtype=f32),
                Norm(gain[r], shift[r], mean[r], variance[r], eps, momentum),
                NormGradient(by_gain[r], by_shift[r]),
            )
            for r in range(n_replicates)
        ]
        self._threshold = round(dropout_rate * 2**16)
        # 16 random bits per unit, four units to a word; without dropout none
        self._n_words = -(-n_cells * n_units // 4) if self._threshold else 0

    def forward(self, noise: Sequence[np.random.Generator], *, training: bool) -> None:
        """Compute the output; ``noise`` silences units in training mode."""
        self._multiply()
        for own, stream in zip(self._each, noise, strict=True):
            if training:
                bits = stream.bit_generator.random_raw(self._n_words).view(np.uint16)
                kernels.normalise(own.normal, own.norm, self._threshold, bits, own.inverse_sd, own.out)
            else:
                kernels.normalise_by(own.normal, own.norm, own.out)

    def backward(self) -> None:
        """Pass the gradient by the output back to the weights and to the input."""
        for own in self._each:
            kernels.normalise_backward(
                own.normal, own.out, own.norm.gain, own.inverse_sd, self._threshold, own.by_out, own.by_norm
            )
        self._pass_on()

    def _multiply(self) -> None:
        """Put the product of input and weights where it is normalised."""
        self._multiply_below()
        for x, weight in self._added:
            for total, *factors in zip(self._product, x, weight, strict=True):
                total.addmm_(*factors)
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
        weight = parameters.operands["first.linear.weight"]
        x = stacked(len(weight), n_cells, n_genes, dtype=weight.dtype)
        super().__init__(config, parameters, "first", x, None, dropout_rate=config.dropout_rate)
        self._x = as_array(x)

    def read(self, found: Sequence[tuple[Rows, np.ndarray]]) -> None:
        """Take the input from these rows, each replicate from its own."""
        for (rows, cells), x in zip(found, self._x, strict=True):
            kernels.gather(rows, cells, x)


class _SparseFirst(_First):
    """The same by products that pass over zeros."""

    def __init__(self, config: FitConfig, parameters: Parameters, n_cells: int, n_genes: int) -> None:
        super().__init__(config, parameters, n_cells, n_genes)
        self._weight, self._by_weight = (
            as_array(of["first.linear.weight"]) for of in (parameters.operands, parameters.gradients)
        )
        places, values = np.empty(n_cells * n_genes, dtype=np.int32), np.empty(n_cells * n_genes, dtype=f32)
        self._by_gene = kernels.ByGene(np.empty(n_genes + 1, dtype=np.int64), places, values)

    def read(self, found: Sequence[tuple[Rows, np.ndarray]]) -> None:
        self._found = found

    def _multiply(self) -> None:
        for (rows, cells), weight, own in zip(self._found, self._weight, self._each, strict=True):
            kernels.multiply(rows, cells, weight, own.normal)

    def _pass_on(self) -> None:
        for (rows, cells), by_weight, own in zip(self._found, self._by_weight, self._each, strict=True):
            kernels.gather_by_gene(rows, cells, self._by_gene)
            kernels.multiply_transposed(self._by_gene, own.by_out, by_weight)


class _OutputLayers:
    """Linear maps to numbers per gene, side by side; their biases are left to the likelihood."""

    def __init__(self, parameters: Parameters, hidden: Tensor, by_hidden: Tensor) -> None:
        weight, by_weight = (where["outputs.weight"] for where in (parameters.operands, parameters.gradients))
        self.bias, self.by_bias = (
            where["outputs.bias"].numpy()[:, 0] for where in (parameters.operands, parameters.gradients)
        )
        self.values = stacked(*hidden.shape[:2], weight.shape[2], dtype=weight.dtype)
        self.array = as_array(self.values)
        self.forward = product(hidden, weight, self.values)
        self._pass_to_weight = product(hidden.mT, self.values, by_weight)
        self._pass_to_hidden = product(self.values, weight.mT, by_hidden)

    def backward(self) -> None:
        """Pass the gradient by the values, which has taken their place, back to weights and input."""
        self._pass_to_weight()
        self._pass_to_hidden()


class _GeneDispersion:
    """Log inverse dispersions that are parameters, (R, T, G): one row for all cells, or one per batch."""

    def __init__(self, parameters: Parameters, outputs: _OutputLayers, n_genes: int) -> None:
        self.log_theta = parameters.operands["log_theta"].numpy()
        self.by_log_theta = parameters.gradients["log_theta"].numpy()
        self._row = np.zeros(outputs.values.shape[1], dtype=np.int64)

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
        self._row = np.zeros(outputs.values.shape[1], dtype=np.int64)


class _CellDispersion(_GeneDispersion):
    """Log inverse dispersions that the network gives as its last outputs, (R, B, G): one row per cell."""

    def __init__(self, parameters: Parameters, outputs: _OutputLayers, n_genes: int) -> None:
        self._values = outputs.values[:, :, -n_genes:]
        self._bias, self._by_bias = outputs.bias[:, -n_genes:], outputs.by_bias[:, -n_genes:]
        self._single = torch.empty(2, *self._values.shape)
        self.log_theta, self.by_log_theta = self._single.numpy()
        self._row = np.arange(self._values.shape[1])

    def forward(self) -> None:
        """Add the bias to the network's output."""
        self._single[0] = self._values
        self.log_theta += self._bias[:, None]

    def backward(self) -> None:
        """Put the gradient where the output was."""
        self.by_log_theta.sum(1, out=self._by_bias)
        self._values.copy_(self._single[1])


_DISPERSIONS = {
    "gene": _GeneDispersion,
    "gene-batch": _BatchDispersion,
    "gene-cell": _CellDispersion,
    "none": _NoDispersion,
}
