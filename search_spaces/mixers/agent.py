"""Agent attention (Han et al., ECCV 2024, arXiv 2312.08874)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, split_prefix
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.mixers.local_values import LocalValues
from search_spaces.mixers.spatial_reduction import StridedMap, check_reduction, coarse_grid
from search_spaces.taxonomy import About

AGENTS, KERNEL = 16, 3
TABLE = 7  # side of the maps of biases, which are resized to the grid


@MIXERS.register("agent")
class AgentAttention(Core):
    """softmax(q aᵀ / √d) softmax(a kᵀ / √d) v plus a depth-wise 3 x 3 convolution of v: n agents a, which are average
    pooled queries, gather from all tokens and hand on to all tokens.

    agents: n, a square number. position_bias: learned biases of both maps, as published; with few channels they can
    outweigh everything else. reduction: keys and values from a map reduced R times, as in PVT, which leaves out the
    rows and columns that R does not divide. Prefix tokens are queries and keys, but no agent comes from them.
    """

    about = About(
        taxonomy="complexity reduction",
        group="agents",
        paper="Han et al., ECCV 2024",
        arxiv="2312.08874",
        complexity="4NC² + 4nNC + 9NC",
    )
    search = {"agents": (4, 16, 49)}
    takes_prefix = True
    rule = "V5"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        agents: int = AGENTS,
        position_bias: bool = False,
        reduction: int = 1,
    ):
        super().__init__()
        assert grid is not None
        self.grid, self.side, self.reduces = grid, round(agents**0.5), reduction > 1
        self.coarse = StridedMap(dim, grid, reduction, "drop") if self.reduces else None
        self.key_grid = coarse_grid(grid, reduction, "drop")
        self.key_bias = AgentBias(num_heads, agents, self.key_grid) if position_bias else None
        self.query_bias = AgentBias(num_heads, agents, grid) if position_bias else None
        self.local = LocalValues(num_heads, head_dim, grid, KERNEL)

    def reduce(self, x: Tensor) -> Tensor:
        if self.coarse is None:
            return x
        prefix, patches = split_prefix(x, self.grid[0] * self.grid[1])
        patches = self.coarse(patches)
        return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        prefix = q.shape[2] - self.grid[0] * self.grid[1]
        agents = self._agents(q[:, :, prefix:])
        to_keys = None if self.key_bias is None else self.key_bias(prefix).to(q.dtype)
        to_queries = None if self.query_bias is None else self.query_bias(prefix).transpose(2, 3).to(q.dtype)
        gathered = F.scaled_dot_product_attention(agents, k, v, attn_mask=to_keys)  # (B, h, n, d)
        out = F.scaled_dot_product_attention(q, agents, gathered, attn_mask=to_queries)
        return out + self._local(v, prefix)

    def _agents(self, q: Tensor) -> Tensor:
        """(B, h, N, d) -> (B, h, n, d)."""
        heads, head_dim = q.shape[1], q.shape[3]
        maps = q.transpose(2, 3).flatten(1, 2).unflatten(2, self.grid)
        pooled = F.adaptive_avg_pool2d(maps, self.side)
        return pooled.flatten(2).unflatten(1, (heads, head_dim)).transpose(2, 3)

    def _local(self, v: Tensor, prefix: int) -> Tensor:
        if not self.reduces:
            return self.local(v)
        heads, head_dim = v.shape[1], v.shape[3]
        maps = v[:, :, prefix:].transpose(2, 3).flatten(1, 2).unflatten(2, self.key_grid)
        maps = F.interpolate(maps, size=self.grid, mode="bilinear")
        out = self.local(maps.flatten(2).unflatten(1, (heads, head_dim)).transpose(2, 3))
        return F.pad(out, (0, 0, prefix, 0)) if prefix else out

    @classmethod
    def keys(cls, shape: Shape, **params: Any) -> int:
        rows, columns = _key_grid(shape, params)
        return shape.prefix + rows * columns

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "agents are pooled from the grid, which a token reduction has scattered"
        agents = params.get("agents", AGENTS)
        if agents < 1 or round(agents**0.5) ** 2 != agents:
            return f"{agents} agents; their number is a square, such as 4, 9, 16 or 49"
        if agents >= shape.tokens:
            return f"{agents} agents for {shape.tokens} tokens; choose fewer"
        return check_reduction(shape.grid, params.get("reduction", 1), "drop")

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        assert shape.grid is not None
        heads, d, agents = shape.heads, shape.head_dim, params.get("agents", AGENTS)
        keys, reduction = cls.keys(shape, **params), params.get("reduction", 1)
        total = costs.attention(heads, agents, keys, d) + costs.attention(heads, shape.length, agents, d)
        total += costs.depthwise(shape.tokens, heads * d, KERNEL)
        if params.get("position_bias", False):
            sides = sum(_key_grid(shape, params)) + sum(shape.grid)
            total += costs.weights(heads * agents * (2 * TABLE**2 + sides))
        if reduction > 1:
            total += costs.conv(keys - shape.prefix, shape.dim, shape.dim, reduction) + costs.norm(shape.dim)
        return total


class AgentBias(Layer):
    """(1, h, n, P + N): for each head and agent a map of biases over the grid, which adds a small map resized to it, a
    value per row and a value per column; prefix tokens have none."""

    def __init__(self, num_heads: int, agents: int, grid: Grid):
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.empty(num_heads, agents, TABLE, TABLE))
        self.rows = nn.Parameter(torch.empty(num_heads, agents, grid[0], 1))
        self.columns = nn.Parameter(torch.empty(num_heads, agents, 1, grid[1]))
        for table in (self.table, self.rows, self.columns):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, prefix: int) -> Tensor:
        maps = F.interpolate(self.table, size=self.grid, mode="bilinear") + self.rows + self.columns
        return F.pad(maps.flatten(2), (prefix, 0)).unsqueeze(0)


def _key_grid(shape: Shape, params: dict[str, Any]) -> Grid:
    assert shape.grid is not None
    return coarse_grid(shape.grid, params.get("reduction", 1), "drop")
