"""Attention whose queries, keys and values come from convolutions (Wu et al., CvT, ICCV 2021, arXiv 2103.15808)."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, split_heads, split_prefix, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.mixers.softmax import LONGEST
from search_spaces.mixers.spatial_reduction import check_reduction, coarse_grid
from search_spaces.taxonomy import About

STRIDE, KERNEL = 2, 3
Scale = Literal["head", "width"]


@MIXERS.register("convolutional_projection")
class ConvolutionalProjection(Mixer):
    """Softmax attention in which a depth-wise convolution and a batch norm precede each of the three projections.

    stride: of the convolutions of keys and values; that of the queries is 1. scale: of the logits, by the width of a
    head or, as in the authors' code, by the whole width. pool: average pooling of keys and values instead, and nothing
    in front of the queries. Prefix tokens pass by the convolutions.
    """

    about = About(
        taxonomy="other",
        group="convolution integration",
        paper="Wu et al., ICCV 2021",
        arxiv="2103.15808",
        complexity="2NC² + 2(N/s²)C² + 2N²C/s² + 9NC(1 + 2/s²)",
    )
    search = {"stride": (1, 2)}
    takes_prefix = True
    rule = "V3"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        stride: int = STRIDE,
        kernel: int = KERNEL,
        scale: Scale = "head",
        pool: bool = False,
        qkv_bias: bool = True,
    ):
        super().__init__()
        if scale not in ("head", "width"):
            raise ValueError(f"scale of convolutional_projection is head or width, found {scale!r}")
        self.num_heads = num_heads
        self.scale = (dim if scale == "width" else dim // num_heads) ** -0.5
        self.local_q, self.local_k, self.local_v = _locals(dim, grid, stride, kernel, pool)
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.k = nn.Linear(dim, dim, bias=qkv_bias)
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q = split_heads(self.q(self.local_q(x)), self.num_heads)
        k = split_heads(self.k(self.local_k(x)), self.num_heads)
        v = split_heads(self.v(self.local_v(x)), self.num_heads)
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(out.transpose(1, 2).flatten(2))

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "a convolutional projection needs a grid of tokens"
        keys = _keys(shape, params)
        if keys > LONGEST:
            return f"a convolutional projection to {keys} keys; at most {LONGEST}"
        return check_reduction(shape.grid, params.get("stride", STRIDE), "pad")

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        dim, bias, keys = shape.dim, params.get("qkv_bias", True), shape.prefix + _keys(shape, params)
        total = costs.linear(shape.length, dim, dim, bias) + costs.linear(keys, dim, dim, bias) * 2
        total += costs.linear(shape.length, dim, dim)
        total += costs.attention(shape.heads, shape.length, keys, shape.head_dim)
        if params.get("pool", False):
            return total
        kernel = params.get("kernel", KERNEL)
        convolutions = [costs.depthwise(n, dim, kernel, bias=False) for n in (shape.tokens, *[keys - shape.prefix] * 2)]
        return Cost.total([total, costs.norm(dim) * 3, *convolutions])


def _locals(dim: int, grid: Grid, stride: int, kernel: int, pool: bool) -> list[Layer]:
    """What precedes the projections of queries, keys and values."""
    if pool:
        return [PatchPooling(grid, 1, 1), PatchPooling(grid, stride, kernel), PatchPooling(grid, stride, kernel)]
    return [PatchConvolution(dim, grid, s, kernel) for s in (1, stride, stride)]


class PatchConvolution(Layer):
    """(B, P + N, C) -> (B, P + M, C): depth-wise convolution and batch norm of the patch tokens' map."""

    def __init__(self, dim: int, grid: Grid, stride: int, kernel: int):
        super().__init__()
        self.grid = grid
        self.conv = nn.Conv2d(dim, dim, kernel, stride=stride, padding=kernel // 2, groups=dim, bias=False)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        prefix, patches = split_prefix(x, self.grid[0] * self.grid[1])
        patches = to_tokens(self.norm(self.conv(to_map(patches, self.grid))))
        return torch.cat([prefix.to(patches.dtype), patches], dim=1) if prefix.shape[1] else patches


class PatchPooling(Layer):
    """(B, P + N, C) -> (B, P + M, C): average pooling of the patch tokens' map, padding counted as zeros."""

    def __init__(self, grid: Grid, stride: int, kernel: int):
        super().__init__()
        self.grid, self.stride, self.kernel = grid, stride, kernel

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == self.kernel == 1:
            return x
        prefix, patches = split_prefix(x, self.grid[0] * self.grid[1])
        patches = to_tokens(
            F.avg_pool2d(to_map(patches, self.grid), self.kernel, self.stride, self.kernel // 2, ceil_mode=True)
        )
        return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches


def _keys(shape: Shape, params: dict[str, Any]) -> int:
    assert shape.grid is not None
    stride, kernel = params.get("stride", STRIDE), params.get("kernel", KERNEL)
    if params.get("pool", False):
        rows, columns = (_pooled(side, stride, kernel) for side in shape.grid)
    else:
        rows, columns = coarse_grid(shape.grid, stride, "pad")
    return rows * columns


def _pooled(side: int, stride: int, kernel: int) -> int:
    """A last window that begins inside the map counts, even where it reaches out of the padding."""
    places = -((kernel - 2 * (kernel // 2) - side) // stride) + 1
    return places - ((places - 1) * stride >= side + kernel // 2)
