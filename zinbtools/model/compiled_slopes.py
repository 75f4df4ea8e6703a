"""The gradient of the likelihood by the latent state, on a CPU, in single precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..kernels.rows import Dispersion
from ..kernels.single import f32
from ..kernels.training import Gradient, Minibatch, log_likelihood, working_space
from .data import CountData
from .layers import Block, side_by_side
from .products import multiply
from .vae import CountVAE


class CompiledSlopes:
    """Gradients by the states of some cells, by the kernel of a training step and, through layers, by hand.

    Parameters
    ----------
    model
        One replicate in evaluation mode, in single precision.
    data
        The counts.
    """

    def __init__(self, model: CountVAE, data: CountData) -> None:
        self._model, self._data = model, data
        layers = [layer for layer in (model.scale, model.dropout, model.dispersion) if layer is not None]
        self._weight, bias = side_by_side(layers)
        self._bias = bias.numpy()
        self._by_bias = np.empty_like(self._bias)
        self._normalised = model.config.library != "size_factor"

    def __call__(self, cells: Tensor, state: Tensor) -> Tensor:
        """Compute them, (B, D), of B cells, by index, in double precision as the states are."""
        model, n_latent = self._model, self._model.config.n_latent
        single = state.to(self._weight.dtype)
        x, covariates = single[:, :n_latent], self._data.covariates[cells]
        passed: list[tuple[Tensor, Tensor]] = []  # what a gradient is multiplied by on its way back
        for block in model.decoder:
            assert isinstance(block, Block)
            (hidden,), gain, (positive,) = block.linearised(torch.cat([x, covariates], 1)[None])
            passed.append((gain * positive, block.linear.weight[0, : x.shape[1]]))
            x = hidden
        outputs = multiply(x, self._weight)
        if model.library_encoder is None:
            library = self._data.log_library[cells].to(single.dtype)
        else:
            library = single[:, n_latent].contiguous()
        by_library = self._follow(cells, outputs, library.numpy())
        by_x = multiply(outputs, self._weight.t())
        for factor, weight in reversed(passed):
            by_x = multiply(by_x * factor, weight.t())
        if model.library_encoder is not None:
            by_x = torch.cat([by_x, torch.from_numpy(by_library)[:, None]], 1)
        return by_x.to(state)

    def _follow(self, cells: Tensor, outputs: Tensor, library: np.ndarray) -> np.ndarray:
        """Put the gradient by the outputs in their place; return that by the library sizes, (B,)."""
        model, n_genes = self._model, self._data.n_genes
        rows, places = self._data.rows(cells)
        row = np.zeros(len(cells), dtype=np.int64)
        if model.log_theta is None:
            log_theta = (outputs[:, -n_genes:] + torch.from_numpy(self._bias[-n_genes:])).numpy()
            row = np.arange(len(cells))
        else:
            log_theta = model.log_theta[0].numpy()
            if model.config.dispersion == "gene-batch":
                row = self._data.group[cells].numpy()
        by_log_theta, by_library = np.empty_like(log_theta), np.empty(len(cells), dtype=f32)
        log_likelihood(
            rows.single_arrays,
            Minibatch(places.numpy(), outputs.numpy(), self._bias, library),
            Dispersion(log_theta, row),
            Gradient(f32(1), self._by_bias, by_log_theta, by_library),
            working_space(n_genes, len(log_theta)),
            model.dropout is not None,
            self._normalised,
        )
        if model.log_theta is None:
            outputs[:, -n_genes:] = torch.from_numpy(by_log_theta)
        return by_library
