"""Network layers whose parameters carry a leading replicate axis R, and the replicates' random streams."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from .products import multiply

NORM_EPS = 1e-3  # of batch normalisation


class Streams:
    """One random stream per replicate, so that a replicate draws the same numbers alone and in a stack.

    Parameters
    ----------
    ahead
        How many tensors of a kind and shape are drawn at once, as each replicate's are a launch of their own.
    """

    def __init__(self, seeds: Iterable[int], device: torch.device | str = "cpu", ahead: int = 1) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._ahead = ahead
        self._drawn: dict[tuple[object, ...], list[Tensor]] = {}

    def __len__(self) -> int:
        return len(self.generators)

    def subset(self, replicates: Sequence[int]) -> Streams:
        """Return the streams of some replicates, which go on where they are."""
        kept = Streams((), ahead=self._ahead)
        kept.generators = [self.generators[r] for r in replicates]
        kept._drawn = {
            kind: [torch.stack([draw[r] for r in replicates]) for draw in drawn]
            for kind, drawn in self._drawn.items()
        }
        return kept

    def normal(self, *shape: int, like: Tensor) -> Tensor:
        """Standard normal numbers, (R, *shape)."""
        return self._next("normal_", shape, like)

    def uniform(self, *shape: int, bound: float, like: Tensor) -> Tensor:
        """Uniform numbers on (-bound, bound), (R, *shape)."""
        return self._next("uniform_", shape, like, -bound, bound)

    def mask(self, *shape: int, keep: float, like: Tensor) -> Tensor:
        """Dropout masks, (R, *shape): ``1 / keep`` with probability ``keep``, otherwise 0."""
        return (self._next("uniform_", shape, like, 0.0, 1.0) + keep).floor_().div_(keep)

    def _next(self, how: str, shape: tuple[int, ...], like: Tensor, *limits: float) -> Tensor:
        """Take the next draw of a kind and shape, (R, *shape); where none is left, draw some."""
        left = self._drawn.setdefault((how, shape, limits), [])
        if not left:
            draws = torch.empty(len(self), self._ahead, *shape, dtype=like.dtype, device=like.device)
            for draw, generator in zip(draws, self.generators, strict=True):
                getattr(draw, how)(*limits, generator=generator)
            left += draws.unbind(1)
        return left.pop(0)


class Linear(nn.Module):
    """R affine maps; an input without the replicate axis, (B, n_in), is shared by all of them."""

    def __init__(self, n_in: int, n_out: int, n_replicates: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_replicates, n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_replicates, 1, n_out)) if bias else None
        self.halved = False  # whether products, and they alone, are in bfloat16

    def reset(self, streams: Streams) -> None:
        """Uniform on +-1 / sqrt(n_in), torch's default for affine maps."""
        n_in, n_out = self.weight.shape[1:]
        bound = 1 / math.sqrt(n_in)
        self.weight.data = streams.uniform(n_in, n_out, bound=bound, like=self.weight)
        if self.bias is not None:
            self.bias.data = streams.uniform(1, n_out, bound=bound, like=self.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.halved:
            x = x.expand(len(self.weight), *x.shape[-2:])
            product = torch.bmm(x.bfloat16(), self.weight.bfloat16()).float()
            return product if self.bias is None else product + self.bias
        if x.device.type != "cpu":
            x = x.expand(len(self.weight), *x.shape[-2:])
            return (
                torch.bmm(x, self.weight) if self.bias is None else torch.baddbmm(self.bias, x, self.weight)
            )
        # One product per replicate: a batched one rounds by the number of replicates.
        inputs = [x] * len(self.weight) if x.ndim == 2 else x.unbind()
        if self.bias is None:
            products = [multiply(a, w) for a, w in zip(inputs, self.weight.unbind(), strict=True)]
        else:
            parts = zip(self.bias.unbind(), inputs, self.weight.unbind(), strict=True)
            products = [multiply(a, w) + b for b, a, w in parts]
        return torch.stack(products) if len(products) > 1 else products[0].unsqueeze(0)


def side_by_side(layers: Sequence[Linear]) -> tuple[Tensor, Tensor]:
    """Weight and bias of one replicate's affine maps of the same input, as of one map."""
    weight = torch.cat([layer.weight[0] for layer in layers], 1)
    return weight, torch.cat([layer.bias[0, 0] for layer in layers if layer.bias is not None])


class BatchNorm(nn.Module):
    """R batch normalisations over the cells of a minibatch."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n_features: int, n_replicates: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(n_replicates, n_features))
        self.bias = nn.Parameter(torch.zeros(n_replicates, n_features))
        self.register_buffer("running_mean", torch.zeros(n_replicates, n_features))
        self.register_buffer("running_var", torch.ones(n_replicates, n_features))

    def forward(self, x: Tensor) -> Tensor:
        # (R, B, H) -> (B, R H): torch's fused kernel treats each feature of each replicate as a channel.
        n_replicates, n_cells, n_features = x.shape
        normalised = nn.functional.batch_norm(
            x.transpose(0, 1).reshape(n_cells, -1),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            training=self.training,
            momentum=self.momentum,
            eps=NORM_EPS,
        )
        return normalised.view(n_cells, n_replicates, n_features).transpose(0, 1)


class Block(nn.Module):
    """Linear map, batch normalisation, ReLU, dropout.

    The map has no bias: normalisation would take it away again, and Adam would turn the rounding of its
    vanishing gradient into a random walk.
    """

    def __init__(
        self, n_in: int, n_out: int, n_replicates: int, *, momentum: float, dropout_rate: float = 0.0
    ) -> None:
        super().__init__()
        self.linear = Linear(n_in, n_out, n_replicates, bias=False)
        self.norm = BatchNorm(n_out, n_replicates, momentum)
        self.dropout_rate = dropout_rate

    def forward(self, x: Tensor, streams: Streams | None = None) -> Tensor:
        hidden = torch.relu(self.norm(self.linear(x)))
        if self.training and self.dropout_rate > 0:
            assert streams is not None
            hidden = hidden * streams.mask(*hidden.shape[1:], keep=1 - self.dropout_rate, like=hidden)
        return hidden

    def linearised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute, in evaluation mode, the output, (R, B, H), and what its derivative by the map's is.

        That is the gain of the normalisation, (R, H), where the output is positive, (R, B, H).
        """
        normal = self.norm(self.linear(x))
        gain = self.norm.weight * (self.norm.running_var + NORM_EPS).rsqrt()
        return torch.relu(normal), gain, normal > 0
