"""The elementwise passes of a training step, compiled: what lies between two matrix products is one loop.

Arrays are float32; those that products read or write may be uint16 that holds the bits of bfloat16 instead.
B cells, G genes, H units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .double import wide_vectors
from .row_sums import add_rows
from .rows import Rows
from .single import compiled, exp, f32, inlined, load, log, log1p, store, whole_vectors

_AT_ONCE = 1024  # parameters that Adam works on together: they stay in the nearest cache


class Norm(NamedTuple):
    """Gain and shift of a batch normalisation, (H,), its running moments, (H,), and how fast they move."""

    gain: np.ndarray
    shift: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    eps: np.float32
    momentum: np.float32


class NormGradient(NamedTuple):
    """The gradient by gain and shift, (H,)."""

    by_gain: np.ndarray
    by_shift: np.ndarray


class Prior(NamedTuple):
    """Mean and variance of each cell's Gaussian prior, (B,); the same in all dimensions."""

    mean: np.ndarray
    variance: np.ndarray


class Weights(NamedTuple):
    """Parameters, their gradients, Adam's two moments, and the parameters in bfloat16, or nothing."""

    values: np.ndarray
    gradients: np.ndarray
    first: np.ndarray
    second: np.ndarray
    halves: np.ndarray


@compiled
def gather(rows: Rows, cells: np.ndarray, out: np.ndarray) -> None:
    """Write ``log(1 + x)`` of some rows of a sparse matrix as a dense one, (B, G)."""
    wide_vectors()
    starts, genes, counts, _ = rows
    values = np.zeros(whole_vectors(out.shape[1]), dtype=np.float32)
    for b in range(cells.size):
        start, n = starts[cells[b]], starts[cells[b] + 1] - starts[cells[b]]
        for i in range(n):
            values[i] = counts[start + i]
        for i in range(whole_vectors(n)):
            values[i] = log1p(values[i])
        row = out[b]
        row[:] = 0
        for i in range(n):
            store(row, genes[start + i], values[i])


class ByGene(NamedTuple):
    """``log(1 + x)`` of the positive counts of B cells, those of a gene side by side.

    Attributes
    ----------
    starts
        Where each gene starts, (G + 1,).
    cells, values
        The cell of each, from 0, and the number, (B G,) at most.
    """

    starts: np.ndarray
    cells: np.ndarray
    values: np.ndarray


@compiled
def gather_by_gene(rows: Rows, cells: np.ndarray, out: ByGene) -> None:
    """Write ``log(1 + x)`` of some rows of a sparse matrix by its columns."""
    wide_vectors()
    starts, genes, counts, _ = rows
    out.starts[:] = 0
    for b in range(cells.size):
        for i in range(starts[cells[b]], starts[cells[b] + 1]):
            out.starts[genes[i] + 1] += 1
    for g in range(1, out.starts.size):
        out.starts[g] += out.starts[g - 1]
    place = out.starts[:-1].copy()
    for b in range(cells.size):
        for i in range(starts[cells[b]], starts[cells[b] + 1]):
            g = genes[i]
            out.cells[place[g]], out.values[place[g]] = b, counts[i]
            place[g] += 1
    for i in range(out.starts[-1]):
        out.values[i] = log1p(out.values[i])


@compiled
def multiply(rows: Rows, cells: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Write ``log(1 + x) @ weight`` for some rows of a sparse matrix, (B, H)."""
    wide_vectors()
    starts, genes, counts, _ = rows
    values = np.zeros(whole_vectors(len(weight)), dtype=np.float32)
    for b in range(cells.size):
        start, n = starts[cells[b]], starts[cells[b] + 1] - starts[cells[b]]
        for i in range(n):
            values[i] = counts[start + i]
        for i in range(whole_vectors(n)):
            values[i] = log1p(values[i])
        add_rows(weight, genes[start : start + n], values, out[b])


@compiled
def multiply_transposed(x: ByGene, by_product: np.ndarray, out: np.ndarray) -> None:
    """Write ``log(1 + x)^T @ by_product``, (G, H), for ``by_product`` of shape (B, H)."""
    wide_vectors()
    total = np.empty(out.shape[1], dtype=np.float32)
    for g in range(len(out)):
        here = slice(x.starts[g], x.starts[g + 1])
        add_rows(by_product, x.cells[here], x.values[here], total)
        row = out[g]
        for h in range(total.size):
            store(row, h, total[h])


@compiled
def normalise(
    x: np.ndarray, norm: Norm, threshold: int, bits: np.ndarray, inverse_sd: np.ndarray, out: np.ndarray
) -> None:
    """Normalise over the minibatch, then ReLU and dropout; ``x``, (B, H), becomes what is normalised.

    A unit is silenced where its random ``bits``, (B H,), are below ``threshold``. Running moments move on.
    """
    gain, shift, running_mean, running_variance, eps, momentum = norm
    n_cells, n_units = x.shape
    n = f32(n_cells)
    share = f32(1) / n
    mean = np.zeros(n_units, dtype=np.float32)
    variance = np.zeros(n_units, dtype=np.float32)
    for b in range(n_cells):
        for h in range(n_units):
            mean[h] += x[b, h] * share
    for b in range(n_cells):
        for h in range(n_units):
            x[b, h] -= mean[h]
            variance[h] += x[b, h] * x[b, h] * share
    for h in range(n_units):
        inverse_sd[h] = f32(1) / np.sqrt(variance[h] + eps)
        running_mean[h] += momentum * (mean[h] - running_mean[h])
        running_variance[h] += momentum * (variance[h] * (n / (n - f32(1))) - running_variance[h])
    rescale = f32(65536) / f32(65536 - threshold)
    for b in range(n_cells):
        for h in range(n_units):
            x[b, h] *= inverse_sd[h]
            out[b, h] = rescale * max(x[b, h] * gain[h] + shift[h], f32(0))
        if threshold > 0:
            for h in range(n_units):
                out[b, h] = f32(0) if bits[b * n_units + h] < threshold else out[b, h]


@compiled
def normalise_backward(
    normal: np.ndarray,
    out: np.ndarray,
    gain: np.ndarray,
    inverse_sd: np.ndarray,
    threshold: int,
    by_out: np.ndarray,
    gradient: NormGradient,
) -> None:
    """Pass a gradient back through `normalise`: ``by_out``, (B, H), becomes the gradient by its input."""
    by_gain, by_shift = gradient
    n_cells, n_units = normal.shape
    share = f32(1) / f32(n_cells)
    rescale = f32(65536) / f32(65536 - threshold)
    by_gain[:] = 0
    by_shift[:] = 0
    for b in range(n_cells):
        for h in range(n_units):
            by_out[b, h] = rescale * by_out[b, h] if out[b, h] > f32(0) else f32(0)
            by_shift[h] += by_out[b, h]
            by_gain[h] += by_out[b, h] * normal[b, h]
    for b in range(n_cells):
        for h in range(n_units):
            centred = by_out[b, h] - share * (by_shift[h] + normal[b, h] * by_gain[h])
            by_out[b, h] = centred * gain[h] * inverse_sd[h]


@compiled
def normalise_by(x: np.ndarray, norm: Norm, out: np.ndarray) -> None:
    """Normalise by the running moments, then ReLU."""
    gain, shift, mean, variance, eps, _ = norm
    for b in range(len(x)):
        for h in range(x.shape[1]):
            normal = (x[b, h] - mean[h]) / np.sqrt(variance[h] + eps)
            out[b, h] = max(normal * gain[h] + shift[h], f32(0))


@compiled
def draw(
    moments: np.ndarray, bias: np.ndarray, noise: np.ndarray, prior: Prior, floor: np.float32, out: np.ndarray
) -> float:
    """Draw from Gaussians whose means and log variances are ``moments``, (B, 2 d), once ``bias`` is added.

    Returns the sum of their KL divergences from the prior.
    """
    wide_vectors()
    for b in range(len(moments)):
        for k in range(bias.size):
            moments[b, k] += bias[k]
    mean, log_variance, prior_mean, prior_variance = _flat_moments(moments, prior)
    draws, noise = out.reshape(-1), noise.reshape(-1)
    divergence = np.empty_like(mean)
    for i in range(mean.size):
        # exp has its limits, which must not hide what is beyond them
        variance = exp(log_variance[i]) + floor + f32(0) * log_variance[i]
        ratio = variance / prior_variance[i]
        distance = mean[i] - prior_mean[i]
        divergence[i] = f32(0.5) * (distance * distance / prior_variance[i] + ratio - f32(1) - log(ratio))
        draws[i] = mean[i] + np.sqrt(variance) * noise[i]
    return divergence.sum()


@compiled
def draw_backward(
    moments: np.ndarray,
    noise: np.ndarray,
    prior: Prior,
    floor: np.float32,
    by_out: np.ndarray,
    by_divergence: np.float32,
    by_bias: np.ndarray,
) -> None:
    """Pass a gradient back through `draw`: ``moments`` become the gradient by them.

    Its sum over cells is the gradient by the bias.
    """
    wide_vectors()
    mean, log_variance, prior_mean, prior_variance = _flat_moments(moments, prior)
    by_draws, noise = by_out.reshape(-1), noise.reshape(-1)
    for i in range(mean.size):
        spread = exp(log_variance[i])
        variance = spread + floor
        by_variance = by_draws[i] * noise[i] / np.sqrt(variance)
        by_variance += by_divergence * (f32(1) / prior_variance[i] - f32(1) / variance)
        log_variance[i] = f32(0.5) * by_variance * spread
        mean[i] = by_draws[i] + by_divergence * (mean[i] - prior_mean[i]) / prior_variance[i]
    by_bias[:] = 0
    d = by_out.shape[1]
    for b in range(len(moments)):
        for k in range(d):
            moments[b, k], moments[b, d + k] = mean[b * d + k], log_variance[b * d + k]
        for k in range(2 * d):
            by_bias[k] += moments[b, k]


@inlined
def _flat_moments(moments: np.ndarray, prior: Prior) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Means, log variances, and each one's prior, (B d,): dimensions are too few for loops over them."""
    d = moments.shape[1] // 2
    mean, log_variance, prior_mean, prior_variance = np.empty((4, len(moments) * d), dtype=np.float32)
    for b in range(len(moments)):
        for k in range(d):
            i = b * d + k
            mean[i], log_variance[i] = moments[b, k], moments[b, d + k]
            prior_mean[i], prior_variance[i] = prior.mean[b], prior.variance[b]
    return mean, log_variance, prior_mean, prior_variance


@compiled
def adam(
    weights: Weights, rate: np.float32, correction: np.float32, eps: np.float32, decay: np.float32
) -> None:
    """Take one step of Adam with L2 penalty ``decay``; ``rate`` and ``correction`` correct its biases."""
    wide_vectors()
    for start in range(0, weights.values.size, _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        values, gradients, halves = weights.values[here], weights.gradients[here], weights.halves[here]
        first, second = weights.first[here], weights.second[here]
        for i in range(values.size):
            gradient = load(gradients, i) + decay * values[i]
            first[i] += f32(0.1) * (gradient - first[i])
            second[i] += f32(0.001) * (gradient * gradient - second[i])
            values[i] -= rate * first[i] / (np.sqrt(second[i]) * correction + eps)
        for i in range(halves.size):
            store(halves, i, values[i])
