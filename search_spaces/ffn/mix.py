"""Mix-FFN: an MLP with a depth-wise convolution inside (SegFormer, arXiv 2105.15203; PVTv2, arXiv 2106.13797)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import split_prefix, to_map, to_tokens
from search_spaces.parts import FFNS, FeedForward, Grid, Identity


@FFNS.register("mix")
class MixFeedForward(FeedForward):
    """fc2(GELU(DW3×3(fc1 x))): the zero padding of the convolution tells positions apart. Prefix tokens pass by it.

    skip: adds fc1 x to the convolution's result inside the activation (Shunted, arXiv 2111.15193).
    relu: a ReLU before the convolution (the linear variant of PVTv2).
    skip_norm: skip, and a layer norm behind it (MISSFormer, arXiv 2109.07162).
    """

    search = {"ratio": (2, 3, 4, 6)}
    positional = True

    def __init__(
        self,
        dim: int,
        grid: Grid,
        ratio: float = 4,
        skip: bool = False,
        relu: bool = False,
        skip_norm: bool = False,
    ):
        super().__init__()
        hidden = int(dim * ratio)
        self.grid, self.skip, self.relu = grid, skip or skip_norm, relu
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.norm = nn.LayerNorm(hidden) if skip_norm else Identity()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        x = F.relu(x) if self.relu else x
        prefix, patches = split_prefix(x, self.grid[0] * self.grid[1])
        local = to_tokens(self.dwconv(to_map(patches, self.grid)))
        patches = patches + local if self.skip else local
        x = torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches
        return self.fc2(F.gelu(self.norm(x)))

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, length = int(dim * params.get("ratio", 4)), prefix + tokens
        ends = costs.linear(length, dim, hidden) + costs.linear(length, hidden, dim)
        norm = costs.norm(hidden) if params.get("skip_norm", False) else Cost()
        return ends + costs.depthwise(tokens, hidden, 3) + norm
