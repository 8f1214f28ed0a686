"""Deformable token merging between stages (LIT: Pan et al., AAAI 2022, arXiv 2105.14217)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import read_at, to_map, to_tokens
from search_spaces.parts import DOWNSAMPLERS, DownSampler, Grid


@DOWNSAMPLERS.register("deformable")
class DeformableMerging(DownSampler):
    """GELU(BN(deformable convolution)), kernel = stride = `factor`: every tap reads where a learned offset points to.

    Offsets come from a convolution of the same size on the same map: channels 2t and 2t + 1 move tap t down and right.
    They start at zero, as ordinary merging. Reads are bilinear, zero outside the map; odd sides are padded with zeros.
    """

    taps: Tensor

    def __init__(self, dim: int, out_dim: int, grid: Grid, factor: int = 2):
        super().__init__()
        self.grid_in, self.grid_out, self.factor = grid, self.grid(grid, factor=factor), factor
        self.offset = nn.Conv2d(dim, 2 * factor**2, factor, stride=factor)
        self.proj = nn.Conv2d(dim, out_dim, factor, stride=factor)
        self.norm = nn.BatchNorm2d(out_dim)
        self.register_buffer("taps", _taps(self.grid_out, factor), persistent=False)

    def init_special(self) -> None:
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        x = to_map(x, self.grid_in)
        read = self.read(x, self.offsets(x)).to(x.dtype)  # (B, h·w, C·k²)
        merged = F.linear(read, self.proj.weight.flatten(1), self.proj.bias)
        return to_tokens(F.gelu(self.norm(to_map(merged, self.grid_out))))

    def offsets(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2k², h, w), in tokens."""
        h, w = self.grid_in
        return self.offset(F.pad(x, (0, -w % self.factor, 0, -h % self.factor)))

    def read(self, x: Tensor, offsets: Tensor) -> Tensor:
        """What the taps see, (B, h·w, C·k²). Positions in float32: half precision cannot tell tokens apart."""
        rows, columns = (self.taps + offsets.float().unflatten(1, (-1, 2))).unbind(2)  # (B, k², h, w) each
        h, w = self.grid_in
        where = torch.stack([(2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1], dim=4)  # -1 and 1: the map's edges
        seen = read_at(x.float(), where.flatten(1, 2), align_corners=False)  # (B, C, k²·h, w)
        return seen.unflatten(2, rows.shape[1:3]).flatten(1, 2).flatten(2).transpose(1, 2)

    @classmethod
    def grid(cls, grid: Grid, **params: Any) -> Grid:
        factor = params.get("factor", 2)
        return -(-grid[0] // factor), -(-grid[1] // factor)

    @classmethod
    def cost(cls, *, dim: int, out_dim: int, grid: Grid, **params: Any) -> Cost:
        (h, w), factor = cls.grid(grid, **params), params.get("factor", 2)
        convolutions = costs.conv(h * w, dim, 2 * factor**2, factor) + costs.conv(h * w, dim, out_dim, factor)
        return convolutions + costs.norm(out_dim)


def _taps(grid: Grid, factor: int) -> Tensor:
    """Row and column (k², 2, h, w) of every tap before it is moved."""
    rows, columns = (torch.arange(side * factor).reshape(side, factor).T for side in grid)  # (k, side)
    down = rows[:, None, :, None].expand(factor, factor, *grid)
    right = columns[None, :, None, :].expand(factor, factor, *grid)
    return torch.stack([down, right], dim=2).flatten(0, 1).float()
