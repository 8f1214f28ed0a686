"""The MLP of a transformer block: linear, GELU, linear (Vaswani et al., NeurIPS 2017)."""

from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.convolution import activation, activation_cost
from search_spaces.costs import Cost
from search_spaces.parts import FFNS, FeedForward, Grid


@FFNS.register("mlp")
class Mlp(FeedForward):
    """Each token by itself through int(C · ratio) hidden channels. act: see search_spaces/convolution.py."""

    search = {"ratio": (2, 3, 4, 6)}

    def __init__(self, dim: int, grid: Grid | None, ratio: float = 4, act: str = "gelu", bias: bool = True):
        super().__init__()
        hidden = int(dim * ratio)
        self.fc1 = nn.Linear(dim, hidden, bias=bias)
        self.act = activation(act)
        self.fc2 = nn.Linear(hidden, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, length = int(dim * params.get("ratio", 4)), prefix + tokens
        bias, act = params.get("bias", True), activation_cost(params.get("act", "gelu"))
        return costs.linear(length, dim, hidden, bias) + costs.linear(length, hidden, dim, bias) + act
