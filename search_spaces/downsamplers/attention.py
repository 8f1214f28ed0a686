"""Relative attention on the halved map, its shortcut pooled (CoAtNet, Dai et al., NeurIPS 2021, arXiv 2106.04803)."""

from math import gcd
from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.downsamplers.mbconv import PooledShortcut, halved, pooled
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.window import WindowAttention
from search_spaces.parts import DOWNSAMPLERS, DownSampler, Grid

HEAD_DIM = 32


@DOWNSAMPLERS.register("attention")
class AttentionDown(DownSampler):
    """Pooled x + attention of the pooled, normed x over all its positions, with a bias for each relative position.

    Queries, keys and values are projected to the new width; with late=true they keep the old one, the last projection
    widens, and the shortcut has no bias (timm's trained CoAtNets). head_dim: channels of a head, or the largest common
    divisor with the width of queries.
    """

    def __init__(
        self, dim: int, out_dim: int, grid: Grid, head_dim: int = HEAD_DIM, late: bool = False, eps: float = 1e-6
    ):
        super().__init__()
        self.grid_in, self.grid_out = grid, self.grid(grid)
        width = dim if late else out_dim
        own = gcd(width, head_dim)
        self.num_heads = width // own
        self.shortcut = PooledShortcut(dim, out_dim, bias=not late)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.qkv = nn.Linear(dim, 3 * width)
        self.core = WindowAttention(width, self.num_heads, own, self.grid_out, divisions=1)
        self.proj = nn.Linear(width, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        reduced = to_tokens(pooled(to_map(self.norm(x), self.grid_in)))
        q, k, v = self.qkv(reduced).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self.proj(self.core.attend(q, k, v).transpose(1, 2).flatten(2))
        return to_tokens(self.shortcut(to_map(x, self.grid_in))) + mixed

    @classmethod
    def grid(cls, grid: Grid, **params: Any) -> Grid:
        return halved(grid)

    @classmethod
    def cost(cls, *, dim: int, out_dim: int, grid: Grid, **params: Any) -> Cost:
        (h, w), late = cls.grid(grid), params.get("late", False)
        width = dim if late else out_dim
        own = gcd(width, params.get("head_dim", HEAD_DIM))
        shape = Shape(dim=width, heads=width // own, head_dim=own, grid=(h, w), tokens=h * w)
        core = WindowAttention.cost(shape, divisions=1)
        projections = costs.linear(h * w, dim, 3 * width) + costs.linear(h * w, width, out_dim)
        return costs.norm(dim) + projections + core + PooledShortcut.cost(dim, out_dim, h * w, bias=not late)
