"""A learned bias per head and relative position (Liu et al., Swin Transformer, ICCV 2021, arXiv 2103.14030)."""

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.score_positions.base import SCORE_POSITIONS, Grid, ScorePosition, relative_index, table_rows


@SCORE_POSITIONS.register("table")
class TablePosition(ScorePosition):
    """softmax(q kᵀ / √d + b[dy, dx]): one entry for each head and difference query minus key."""

    index: Tensor

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, keys: Grid | None = None, stride: int = 1):
        super().__init__(num_heads, head_dim, grid, keys)
        self.table = nn.Parameter(torch.empty(table_rows(grid, keys, stride), num_heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", relative_index(grid, keys, stride), persistent=False)

    def bias(self) -> Tensor:
        return look_up(self.table, self.index)

    @classmethod
    def cost(cls, shape: Shape, keys: Grid | None = None, stride: int = 1) -> Cost:
        assert shape.grid is not None
        return costs.weights(table_rows(shape.grid, keys, stride) * shape.heads)


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """(R, h) and (N, M) -> (h, N, M), contiguous."""
    return table.t().index_select(1, index.flatten()).unflatten(1, index.shape)
