"""Softmax attention with narrow keys, wide values and a bias by distance (Graham et al., LeViT, ICCV 2021, arXiv
2104.01136; as in EfficientFormer, Li et al., NeurIPS 2022, arXiv 2206.01191)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import split_heads
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.mixers.softmax import LONGEST
from search_spaces.taxonomy import About

HEADS, KEY, RATIO = 8, 32, 4


@MIXERS.register("distance_bias")
class DistanceBiasAttention(Mixer):
    """softmax(q kᵀ / √d + b) v with one b for each head and distance (|dy|, |dx|), so that mirrored offsets are equal.

    heads, key: their number and the channels of queries and keys, both whatever the width is. ratio: channels of values
    over those of keys.
    """

    about = About(
        taxonomy="complexity reduction",
        group="narrow keys",
        paper="Graham et al., ICCV 2021",
        arxiv="2104.01136",
        complexity="NChk(2+2r) + N²hk(1+r)",
    )
    search = {"heads": (4, 8), "key": (8, 16), "ratio": (2, 4)}
    rule = "V6"
    has_heads = False

    def __init__(
        self, dim: int, num_heads: int, grid: Grid | None, heads: int = HEADS, key: int = KEY, ratio: int = RATIO
    ):
        super().__init__()
        assert grid is not None
        self.heads, self.widths = heads, (key, key, ratio * key)
        self.qkv = nn.Linear(dim, heads * sum(self.widths))
        self.table = nn.Parameter(torch.zeros(heads, grid[0] * grid[1]))
        self.register_buffer("index", distance_index(grid), persistent=False)
        self.proj = nn.Linear(heads * ratio * key, dim)
        nn.init.trunc_normal_(self.table, std=0.02)

    index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x), self.heads).split(self.widths, dim=3)
        bias = self.table[:, self.index].unsqueeze(0).to(q.dtype)
        return self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2))

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "a bias by distance needs the grid, which a token reduction has scattered"
        if shape.tokens > LONGEST:
            return f"attention with a bias by distance over {shape.tokens} tokens; at most {LONGEST}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        heads, key = params.get("heads", HEADS), params.get("key", KEY)
        value, n = params.get("ratio", RATIO) * key, shape.tokens
        projections = costs.linear(n, shape.dim, heads * (2 * key + value)) + costs.linear(n, heads * value, shape.dim)
        return projections + costs.attention(heads, n, n, key, value) + costs.weights(heads * n)


def distance_index(grid: Grid) -> Tensor:
    """(N, N): |dy| · W + |dx| for every pair of places."""
    y, x = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
    return (y[:, None] - y[None]).abs() * grid[1] + (x[:, None] - x[None]).abs()
