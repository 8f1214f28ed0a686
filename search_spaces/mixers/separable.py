"""Separable convolution as a token mixer (Yu et al., MetaFormer baselines, TPAMI 2024, arXiv 2210.13452)."""

from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.convolution import StarReLU
from search_spaces.costs import Cost, Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About

KERNEL, EXPAND = 7, 2


@MIXERS.register("separable")
class SeparableConvolution(Mixer):
    """Linear to expand · C, StarReLU, k×k depth-wise, linear back to C; no biases, as published."""

    about = About(
        taxonomy="other",
        group="convolution integration",
        paper="Yu et al., TPAMI 2024",
        arxiv="2210.13452",
        complexity="2eNC² + ek²NC",
    )
    search = {"kernel": (3, 7), "expand": (1, 2)}
    reach = "local"
    has_heads = False

    def __init__(self, dim: int, num_heads: int, grid: Grid, kernel: int = KERNEL, expand: float = EXPAND):
        super().__init__()
        hidden = int(dim * expand)
        self.grid = grid
        self.widen = nn.Linear(dim, hidden, bias=False)
        self.act = StarReLU()
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden, bias=False)
        self.narrow = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = to_map(self.act(self.widen(x)), self.grid)
        return self.narrow(to_tokens(self.depthwise(x)))

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "a separable convolution needs a grid of tokens"
        kernel = params.get("kernel", KERNEL)
        if kernel > min(shape.grid):
            return f"a kernel of {kernel} on a map of {shape.grid[0]}x{shape.grid[1]}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        n, dim, hidden = shape.tokens, shape.dim, int(shape.dim * params.get("expand", EXPAND))
        ends = costs.linear(n, dim, hidden, bias=False) + costs.linear(n, hidden, dim, bias=False)
        inside = costs.depthwise(n, hidden, params.get("kernel", KERNEL), bias=False)
        return ends + inside + costs.weights(StarReLU.parameters_held)
