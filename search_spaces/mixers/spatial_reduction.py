"""Spatial-reduction attention (Wang et al., PVT, ICCV 2021, arXiv 2102.12122; PVT v2, arXiv 2106.13797)."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, split_prefix, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, SHARED, Core, Grid
from search_spaces.parts import Identity
from search_spaces.score_positions import ScorePosition, score_position, with_position
from search_spaces.taxonomy import About

Remainder = Literal["pad", "drop"]


@MIXERS.register("spatial_reduction")
class SpatialReductionAttention(Core):
    """Softmax attention of all queries over keys and values from a coarser map.

    reduction: side R of the R x R strided convolution and norm that make the coarse map; 1 leaves it as it is.
    pool: side P of an average-pooled map instead (then 1 x 1 convolution, norm, GELU), whatever the size of the map.
    remainder: rows and columns that R does not divide are padded with zeros, or dropped as published.
    position: one of `score_positions`, with a key in the middle of the tokens that it comes from.
    Prefix tokens are keys and values unreduced.
    """

    about = About(
        taxonomy="complexity reduction",
        group="spatial reduction",
        paper="Wang et al., ICCV 2021",
        arxiv="2102.12122",
        complexity="3NC² + 2(N/R²)C² + 2N²C/R²",
    )
    search = {"reduction": (2, 4, 8)}
    takes_prefix = True
    rule = "V3"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        reduction: int = 2,
        pool: int | None = None,
        remainder: Remainder = "pad",
        position: type[ScorePosition] | None = None,
    ):
        super().__init__()
        assert grid is not None
        self.tokens = grid[0] * grid[1]
        self.reduces = reduction > 1 or pool is not None
        if pool is not None:
            self.coarse: Layer = PooledMap(dim, grid, pool)
        elif reduction > 1:
            self.coarse = StridedMap(dim, grid, reduction, remainder)
        self.position = None
        if position is not None:
            self.position = position(num_heads, head_dim, grid, coarse_grid(grid, reduction, remainder), reduction)

    def reduce(self, x: Tensor) -> Tensor:
        if not self.reduces:
            return x
        prefix, patches = split_prefix(x, self.tokens)
        patches = self.coarse(patches)
        return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.position is not None:
            return self.position(q, k, v)
        return F.scaled_dot_product_attention(q, k, v)

    @classmethod
    def parts(cls, heads: int, **params: Any) -> list[tuple[type[Core], int, dict[str, Any]]]:
        return [(cls, heads, with_position(params))]

    @classmethod
    def keys(cls, shape: Shape, **params: Any) -> int:
        return shape.prefix + _coarse_tokens(shape, params)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "spatial reduction needs the grid, which a token reduction has scattered"
        if "reduction" in params and params.get("pool") is not None:
            return "give reduction or pool, not both"
        pool, position = params.get("pool"), score_position(params.get("position"))
        if position is not None and (pool is not None or position.alone):
            return f"position={params['position']} needs keys on a grid; choose another, and reduction instead of pool"
        if position is not None and position.check(shape) is not None:
            return position.check(shape)
        if pool is not None:
            return None if pool**2 < shape.tokens else f"{pool}x{pool} keys for {shape.tokens} tokens; choose fewer"
        return check_reduction(shape.grid, params.get("reduction", 2), params.get("remainder", "pad"))

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """A reduction by 1 is softmax attention; the remainder is left out where there is none."""
        params = atom.params
        if params.get("pool") is not None:
            params.pop("remainder", None)
            return Atom(atom.kind, **params)
        params = {"reduction": 2, **params}
        if params["reduction"] == 1:
            return Atom("softmax", **{k: v for k, v in params.items() if k in (*SHARED, "position")})
        return Atom(atom.kind, **without_remainder(shape, params))

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        tokens, pooled = _coarse_tokens(shape, params), params.get("pool") is not None
        own = costs.attention(shape.heads, shape.length, shape.prefix + tokens, shape.head_dim)
        position = score_position(params.get("position"))
        if position is not None:
            reduction = params.get("reduction", 2)
            assert shape.grid is not None
            keys = coarse_grid(shape.grid, reduction, params.get("remainder", "pad"))
            own += position.cost(shape, keys, reduction)
        kernel = 1 if pooled else params.get("reduction", 2)
        if kernel == 1 and not pooled:
            return own
        return own + costs.conv(tokens, shape.dim, shape.dim, kernel) + costs.norm(shape.dim)


class StridedMap(Layer):
    """Patch tokens (B, N, C) on `grid` -> (B, M, C): R x R convolution with stride R, then layer norm if wanted."""

    def __init__(self, dim: int, grid: Grid, reduction: int, remainder: Remainder = "pad", norm: bool = True):
        super().__init__()
        self.grid = grid
        coarse = coarse_grid(grid, reduction, remainder)
        missing = [max(0, n * reduction - side) for n, side in zip(coarse, grid, strict=True)]
        self.padding = (0, missing[1], 0, missing[0])
        self.conv = nn.Conv2d(dim, dim, reduction, stride=reduction)
        self.norm = nn.LayerNorm(dim) if norm else Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = to_map(x, self.grid)
        if any(self.padding):
            x = F.pad(x, self.padding)
        return self.norm(to_tokens(self.conv(x)))


class PooledMap(Layer):
    """Patch tokens (B, N, C) on `grid` -> (B, P², C): average pooling, 1 x 1 convolution, layer norm, GELU."""

    def __init__(self, dim: int, grid: Grid, side: int):
        super().__init__()
        self.grid, self.side = grid, side
        self.conv = nn.Conv2d(dim, dim, 1)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(to_map(x, self.grid), self.side)
        return F.gelu(self.norm(to_tokens(self.conv(x))))


def coarse_grid(grid: Grid, reduction: int, remainder: Remainder) -> Grid:
    """What a convolution with stride R leaves of the map."""
    extra = reduction - 1 if remainder == "pad" else 0
    return (grid[0] + extra) // reduction, (grid[1] + extra) // reduction


def check_reduction(grid: Grid, reduction: int, remainder: Remainder) -> str | None:
    coarse = coarse_grid(grid, reduction, remainder)
    if reduction > 1 and min(coarse) < 2:
        return f"reduction {reduction} leaves {coarse[0]}x{coarse[1]} of {grid[0]}x{grid[1]} tokens; at least 2x2"
    return None


def without_remainder(shape: Shape, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters without a remainder that changes nothing."""
    exact = shape.grid is not None and not any(side % params["reduction"] for side in shape.grid)
    if exact or params.get("remainder") == "pad":
        return {k: v for k, v in params.items() if k != "remainder"}
    return params


def _coarse_tokens(shape: Shape, params: dict[str, Any]) -> int:
    assert shape.grid is not None
    if params.get("pool") is not None:
        return params["pool"] ** 2
    coarse = coarse_grid(shape.grid, params.get("reduction", 2), params.get("remainder", "pad"))
    return coarse[0] * coarse[1]
