"""Matrix products on a CPU: which library makes them, and where the arrays start."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ..jobs.torch_state import ONEDNN, SLOW_MKL

# whether oneDNN can be asked for a product in single precision, whatever torch would do
_POINTWISE = (
    SLOW_MKL and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
# Multiplications of a product from which on oneDNN, where it is to be had, is the fastest, and makes those of
# all replicates at once (of a few thousand, torch would choose by their total); below which numpy beats MKL.
_BATCHED, _SMALL = 2**19, 2**20 if SLOW_MKL else 0
ALIGNED = 32  # numbers that fill cache lines, in single precision or bfloat16


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """``x @ weight + bias``, without a gradient, in the memory of ``out`` or elsewhere."""
    if _POINTWISE and x.dtype == torch.float32 and x.device.type == "cpu":
        n_rows = len(x)
        x = nn.functional.pad(x, (0, 0, 0, _padded(n_rows) - n_rows))
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight.t(), bias, "none", [], "")
        return result[:n_rows]
    return torch.mm(x, weight, out=out) if bias is None else torch.addmm(bias, x, weight, out=out)


def _padded(n: int) -> int:
    """Round up to one of four numbers per power of 2: oneDNN compiles and keeps a kernel for each it sees."""
    step = _step(max(0, n - 1))
    return -(-n // step) * step


def unpadded(n: int) -> int:
    """Return the most rows, up to n, that `affine` multiplies without others."""
    return n // _step(n) * _step(n) or n


def _step(n: int) -> int:
    return 1 << max(2, n.bit_length() - 3)


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """``x @ y``, without gradients by numpy where torch asks oneDNN, which keeps a kernel for each shape."""
    if ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled():
        rows = x if y.ndim > 2 else x.reshape(-1, x.shape[-1])  # one product in the place of many
        with np.errstate(all="ignore"):  # as torch does
            result = np.matmul(rows.numpy(), y.numpy())
        return torch.from_numpy(result).view(*x.shape[:-1], y.shape[-1])
    return x @ y


def stacked(n_replicates: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Allocate an array for each replicate, (R, *shape), where one alone would start: MKL rounds by that."""
    size = math.prod(shape)
    whole = torch.empty(n_replicates, -(-size // ALIGNED) * ALIGNED, dtype=dtype)
    return whole[:, :size].view(n_replicates, *shape)


def product(x: Tensor, y: Tensor, out: Tensor) -> Callable[[], object]:
    """Return what puts each replicate's ``x @ y`` in its place, now and whenever the operands have changed.

    Each product has the bits that it has alone.
    """
    n_multiplications = x.shape[2] * out[0].numel()
    if ONEDNN and out.dtype == torch.float32 and n_multiplications >= _BATCHED:
        return partial(torch.bmm, x, y, out=out)
    if out.dtype == torch.float32 and n_multiplications < _SMALL:
        return partial(np.matmul, x.numpy(), y.numpy(), out.numpy())
    return partial(_one_by_one, [partial(torch.mm, a, b, out=c) for a, b, c in zip(x, y, out, strict=True)])


def _one_by_one(steps: Sequence[Callable[[], object]]) -> None:
    for step in steps:
        step()


def as_array(tensor: Tensor) -> np.ndarray:
    """View a tensor's memory as an array; bfloat16 as uint16."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()
