"""Fourier position: sines and cosines of both coordinates through a learned projection (XCiT, arXiv 2106.09681)."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import split_prefix
from search_spaces.parts import POSITIONS, Grid, Position


@POSITIONS.register("fourier")
class FourierPosition(Position):
    """Adds Linear(2·bands -> C) of the code; y first, then x, sine and cosine interleaved, temperature 10⁴.

    The class token passes by.
    """

    code: Tensor

    def __init__(self, dim: int, grid: Grid, prefix: int, bands: int = 32):
        super().__init__()
        self.register_buffer("code", _fourier_code(grid, bands), persistent=False)
        self.token_projection = nn.Linear(2 * bands, dim)

    def forward(self, x: Tensor) -> Tensor:
        prefix, patches = split_prefix(x, len(self.code))
        patches = patches + self.token_projection(self.code.to(x.dtype))
        return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches

    @classmethod
    def place(cls, **params: Any) -> Literal["first stage", "every stage", "after first block"]:
        return "first stage"

    @classmethod
    def cost(cls, *, dim: int, grid: Grid, prefix: int, **params: Any) -> Cost:
        return costs.linear(grid[0] * grid[1], 2 * params.get("bands", 32), dim)


def _fourier_code(grid: Grid, bands: int) -> Tensor:
    """(H·W, 2·bands)."""
    wavelengths = 10000 ** (2 * (torch.arange(bands) // 2) / bands)
    axes = []
    for side in grid:
        steps = torch.arange(1, side + 1)
        angles = (steps / (side + 1e-6) * 2 * math.pi)[:, None] / wavelengths
        axes.append(torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1))
    y = axes[0][:, None].expand(*grid, bands)
    x = axes[1][None].expand(*grid, bands)
    return torch.cat([y, x], dim=2).flatten(0, 1)
