"""Focused linear attention (Han et al., FLatten Transformer, ICCV 2023, arXiv 2308.00442)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import split_prefix
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.mixers.local_values import LocalValues
from search_spaces.mixers.spatial_reduction import StridedMap, check_reduction, coarse_grid
from search_spaces.taxonomy import About

POWER, KERNEL = 3, 5
EPSILON = 1e-6  # keeps features positive, so that no row of the map is empty


@MIXERS.register("linear")
class LinearAttention(Core):
    """φ(q) (φ(k)ᵀ v) / (φ(q) Σ φ(k)) plus a depth-wise convolution of v, which restores the rank that d features lack.

    φ divides ReLU(x) by a learned scale per channel and raises it to `power` at the same norm, taken over all channels
    of the layer: large features grow, small ones vanish. power 1 is the plain ReLU kernel.
    kernel: side of the convolution, whose weights all heads share. position: a learned vector is added to each key.
    reduction: keys and values from a map reduced R times, as in PVT, which leaves out the rows and columns that R does
    not divide.
    """

    about = About(
        taxonomy="complexity reduction",
        group="kernel",
        paper="Han et al., ICCV 2023",
        arxiv="2308.00442",
        complexity="4NC² + 2NC²/h + k²NC",
    )
    search = {"power": (1, 3)}
    takes_prefix = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        power: int = POWER,
        kernel: int = KERNEL,
        position: bool = False,
        reduction: int = 1,
    ):
        super().__init__()
        assert grid is not None
        self.tokens, self.power, self.reduces = grid[0] * grid[1], power, reduction > 1
        rows, columns = coarse_grid(grid, reduction, "drop")
        self.coarse = StridedMap(dim, grid, reduction, "drop") if self.reduces else None
        self.position: nn.Parameter | None = None
        if position:
            self.position = nn.Parameter(torch.empty(num_heads, rows * columns, head_dim))
            nn.init.trunc_normal_(self.position, std=0.02)
        self.scale = nn.Parameter(torch.zeros(num_heads, 1, head_dim))
        self.local = LocalValues(num_heads, head_dim, grid, kernel, shared=True)

    def reduce(self, x: Tensor) -> Tensor:
        if self.coarse is None:
            return x
        prefix, patches = split_prefix(x, self.tokens)
        patches = self.coarse(patches)
        return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        prefix = q.shape[2] - self.tokens
        if self.position is not None:
            k = k + F.pad(self.position, (0, 0, prefix, 0))
        q, k = self._focus(q), self._focus(k)
        share = k.shape[2] ** -0.5  # on both factors: the sum over tokens stays small in half precision
        context = (k * share).to(v.dtype).transpose(2, 3) @ (v * share)  # (B, h, d, d)
        total = (q * k.mean(dim=2, keepdim=True)).sum(dim=3, keepdim=True)  # (B, h, L, 1), never in half precision
        out = (q.to(v.dtype) @ context) / (total + EPSILON)
        return out.to(v.dtype) + self._local(v, prefix)

    def _focus(self, x: Tensor) -> Tensor:
        """φ in float32: cubes leave the range of half precision."""
        x = (F.relu(x.float()) + EPSILON) / F.softplus(self.scale.float())
        if self.power == 1:
            return x
        focused = x**self.power
        return focused * (_norm(x) / _norm(focused))

    def _local(self, v: Tensor, prefix: int) -> Tensor:
        if not self.reduces:
            return self.local(v)
        patches = F.interpolate(v[:, :, prefix:].transpose(2, 3).flatten(1, 2), size=self.tokens, mode="linear")
        out = self.local(patches.unflatten(1, (v.shape[1], v.shape[3])).transpose(2, 3))
        return F.pad(out, (0, 0, prefix, 0)) if prefix else out

    @classmethod
    def keys(cls, shape: Shape, **params: Any) -> int:
        return shape.prefix + _coarse_tokens(shape, params)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "the convolution of linear attention needs the grid, which a token reduction has scattered"
        return check_reduction(shape.grid, params.get("reduction", 1), "drop")

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        heads, d, keys, reduction = shape.heads, shape.head_dim, cls.keys(shape, **params), params.get("reduction", 1)
        position = keys - shape.prefix if params.get("position", False) else 0
        total = costs.weights(heads * d * (1 + position))
        total += costs.matmul(heads, d, keys, d) + costs.matmul(heads, shape.length, d, d)
        total += costs.depthwise(heads * shape.tokens, d, params.get("kernel", KERNEL))
        if reduction > 1:
            total += costs.conv(keys - shape.prefix, shape.dim, shape.dim, reduction) + costs.norm(shape.dim)
        return total


def _norm(x: Tensor) -> Tensor:
    """(B, h, L, d) -> (B, 1, L, 1), over the channels of all heads."""
    return x.square().sum(dim=(1, 3), keepdim=True).sqrt()


def _coarse_tokens(shape: Shape, params: dict[str, Any]) -> int:
    assert shape.grid is not None
    rows, columns = coarse_grid(shape.grid, params.get("reduction", 1), "drop")
    return rows * columns
