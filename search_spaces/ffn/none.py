"""No feed-forward: for mixers such as MBConv that widen by themselves."""

from typing import Any

from torch import Tensor

from search_spaces.costs import Cost
from search_spaces.parts import FFNS, FeedForward, Grid


@FFNS.register("none")
class NoFeedForward(FeedForward):
    """Never called: the block leaves the branch out."""

    def __init__(self, dim: int, grid: Grid | None):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        return Cost()
