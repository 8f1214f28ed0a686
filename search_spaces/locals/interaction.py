"""Local patch interaction: two depth-wise convolutions between mixer and feed-forward (XCiT, arXiv 2106.09681)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import split_prefix, to_map, to_tokens
from search_spaces.parts import LOCALS, Grid, Local


@LOCALS.register("lpi")
class LocalPatchInteraction(Local):
    """DW(GELU and batch norm of DW(x)): conv, GELU, batch norm, conv. The block adds norm, layer scale and residual.

    Prefix tokens receive nothing.
    """

    place = "between"

    def __init__(self, dim: int, grid: Grid, kernel: int = 3):
        super().__init__()
        self.grid = grid
        self.conv1 = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.bn = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        prefix, patches = split_prefix(x, self.grid[0] * self.grid[1])
        patches = to_tokens(self.conv2(self.bn(F.gelu(self.conv1(to_map(patches, self.grid))))))
        return torch.cat([torch.zeros_like(prefix), patches], dim=1) if prefix.shape[1] else patches

    @classmethod
    def cost(cls, *, dim: int, tokens: int, **params: Any) -> Cost:
        return costs.depthwise(tokens, dim, params.get("kernel", 3)) * 2 + costs.norm(dim)
