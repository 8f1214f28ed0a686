"""No token mixing: blocks with a feed-forward alone, as LIT begins (Pan et al., AAAI 2022, arXiv 2105.14217)."""

from typing import Any

import torch
from torch import Tensor

from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About


@MIXERS.register("none")
class NoMixing(Mixer):
    """Adds nothing to the residual. A block leaves the branch out, norm included, so this is never called there."""

    about = About(
        taxonomy="hierarchy",
        group="stages without attention",
        paper="Pan et al., AAAI 2022",
        arxiv="2105.14217",
        complexity="0",
    )
    reach = "none"
    is_set = True
    takes_prefix = True
    has_heads = False

    def __init__(self, dim: int, num_heads: int, grid: Grid | None):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        return Cost()
