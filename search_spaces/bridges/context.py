"""The context bridge of MISSFormer (Huang et al., TMI 2022, arXiv 2109.07162): attention over the maps of all stages.

A stage of k times the first stage's width C has k tokens of C channels at each position, so all stages are one
sequence. The width of a stage returns only for what knows its map: the reduction of keys, and the feed-forward.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.ffn.mix import MixFeedForward
from search_spaces.layer import Layer, split_heads
from search_spaces.mixers.spatial_reduction import StridedMap, coarse_grid
from search_spaces.parts import Grid, Identity
from search_spaces.structures import BRIDGES, Bridge
from search_spaces.taxonomy import About


@BRIDGES.register("context")
class ContextBridge(Bridge):
    """`depth` layers; of the last one only what the head reads is computed, the tokens of the last stage.

    Keys and values come from maps that strided convolutions bring to the grid of the last stage.
    """

    about = About(
        taxonomy="hierarchy",
        group="context bridge",
        paper="Huang et al., TMI 2022",
        arxiv="2109.07162",
        complexity="2NC² + 2MC² + 2NMC + ΣN_iC_i² + 2rΣN_iC_i²",
    )
    search = {"depth": (1, 2), "ratio": (2, 4)}

    def __init__(self, dims: Sequence[int], grids: Sequence[Grid], depth: int = 1, ratio: float = 4, heads: int = 1):
        super().__init__()
        self.dims, self.tokens = tuple(dims), _tokens(dims[0], dims, grids)
        reductions = _reductions(grids)
        self.layers = nn.ModuleList(
            ContextLayer(dims[0], dims, grids, reductions, heads, ratio, last_only=i == depth - 1) for i in range(depth)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = pack(maps, self.dims[0])
        for layer in self.layers:
            x = layer(x)
        return unpack(x[:, -self.tokens[-1] :], self.tokens[-1:], self.dims[0], self.dims[-1:])[0]

    @classmethod
    def check(cls, *, dims: Sequence[int], grids: Sequence[Grid], **params: Any) -> str | None:
        wider = [dim for dim in dims if dim % dims[0]]
        if wider:
            return f"the {dims[0]} channels of stage 1 do not divide the {wider[0]} of a later stage"
        heads = params.get("heads", 1)
        return f"{heads} heads do not divide the {dims[0]} channels of stage 1" if dims[0] % heads else None

    @classmethod
    def cost(cls, *, dims: Sequence[int], grids: Sequence[Grid], **params: Any) -> Cost:
        depth, reductions = params.get("depth", 1), _reductions(grids)
        shared = {"heads": params.get("heads", 1), "ratio": params.get("ratio", 4)}
        if depth == 0:
            return Cost()
        whole = ContextLayer.cost(dims[0], dims, grids, reductions, **shared)
        return whole * (depth - 1) + ContextLayer.cost(dims[0], dims, grids, reductions, **shared, last_only=True)


class ContextLayer(Layer):
    """Attention over reduced keys, then a feed-forward for each stage; (B, M, width) -> the same.

    last_only: tokens of the last stage alone are refined, and come back alone. skip_norm: see MixFeedForward.
    """

    def __init__(
        self,
        width: int,
        dims: Sequence[int],
        grids: Sequence[Grid],
        reductions: Sequence[int],
        heads: int = 1,
        ratio: float = 4,
        last_only: bool = False,
        skip_norm: bool = True,
    ):
        super().__init__()
        self.width, self.dims, self.heads = width, tuple(dims), heads
        self.tokens = _tokens(width, dims, grids)
        self.first = len(dims) - 1 if last_only else 0  # of the stages that are refined
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.coarse = nn.ModuleList(
            StridedMap(dim, grid, reduction, norm=False) if reduction > 1 else Identity()
            for dim, grid, reduction in zip(dims, grids, reductions, strict=True)
        )
        self.norm_keys = nn.LayerNorm(width)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        refined = list(zip(dims, grids, strict=True))[self.first :]
        self.ffns = nn.ModuleList(MixFeedForward(d, g, ratio=ratio, skip_norm=skip_norm) for d, g in refined)

    def forward(self, x: Tensor) -> Tensor:
        skipped = sum(self.tokens[: self.first])
        normed = self.norm1(x)
        x = x[:, skipped:] + self._attend(normed[:, skipped:], self._keys(normed))
        return x + self._feed(self.norm2(x))

    def _keys(self, x: Tensor) -> Tensor:
        maps = unpack(x, self.tokens, self.width, self.dims)
        return self.norm_keys(pack([coarse(m) for coarse, m in zip(self.coarse, maps, strict=True)], self.width))

    def _attend(self, x: Tensor, keys: Tensor) -> Tensor:
        q = split_heads(self.q(x), self.heads)
        k, v = self.kv(keys).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _feed(self, x: Tensor) -> Tensor:
        maps = unpack(x, self.tokens[self.first :], self.width, self.dims[self.first :])
        return pack([ffn(m) for ffn, m in zip(self.ffns, maps, strict=True)], self.width)

    @classmethod
    def cost(
        cls,
        width: int,
        dims: Sequence[int],
        grids: Sequence[Grid],
        reductions: Sequence[int],
        heads: int = 1,
        ratio: float = 4,
        last_only: bool = False,
    ) -> Cost:
        tokens, keys = _tokens(width, dims, grids), 0
        first = len(dims) - 1 if last_only else 0
        total = [costs.norm(width) * 3]
        for dim, grid, reduction in zip(dims, grids, reductions, strict=True):
            rows, columns = coarse_grid(grid, reduction, "pad")
            keys += rows * columns * dim // width
            total += [costs.conv(rows * columns, dim, dim, reduction)] if reduction > 1 else []
        for dim, (rows, columns) in list(zip(dims, grids, strict=True))[first:]:
            total.append(MixFeedForward.cost(dim=dim, tokens=rows * columns, prefix=0, ratio=ratio, skip_norm=True))
        queries = sum(tokens[first:])
        total += [costs.linear(queries, width, width) * 2, costs.linear(keys, width, 2 * width)]
        return Cost.total([*total, costs.attention(heads, queries, keys, width // heads)])


def pack(maps: Sequence[Tensor], width: int) -> Tensor:
    """(B, N_i, C_i) of several stages -> (B, Σ N_i·C_i / width, width): one sequence of parts of their tokens."""
    return torch.cat([m.unflatten(2, (-1, width)).flatten(1, 2) for m in maps], dim=1)


def unpack(x: Tensor, tokens: Sequence[int], width: int, dims: Sequence[int]) -> list[Tensor]:
    """The inverse of pack; `tokens` counts those of `width` channels by stage."""
    parts = x.split(list(tokens), dim=1)
    return [p.unflatten(1, (-1, dim // width)).flatten(2) for p, dim in zip(parts, dims, strict=True)]


def _tokens(width: int, dims: Sequence[int], grids: Sequence[Grid]) -> tuple[int, ...]:
    """Tokens of `width` channels by stage."""
    return tuple(rows * columns * dim // width for dim, (rows, columns) in zip(dims, grids, strict=True))


def _reductions(grids: Sequence[Grid]) -> tuple[int, ...]:
    """Strides that bring every map to the last one's size."""
    rows, columns = grids[-1]
    return tuple(max(-(-grid[0] // rows), -(-grid[1] // columns)) for grid in grids)
