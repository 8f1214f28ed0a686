"""Patch merging: 2×2 neighbours concatenated, normed, projected (Swin, arXiv 2103.14030)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import DOWNSAMPLERS, DownSampler, Grid


@DOWNSAMPLERS.register("merge")
class PatchMerging(DownSampler):
    """Channels in the order (row, column) = (0,0), (1,0), (0,1), (1,1).

    Odd sides get a zero row or column at the end.
    """

    def __init__(self, dim: int, out_dim: int, grid: Grid, eps: float = 1e-5):
        super().__init__()
        self.grid_in = grid
        self.norm = nn.LayerNorm(4 * dim, eps=eps)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h, w = self.grid_in
        x = F.pad(x.unflatten(1, (h, w)), (0, 0, 0, w % 2, 0, h % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)
        return self.reduction(self.norm(x))

    @classmethod
    def cost(cls, *, dim: int, out_dim: int, grid: Grid, **params: Any) -> Cost:
        h, w = cls.grid(grid)
        return costs.norm(4 * dim) + costs.linear(h * w, 4 * dim, out_dim, bias=False)
