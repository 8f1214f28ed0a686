"""Rotary position on two axes (Su et al., arXiv 2104.09864; for images Heo et al., ECCV 2024, arXiv 2403.13298)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.score_positions.base import SCORE_POSITIONS, Grid, ScorePosition, coordinates

BASE = 100.0  # ratio of the quickest rotation to the slowest


@SCORE_POSITIONS.register("rope")
class RotaryPosition(ScorePosition):
    """Rotates pairs of channels of q and k by angles that grow with the row, or with the column: scores then depend
    on differences alone.

    Channel c of the first half turns with channel c of the second; rows turn the first d/4 pairs, columns the others.
    """

    q_turn: Tensor
    k_turn: Tensor

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, keys: Grid | None = None, stride: int = 1):
        super().__init__(num_heads, head_dim, grid, keys)
        steps = frequencies(head_dim)
        axes = torch.block_diag(steps[None], steps[None])  # (2, d/2)
        self.register_buffer("q_turn", turn(coordinates(grid) @ axes), persistent=False)
        self.register_buffer("k_turn", turn(coordinates(self.keys, stride) @ axes), persistent=False)

    def placed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return rotated(q, self.q_turn), rotated(k, self.k_turn)

    @classmethod
    def check(cls, shape: Shape) -> str | None:
        if shape.head_dim % 4:
            return f"rotary position on two axes with heads of {shape.head_dim} channels; choose a multiple of 4"
        return None


@SCORE_POSITIONS.register("rope_mixed")
class MixedRotaryPosition(ScorePosition):
    """Rotary position whose pairs of channels each turn along a learned direction, at a learned speed."""

    q_places: Tensor
    k_places: Tensor

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, keys: Grid | None = None, stride: int = 1):
        super().__init__(num_heads, head_dim, grid, keys)
        self.speeds = nn.Parameter(random_directions(num_heads, head_dim))
        self.register_buffer("q_places", coordinates(grid), persistent=False)
        self.register_buffer("k_places", coordinates(self.keys, stride), persistent=False)

    def placed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return rotated(q, turn(self._angles(self.q_places))), rotated(k, turn(self._angles(self.k_places)))

    def _angles(self, places: Tensor) -> Tensor:
        """(N, 2) -> (h, N, d/2)."""
        return (places[:, :, None] * self.speeds[:, None]).sum(dim=2)

    @classmethod
    def check(cls, shape: Shape) -> str | None:
        return RotaryPosition.check(shape)

    @classmethod
    def cost(cls, shape: Shape, keys: Grid | None = None, stride: int = 1) -> Cost:
        return costs.weights(shape.heads * shape.head_dim)


def frequencies(head_dim: int) -> Tensor:
    """(d/4,): radians per token, from 1 down towards 1 / BASE."""
    return BASE ** -(torch.arange(head_dim // 4) / (head_dim // 4))


def random_directions(num_heads: int, head_dim: int) -> Tensor:
    """(h, 2, d/2): two axes at right angles for each head, turned by chance, each with all frequencies."""
    angle = torch.rand(num_heads, 1) * 2 * math.pi + torch.tensor([0, math.pi / 2]).repeat_interleave(head_dim // 4)
    return torch.stack([angle.sin(), angle.cos()], dim=1) * frequencies(head_dim).repeat(2)


def turn(angles: Tensor) -> Tensor:
    """(..., N, d/2) -> (2, ..., N, d/2): cosines, then sines."""
    return torch.stack([angles.cos(), angles.sin()])


def rotated(x: Tensor, by: Tensor) -> Tensor:
    """(..., P + N, d) with the N tokens turned, and the prefix as it is."""
    cos, sin = by.to(x.dtype).unbind(0)
    prefix = x.shape[-2] - cos.shape[-2]
    if prefix:
        cos, sin = F.pad(cos, (0, 0, prefix, 0), value=1.0), F.pad(sin, (0, 0, prefix, 0))
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
