"""A depth-wise convolution with a residual: once (CMT, arXiv 2107.06263) or twice a block (DaViT, arXiv 2204.03645)."""

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import add_on_map
from search_spaces.parts import LOCALS, Grid, Local


@LOCALS.register("lpu")
class LocalPerception(Local):
    """x + DW3×3(x). Prefix tokens pass by."""

    place: ClassVar[Literal["before mixer", "before both", "between"]] = "before mixer"

    def __init__(self, dim: int, grid: Grid):
        super().__init__()
        self.grid = grid
        self.proj = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return add_on_map(x, self.grid, self.proj)

    @classmethod
    def cost(cls, *, dim: int, tokens: int, **params: Any) -> Cost:
        return costs.depthwise(tokens, dim, 3)


@LOCALS.register("cpe")
class ConditionalEncoding(LocalPerception):
    """One before the mixer and one before the feed-forward."""

    place = "before both"
