"""HiLo attention: high and low frequencies in heads of their own (Pan et al., NeurIPS 2022, arXiv 2205.13213)."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, split_heads, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.mixers.spatial_reduction import check_reduction, coarse_grid
from search_spaces.mixers.window import WindowAttention
from search_spaces.taxonomy import About

SHARE, WINDOW = 0.5, 2


@MIXERS.register("hilo")
class HiLo(Mixer):
    """Some heads attend inside small windows, the rest to a map averaged over the same windows; both have their own
    projections, and their outputs lie side by side.

    share: a, of the heads that see the averaged map. window: side w of the windows.
    """

    about = About(
        taxonomy="hierarchy",
        group="scale mixing between heads",
        paper="Pan et al., NeurIPS 2022",
        arxiv="2205.13213",
        complexity="(4-4a+2a²)NC² + 2aNC²/w² + 2(1-a)Nw²C + 2aN²C/w²",
    )
    search = {"share": (0.5, 0.75), "window": (2, 4)}
    rule = "V3"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        share: float = SHARE,
        window: int = WINDOW,
        qkv_bias: bool = True,
    ):
        super().__init__()
        low = round(share * num_heads)
        branches: list[Layer] = []
        if low < num_heads:
            branches.append(HighFrequency(dim, num_heads - low, dim // num_heads, grid, window, qkv_bias))
        if low:
            branches.append(LowFrequency(dim, low, dim // num_heads, grid, window, qkv_bias))
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=2)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "hilo needs the grid, which a token reduction has scattered"
        share, window = params.get("share", SHARE), params.get("window", WINDOW)
        low = share * shape.heads
        if not 0 <= share <= 1 or abs(low - round(low)) > 1e-6:
            return f"{share:g} of {shape.heads} heads is not a whole number of heads"
        if window < 2:
            return f"windows of {window}x{window} tokens; at least 2x2"
        return WindowAttention.check(shape, window=window) or check_reduction(shape.grid, window, "pad")

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        return params.get("share", SHARE) > 0

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """Without heads for low frequencies it is window attention."""
        params = {"window": WINDOW, **atom.params}
        if params.pop("share", SHARE) == 0:
            return Atom("window", **params, position_bias=False)
        return atom

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        low = round(params.get("share", SHARE) * shape.heads)
        window, bias = params.get("window", WINDOW), params.get("qkv_bias", True)
        high_part = HighFrequency.cost(replace(shape, heads=shape.heads - low), window, bias)
        low_part = LowFrequency.cost(replace(shape, heads=low), window, bias)
        return (high_part if low < shape.heads else Cost()) + (low_part if low else Cost())


class HighFrequency(Layer):
    """(B, N, C) -> (B, N, heads · head_dim): softmax attention inside windows."""

    def __init__(self, dim: int, heads: int, head_dim: int, grid: Grid, window: int, qkv_bias: bool):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * heads * head_dim, bias=qkv_bias)
        self.core = WindowAttention(dim, heads, head_dim, grid, window=window, position_bias=False)
        self.proj = nn.Linear(heads * head_dim, heads * head_dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(self.core.attend(q, k, v).transpose(1, 2).flatten(2))

    @classmethod
    def cost(cls, shape: Shape, window: int, bias: bool) -> Cost:
        width = shape.heads * shape.head_dim
        ends = costs.linear(shape.tokens, shape.dim, 3 * width, bias) + costs.linear(shape.tokens, width, width)
        return ends + WindowAttention.cost(shape, window=window, position_bias=False)


class LowFrequency(Layer):
    """(B, N, C) -> (B, N, heads · head_dim): softmax attention to the mean of each window."""

    def __init__(self, dim: int, heads: int, head_dim: int, grid: Grid, window: int, qkv_bias: bool):
        super().__init__()
        self.heads, self.grid, self.window = heads, grid, window
        self.q = nn.Linear(dim, heads * head_dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * heads * head_dim, bias=qkv_bias)
        self.proj = nn.Linear(heads * head_dim, heads * head_dim)

    def forward(self, x: Tensor) -> Tensor:
        means = to_tokens(F.avg_pool2d(to_map(x, self.grid), self.window, ceil_mode=True))  # (B, M, C)
        q = split_heads(self.q(x), self.heads)
        k, v = self.kv(means).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    @classmethod
    def cost(cls, shape: Shape, window: int, bias: bool) -> Cost:
        assert shape.grid is not None
        rows, columns = coarse_grid(shape.grid, window, "pad")
        n, m, width = shape.tokens, rows * columns, shape.heads * shape.head_dim
        total = costs.linear(n, shape.dim, width, bias) + costs.linear(m, shape.dim, 2 * width, bias)
        return total + costs.attention(shape.heads, n, m, shape.head_dim) + costs.linear(n, width, width)
