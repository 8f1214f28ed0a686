"""Conditional position: a depth-wise convolution after the first block of each stage (Chu et al., arXiv 2102.10882)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import split_prefix, to_map, to_tokens
from search_spaces.parts import POSITIONS, Grid, Position


@POSITIONS.register("conditional")
class ConditionalPosition(Position):
    """x + DW3×3(x); the zero padding marks the borders. Prefix tokens pass by."""

    def __init__(self, dim: int, grid: Grid, prefix: int):
        super().__init__()
        self.grid = grid
        self.proj = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        prefix, patches = split_prefix(x, self.grid[0] * self.grid[1])
        patches = patches + to_tokens(self.proj(to_map(patches, self.grid)))
        return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches

    @classmethod
    def place(cls, **params: Any) -> Literal["first stage", "every stage", "after first block"]:
        return "after first block"

    @classmethod
    def cost(cls, *, dim: int, grid: Grid, prefix: int, **params: Any) -> Cost:
        return costs.depthwise(grid[0] * grid[1], dim, 3)
