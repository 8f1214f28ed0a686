"""A whole inverted bottleneck that halves the map, its shortcut pooled (CoAtNet, Dai et al., NeurIPS 2021, arXiv
2106.04803; MaxViT, Tu et al., ECCV 2022, arXiv 2204.01697)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.convolution import Conv3x3, activation
from search_spaces.costs import Cost
from search_spaces.layer import Layer, to_map, to_tokens
from search_spaces.mixers.mbconv import SqueezeExcitation
from search_spaces.parts import DOWNSAMPLERS, DownSampler, Grid, Identity

EXPAND, SQUEEZE = 4, 0.25


@DOWNSAMPLERS.register("mbconv")
class MBConvDown(DownSampler):
    """Pooled x + [norm, 1×1 to expand · C', 3×3 depth-wise of stride 2, gate, 1×1 to C'], batch norms throughout.

    stride 1 keeps the map: the further blocks of a convolutional stage, each a stage of its own. squeeze: channels of
    the gate's bottleneck as a share of C'. same: see Conv3x3.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        grid: Grid,
        stride: int = 2,
        expand: float = EXPAND,
        squeeze: float = SQUEEZE,
        same: bool = False,
        act: str = "gelu",
        eps: float = 1e-5,
    ):
        super().__init__()
        hidden = int(out_dim * expand)
        self.grid_in = grid
        self.shortcut = PooledShortcut(dim, out_dim, stride)
        self.norm = nn.BatchNorm2d(dim, eps=eps)
        self.widen = nn.Conv2d(dim, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden, eps=eps)
        self.act1 = activation(act)
        self.depthwise = Conv3x3(hidden, hidden, grid, stride=stride, groups=hidden, bias=False, same=same)
        self.norm2 = nn.BatchNorm2d(hidden, eps=eps)
        self.act2 = activation(act)
        self.gate = SqueezeExcitation(hidden, max(1, int(out_dim * squeeze)))
        self.narrow = nn.Conv2d(hidden, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = to_map(x, self.grid_in)
        branch = self.act1(self.norm1(self.widen(self.norm(x))))
        branch = self.act2(self.norm2(self.depthwise(branch)))
        return to_tokens(self.shortcut(x) + self.narrow(self.gate(branch)))

    @classmethod
    def grid(cls, grid: Grid, **params: Any) -> Grid:
        return halved(grid, params.get("stride", 2))

    @classmethod
    def cost(cls, *, dim: int, out_dim: int, grid: Grid, **params: Any) -> Cost:
        before, (h, w) = grid[0] * grid[1], cls.grid(grid, **params)
        hidden = int(out_dim * params.get("expand", EXPAND))
        gate = max(1, int(out_dim * params.get("squeeze", SQUEEZE)))
        branch = costs.norm(dim) + costs.conv(before, dim, hidden, 1, bias=False) + costs.norm(hidden) * 2
        branch += costs.depthwise(h * w, hidden, 3, bias=False) + costs.conv(h * w, hidden, out_dim, 1)
        branch += costs.linear(1, hidden, gate) + costs.linear(1, gate, hidden)
        return branch + PooledShortcut.cost(dim, out_dim, h * w)


class PooledShortcut(Layer):
    """(B, C, H, W): means of 2×2 where the map is halved, then 1×1 where the width changes."""

    def __init__(self, dim: int, out_dim: int, stride: int = 2, bias: bool = True):
        super().__init__()
        self.stride = stride
        self.expand = nn.Conv2d(dim, out_dim, 1, bias=bias) if dim != out_dim else Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(pooled(x) if self.stride == 2 else x)

    @classmethod
    def cost(cls, dim: int, out_dim: int, positions: int, bias: bool = True) -> Cost:
        return costs.conv(positions, dim, out_dim, 1, bias=bias) if dim != out_dim else Cost()


def pooled(x: Tensor) -> Tensor:
    """(B, C, H, W) -> means of 2×2; at an odd border over what there is."""
    return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


def halved(grid: Grid, stride: int = 2) -> Grid:
    return -(-grid[0] // stride), -(-grid[1] // stride)
