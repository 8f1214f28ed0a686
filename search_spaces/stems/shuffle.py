"""Convolutional stem of Shuffle Transformer (Huang et al., arXiv 2106.03650)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import to_tokens
from search_spaces.parts import STEMS, Grid, Stem

STRIDE, WIDTH = 4, 32


@STEMS.register("shuffle")
class ShuffleStem(Stem):
    """Two 3×3 convolutions, each with a batch norm and ReLU6 behind it, then a 1×1 convolution.

    stride: of both together, 4 as published, 2 or 1. width: channels between the two.
    """

    positional = True

    def __init__(self, in_chans: int, dim: int, image_size: Grid, stride: int = STRIDE, width: int = WIDTH):
        super().__init__()
        first, second = _steps(stride)
        self.conv1 = nn.Conv2d(in_chans, width, 3, stride=first, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, dim, 3, stride=second, padding=1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.norm1(self.conv1(x)))
        return to_tokens(self.proj(F.relu6(self.norm2(self.conv2(x)))))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        first, second = _steps(params.get("stride", STRIDE))
        rows, columns = (-(-side // first) for side in image_size)
        return -(-rows // second), -(-columns // second)

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        (h, w), width = cls.grid(image_size, **params), params.get("width", WIDTH)
        step = _steps(params.get("stride", STRIDE))[0]
        between = -(-image_size[0] // step) * -(-image_size[1] // step)
        first = costs.conv(between, in_chans, width, 3) + costs.norm(width)
        return first + costs.conv(h * w, width, dim, 3) + costs.norm(dim) + costs.conv(h * w, dim, dim, 1)


def _steps(stride: int) -> tuple[int, int]:
    """Strides of the two convolutions."""
    return min(2, stride), -(-stride // 2)
