"""Neighbour-window connection: a depth-wise convolution across the borders of windows (Shuffle Transformer, Huang et
al., arXiv 2106.03650)."""

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import split_prefix, to_map, to_tokens
from search_spaces.parts import LOCALS, Grid, Local

KERNEL = 7


@LOCALS.register("neighbour_window")
class NeighbourWindow(Local):
    """DW(x) between mixer and feed-forward, its kernel as large as a window. The block adds norm and residual.

    Prefix tokens receive nothing.
    """

    place = "between"

    def __init__(self, dim: int, grid: Grid, kernel: int = KERNEL):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel of neighbour_window is odd, found {kernel}")
        self.grid = grid
        self.conv = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        prefix, patches = split_prefix(x, self.grid[0] * self.grid[1])
        patches = to_tokens(self.conv(to_map(patches, self.grid)))
        return torch.cat([torch.zeros_like(prefix), patches], dim=1) if prefix.shape[1] else patches

    @classmethod
    def cost(cls, *, dim: int, tokens: int, **params: Any) -> Cost:
        return costs.depthwise(tokens, dim, params.get("kernel", KERNEL))
