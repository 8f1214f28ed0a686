"""Convolutional stem of CMT (Guo et al., CVPR 2022, arXiv 2107.06263)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import to_tokens
from search_spaces.parts import STEMS, Grid, Stem

STRIDE = 2


@STEMS.register("cmt")
class CmtStem(Stem):
    """Three 3×3 convolutions, the first with the stride, each with GELU and then a batch norm behind it."""

    positional = True

    def __init__(self, in_chans: int, dim: int, image_size: Grid, stride: int = STRIDE):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, dim, 3, stride=stride, padding=1)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.conv3 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(F.gelu(self.conv1(x)))
        x = self.norm2(F.gelu(self.conv2(x)))
        return to_tokens(self.norm3(F.gelu(self.conv3(x))))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        stride = params.get("stride", STRIDE)
        return -(-image_size[0] // stride), -(-image_size[1] // stride)

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        h, w = cls.grid(image_size, **params)
        convolutions = costs.conv(h * w, in_chans, dim, 3) + costs.conv(h * w, dim, dim, 3) * 2
        return convolutions + costs.norm(dim) * 3
