"""Learned absolute position: one vector per token (ViT, arXiv 2010.11929; per stage in PVT, arXiv 2102.12122)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import split_prefix
from search_spaces.parts import POSITIONS, Grid, Position


@POSITIONS.register("learned")
class LearnedPosition(Position):
    """Adds a table of (prefix + N) rows. every_stage: each stage has its own.

    class_row: the class token has a row too; without (DeiT III, arXiv 2204.07118) it passes by.
    """

    def __init__(self, dim: int, grid: Grid, prefix: int, every_stage: bool = False, class_row: bool = True):
        super().__init__()
        rows = class_row * prefix + grid[0] * grid[1]
        self.table = nn.Parameter(torch.zeros(1, rows, dim))
        nn.init.trunc_normal_(self.table, std=0.3)  # small tables are learned too slowly by short trainings

    def forward(self, x: Tensor) -> Tensor:
        passing, placed = split_prefix(x, self.table.shape[1])
        placed = placed + self.table
        return torch.cat([passing, placed], dim=1) if passing.shape[1] else placed

    @classmethod
    def place(cls, **params: Any) -> Literal["first stage", "every stage", "after first block"]:
        return "every stage" if params.get("every_stage", False) else "first stage"

    @classmethod
    def cost(cls, *, dim: int, grid: Grid, prefix: int, **params: Any) -> Cost:
        return costs.weights((params.get("class_row", True) * prefix + grid[0] * grid[1]) * dim)
