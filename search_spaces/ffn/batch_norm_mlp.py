"""An MLP with a batch norm behind each linear, which fold into it for inference (EfficientFormer, Li et al., NeurIPS
2022, arXiv 2206.01191)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import FFNS, FeedForward, Grid


@FFNS.register("batch_norm_mlp")
class BatchNormMlp(FeedForward):
    """BN(fc2(GELU(BN(fc1 x)))), each token by itself but for the statistics of a training batch."""

    search = {"ratio": (2, 3, 4, 6)}

    def __init__(self, dim: int, grid: Grid | None, ratio: float = 4):
        super().__init__()
        hidden = int(dim * ratio)
        self.fc1 = nn.Linear(dim, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.norm2 = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.norm1(self.fc1(x).transpose(1, 2)).transpose(1, 2))
        return self.norm2(self.fc2(hidden).transpose(1, 2)).transpose(1, 2)

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, length = int(dim * params.get("ratio", 4)), prefix + tokens
        ends = costs.linear(length, dim, hidden) + costs.linear(length, hidden, dim)
        return ends + costs.norm(hidden) + costs.norm(dim)
