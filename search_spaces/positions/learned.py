"""Learned absolute position: one vector per token (ViT, arXiv 2010.11929; per stage in PVT, arXiv 2102.12122)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import POSITIONS, Grid, Position


@POSITIONS.register("learned")
class LearnedPosition(Position):
    """Adds a table of (prefix + N) rows. every_stage: each stage has its own."""

    def __init__(self, dim: int, grid: Grid, prefix: int, every_stage: bool = False):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(1, prefix + grid[0] * grid[1], dim))
        nn.init.trunc_normal_(self.table, std=0.3)  # small tables are learned too slowly by short trainings

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table

    @classmethod
    def place(cls, **params: Any) -> Literal["first stage", "every stage", "after first block"]:
        return "every stage" if params.get("every_stage", False) else "first stage"

    @classmethod
    def cost(cls, *, dim: int, grid: Grid, prefix: int, **params: Any) -> Cost:
        return costs.weights((prefix + grid[0] * grid[1]) * dim)
