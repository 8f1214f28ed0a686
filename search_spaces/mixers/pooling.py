"""Average pooling as a token mixer (Yu et al., CVPR 2022, arXiv 2111.11418)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from search_spaces.costs import Cost, Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About

KERNEL = 3


@MIXERS.register("pooling")
class Pooling(Mixer):
    """avg_k(x) - x, which takes off what the residual adds. No parameters; border means leave the padding out."""

    about = About(
        taxonomy="other",
        group="pooling",
        paper="Yu et al., CVPR 2022",
        arxiv="2111.11418",
        complexity="0 (k²NC additions)",
    )
    search = {"kernel": (3, 5)}
    reach = "local"
    has_heads = False

    def __init__(self, dim: int, num_heads: int, grid: Grid, kernel: int = KERNEL):
        super().__init__()
        self.grid, self.kernel = grid, kernel

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(
            to_map(x, self.grid), self.kernel, stride=1, padding=self.kernel // 2, count_include_pad=False
        )
        return to_tokens(pooled) - x

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "pooling needs a grid of tokens"
        kernel = params.get("kernel", KERNEL)
        if kernel > min(shape.grid):
            return f"pooling with a kernel of {kernel} on a map of {shape.grid[0]}x{shape.grid[1]}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        return Cost()
