"""Inverted residual feed-forward (IRFFN) of CMT (Guo et al., CVPR 2022, arXiv 2107.06263)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import add_on_map
from search_spaces.parts import FFNS, FeedForward, Grid


@FFNS.register("inverted_residual")
class InvertedResidual(FeedForward):
    """u = BN(GELU(fc1 x)); BN(fc2(BN(GELU(u + DW3×3(u))))). Prefix tokens pass by the convolution, not by the norms."""

    search = {"ratio": (2, 3, 4, 6)}
    positional = True

    def __init__(self, dim: int, grid: Grid, ratio: float = 4):
        super().__init__()
        hidden = int(dim * ratio)
        self.grid = grid
        self.fc1 = nn.Linear(dim, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.norm2 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.norm3 = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = _normed(self.norm1, F.gelu(self.fc1(x)))
        x = add_on_map(x, self.grid, self.dwconv)
        x = _normed(self.norm2, F.gelu(x))
        return _normed(self.norm3, self.fc2(x))

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, length = int(dim * params.get("ratio", 4)), prefix + tokens
        ends = costs.linear(length, dim, hidden) + costs.linear(length, hidden, dim)
        return ends + costs.depthwise(tokens, hidden, 3) + costs.norm(hidden) * 2 + costs.norm(dim)


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch norm over the channels of tokens (B, L, C)."""
    return norm(x.flatten(0, 1)).unflatten(0, (-1, x.shape[1]))
