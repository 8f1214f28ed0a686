"""Convolutional stem: 3×3 convolutions with batch norm, each halving the grid (Xiao et al., NeurIPS 2021,
arXiv 2106.14881; as in XCiT, arXiv 2106.09681)."""

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import to_tokens
from search_spaces.parts import STEMS, Grid, Stem


@STEMS.register("convstack")
class ConvStackStem(Stem):
    """log2(stride) convolutions of stride 2, widths doubling up to `dim`, GELU between them, none after the last.

    stride 1 keeps the grid: one convolution of stride 1. relu: ReLU instead, and after the last one too, with biased
    convolutions (EfficientFormer, arXiv 2206.01191).
    """

    positional = True

    def __init__(self, in_chans: int, dim: int, image_size: Grid, stride: int, relu: bool = False):
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out, step in _layers(in_chans, dim, stride):
            if layers:
                layers.append(nn.ReLU() if relu else nn.GELU())
            layers += [nn.Conv2d(c_in, c_out, 3, stride=step, padding=1, bias=relu), nn.BatchNorm2d(c_out)]
        self.layers = nn.Sequential(*layers, *([nn.ReLU()] if relu else []))

    def forward(self, x: Tensor) -> Tensor:
        return to_tokens(self.layers(x))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        h, w = image_size
        for _, _, step in _layers(1, 1, params["stride"]):
            h, w = (h - 1) // step + 1, (w - 1) // step + 1
        return h, w

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        h, w = image_size
        total = Cost()
        for c_in, c_out, step in _layers(in_chans, dim, params["stride"]):
            h, w = (h - 1) // step + 1, (w - 1) // step + 1
            total += costs.conv(h * w, c_in, c_out, 3, bias=params.get("relu", False)) + costs.norm(c_out)
        return total


def _layers(in_chans: int, dim: int, stride: int) -> list[tuple[int, int, int]]:
    """(c_in, c_out, stride) of each convolution."""
    count = max(1, stride.bit_length() - 1)
    widths = [in_chans, *(max(1, dim // 2**i) for i in reversed(range(count)))]
    return [(a, b, 2 if stride > 1 else 1) for a, b in pairwise(widths)]
