"""Global filter layer (Rao et al., NeurIPS 2021, arXiv 2107.00645)."""

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About


@MIXERS.register("global_filter")
class GlobalFilter(Mixer):
    """F⁻¹(K ⊙ F x): one learned complex factor per frequency and channel, which is a circular convolution of the map.

    Its weights belong to one size of the map. Channels do not meet.
    """

    about = About(
        taxonomy="complexity reduction",
        group="Fourier",
        paper="Rao et al., NeurIPS 2021",
        arxiv="2107.00645",
        complexity="2NC products of elements, and two transforms in NC log N",
    )
    has_heads = False

    def __init__(self, dim: int, num_heads: int, grid: Grid):
        super().__init__()
        self.grid = grid
        self.weight = nn.Parameter(torch.empty(grid[0], grid[1] // 2 + 1, dim, 2))  # real, imaginary
        nn.init.normal_(self.weight, std=0.5)  # factors of about unit size

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x.float().unflatten(1, self.grid), dim=(1, 2), norm="ortho")
        filtered = spectrum * torch.view_as_complex(self.weight.float())
        return torch.fft.irfft2(filtered, s=self.grid, dim=(1, 2), norm="ortho").flatten(1, 2).to(x.dtype)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        return None if shape.grid is not None else "a Fourier transform needs a grid of tokens"

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        assert shape.grid is not None
        return costs.weights(2 * shape.dim * shape.grid[0] * (shape.grid[1] // 2 + 1))
