"""The likelihood of many latent states of a few cells, on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..kernels.evaluation import States, fixed_terms, log_likelihoods, working_space
from ..kernels.rows import Dispersion
from .data import Batch, CountData
from .layers import Linear, side_by_side
from .products import affine, unpadded
from .vae import CountVAE

ROWS = 1024  # of a product, at most
_ENTRIES = 2**17  # rows times genes, at most


class CompiledLikelihood:
    """Log likelihoods of many states of some cells, by kernels that read the counts from the data."""

    def __init__(self, model: CountVAE, data: CountData, cells: Tensor, batch: Batch) -> None:
        self._model, self._covariates = model, batch.covariates
        rows, places = data.rows(cells)
        self._rows, self._places = rows.arrays, places.numpy()
        self._at_once = unpadded(max(1, min(ROWS, _ENTRIES // data.n_genes)))
        inflated = [] if model.dropout is None else [model.dropout]
        self._outputs = _SideBySide([model.scale, *inflated], self._at_once)
        self._log_theta = None if model.dispersion is None else _SideBySide([model.dispersion], self._at_once)
        self._shared = None
        if model.log_theta is None:
            self._space = working_space(data.n_genes, self._at_once)
        else:
            log_theta = model.log_theta[0].numpy(force=True)
            row = (batch.group if model.config.dispersion == "gene-batch" else 0 * batch.group).numpy()
            self._space = working_space(data.n_genes, len(log_theta))
            shared = Dispersion(log_theta, row)
            self._shared = shared, self._fixed_terms(self._places, shared)

    def __call__(self, z: Tensor, library: Tensor, among: Tensor) -> Tensor:
        """Compute them for M states, (1, M, n_latent) and (1, M, 1), of the cells at places ``among``."""
        every_cell, normalised = among.numpy(), self._model.config.library != "size_factor"
        hidden = self._model.decode_hidden(z, self._covariates[among])[0]
        log_library, values = np.ascontiguousarray(library[0, :, 0].numpy()), np.empty(len(among))
        for start in range(0, len(among), self._at_once):
            here = slice(start, start + self._at_once)
            cells, of_cells = every_cell[here], hidden[here]
            dispersion, fixed = self._dispersions(cells, of_cells)
            states = States(self._places[cells], self._outputs(of_cells), log_library[here])
            log_likelihoods(self._rows, states, dispersion, fixed, normalised, self._space, values[here])
        return torch.from_numpy(values)

    def _dispersions(self, cells: np.ndarray, hidden: Tensor) -> tuple[Dispersion, np.ndarray]:
        """Return the inverse dispersions of some states, and the fixed terms of their log likelihoods."""
        if self._shared is not None:
            (log_theta, row), fixed = self._shared
            return Dispersion(log_theta, row[cells]), fixed[cells]
        assert self._log_theta is not None
        dispersion = Dispersion(self._log_theta(hidden), np.arange(len(cells)))
        return dispersion, self._fixed_terms(self._places[cells], dispersion)

    def _fixed_terms(self, places: np.ndarray, dispersion: Dispersion) -> np.ndarray:
        values = np.empty(len(places))
        fixed_terms(self._rows, places, dispersion, self._space, values)
        return values


class _SideBySide:
    """Output layers as one, which writes to the same memory: new memory would not be in the cache."""

    def __init__(self, layers: Sequence[Linear], n_rows: int) -> None:
        self._weight, self._bias = side_by_side(layers)
        self._out = torch.empty(n_rows, len(self._bias), dtype=self._bias.dtype)

    def __call__(self, hidden: Tensor) -> np.ndarray:
        return affine(hidden, self._weight, self._bias, self._out[: len(hidden)]).numpy()
