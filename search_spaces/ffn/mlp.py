"""The MLP of a transformer block: linear, GELU, linear (Vaswani et al., NeurIPS 2017)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import FFNS, FeedForward, Grid


@FFNS.register("mlp")
class Mlp(FeedForward):
    """Each token by itself through int(C · ratio) hidden channels."""

    search = {"ratio": (2, 3, 4, 6)}

    def __init__(self, dim: int, grid: Grid | None, ratio: float = 4):
        super().__init__()
        hidden = int(dim * ratio)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, length = int(dim * params.get("ratio", 4)), prefix + tokens
        return costs.linear(length, dim, hidden) + costs.linear(length, hidden, dim)
