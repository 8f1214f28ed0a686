"""The local branch of attention that loses neighbourhoods: a depth-wise convolution of the values (LePE of Dong et al.,
CVPR 2022, arXiv 2107.00652)."""

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.layer import Layer
from search_spaces.mixers.base import Grid


class LocalValues(Layer):
    """v (B, h, P + N, d) -> the same by a k x k convolution over the map of N patches; prefix tokens get zero.

    shared: one kernel per channel of a head for all heads, instead of one for each of the h · d channels.
    """

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, kernel: int, shared: bool = False):
        super().__init__()
        self.grid, self.channels = grid, head_dim if shared else num_heads * head_dim
        self.conv = nn.Conv2d(self.channels, self.channels, kernel, padding=kernel // 2, groups=self.channels)

    def forward(self, v: Tensor) -> Tensor:
        batch, heads, length, head_dim = v.shape
        prefix = length - self.grid[0] * self.grid[1]
        maps = v[:, :, prefix:].transpose(2, 3).reshape(-1, self.channels, *self.grid)
        out = self.conv(maps).reshape(batch, heads, head_dim, -1).transpose(2, 3)
        return F.pad(out, (0, 0, prefix, 0)) if prefix else out
