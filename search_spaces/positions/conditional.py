"""Conditional position: a depth-wise convolution after the first block of each stage (Chu et al., arXiv 2102.10882)."""

from typing import Any, Literal

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import add_on_map
from search_spaces.parts import POSITIONS, Grid, Position


@POSITIONS.register("conditional")
class ConditionalPosition(Position):
    """x + DW3×3(x); the zero padding marks the borders. Prefix tokens pass by."""

    def __init__(self, dim: int, grid: Grid, prefix: int):
        super().__init__()
        self.grid = grid
        self.proj = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return add_on_map(x, self.grid, self.proj)

    @classmethod
    def place(cls, **params: Any) -> Literal["first stage", "every stage", "after first block"]:
        return "after first block"

    @classmethod
    def cost(cls, *, dim: int, grid: Grid, prefix: int, **params: Any) -> Cost:
        return costs.depthwise(grid[0] * grid[1], dim, 3)
