"""The contract of positions inside the scores: what softmax attention adds to q · k, or does to q and k before it.

Queries lie on a grid of H x W tokens, keys on the same grid or on one of H' x W' whose tokens are `stride` apart, each
in the middle of its stride x stride queries. Prefix tokens lie nowhere: they are not rotated, and all pairs with them
have the `neutral` bias.
"""

from math import prod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.registry import Registry
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer

Grid = tuple[int, int]


class ScorePosition(Layer):
    """Built as cls(num_heads=, head_dim=, grid=, keys=, stride=). Called with q, k, v it is the whole attention."""

    alone: ClassVar[bool] = False  # needs all queries and keys of one map: no groups, no other grid for the keys
    neutral: float = 0.0  # bias of pairs with a prefix token

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, keys: Grid | None = None, stride: int = 1):
        super().__init__()
        self.grid, self.keys = grid, keys or grid

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, h, P + N, d), k and v (B, h, P + M, d) -> (B, h, P + N, d)."""
        bias = self.padded_bias(q)
        q, k = self.placed(q, k)
        mask = None if bias is None else bias.unsqueeze(0).to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """What the softmax is taken of, (B, h, P + N, P + M)."""
        bias = self.padded_bias(q)
        q, k = self.placed(q, k)
        products = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        return products if bias is None else products + bias.to(products.dtype)

    def padded_bias(self, q: Tensor) -> Tensor | None:
        """(h, P + N, P + M) for queries with P prefix tokens."""
        bias, prefix = self.bias(), q.shape[-2] - self.grid[0] * self.grid[1]
        if bias is None or prefix == 0:
            return bias
        return F.pad(bias, (prefix, 0, prefix, 0), value=self.neutral)

    def placed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """q (..., h, P + N, d) and k (..., h, P + M, d) such that the scores are q · k / √d."""
        return q, k

    def bias(self) -> Tensor | None:
        """(h, N, M), added to the scores."""
        return None

    @classmethod
    def check(cls, shape: Shape) -> str | None:
        """Why this cannot work on a shape, or None."""
        return None

    @classmethod
    def cost(cls, shape: Shape, keys: Grid | None = None, stride: int = 1) -> Cost:
        """Exact cost beyond that of attention without a position."""
        return Cost()


SCORE_POSITIONS: Registry[type[ScorePosition]] = Registry("position in the scores")


def score_position(name: str | type[ScorePosition] | None) -> type[ScorePosition] | None:
    """The class that a mixer's parameter `position` means. Raises UserError for an unknown name."""
    return SCORE_POSITIONS[name] if isinstance(name, str) else name


def with_position(params: dict[str, Any]) -> dict[str, Any]:
    """A mixer's parameters with the class of the named position, or without one."""
    position = score_position(params.get("position"))
    rest = {key: value for key, value in params.items() if key != "position"}
    return rest if position is None else {**rest, "position": position}


def coordinates(grid: Grid, stride: int = 1) -> Tensor:
    """(N, 2): row and column of every token, in steps of the queries' grid."""
    y, x = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
    return torch.stack([y, x], dim=1) * stride + (stride - 1) / 2


def offset_sides(grid: Grid, keys: Grid | None = None, stride: int = 1) -> Grid:
    """How many differences there are vertically and horizontally."""
    high, wide = (side + stride * (other - 1) for side, other in zip(grid, keys or grid, strict=True))
    return high, wide


def table_rows(grid: Grid, keys: Grid | None = None, stride: int = 1) -> int:
    """How many differences query minus key there are."""
    return prod(offset_sides(grid, keys, stride))


def relative_index(grid: Grid, keys: Grid | None = None, stride: int = 1) -> Tensor:
    """(N, M): row dy · columns + dx of a table over all differences query minus key, counted from the smallest."""
    other = keys or grid
    first = torch.tensor([stride * (side - 1) for side in other])
    # the centre of a key's square is left out of both sides: what remains is whole
    own, theirs = coordinates(grid).long(), (coordinates(other) * stride).long()
    dy, dx = (own[:, None] - theirs[None] + first).unbind(2)
    return dy * offset_sides(grid, keys, stride)[1] + dx
