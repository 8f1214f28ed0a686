"""Three convolutions in place of one (the † of CrossViT, Chen et al., ICCV 2021, arXiv 2103.14899)."""

from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import to_tokens
from search_spaces.parts import STEMS, Grid, Stem

STRIDES = {2: (2, 1, 1), 4: (4, 1, 1), 8: (4, 2, 1), 12: (4, 3, 1), 16: (4, 2, 2)}  # by their product


@STEMS.register("three_convolutions")
class ThreeConvolutions(Stem):
    """7×7 to a quarter of the channels, 3×3 to half, 3×3 to all, with ReLU between them.

    stride: 12 or 16 as published, or 2, 4 or 8.
    """

    positional = True

    def __init__(self, in_chans: int, dim: int, image_size: Grid, stride: int):
        super().__init__()
        one, two, three = (
            nn.Conv2d(c_in, c_out, kernel, stride=step, padding=padding)
            for c_in, c_out, kernel, step, padding in _convolutions(in_chans, dim, stride)
        )
        self.layers = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)

    def forward(self, x: Tensor) -> Tensor:
        return to_tokens(self.layers(x))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        h, w = image_size
        for _, _, kernel, step, padding in _convolutions(1, 1, params["stride"]):
            h, w = ((side + 2 * padding - kernel) // step + 1 for side in (h, w))
        return h, w

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        (h, w), total = image_size, Cost()
        for c_in, c_out, kernel, step, padding in _convolutions(in_chans, dim, params["stride"]):
            h, w = ((side + 2 * padding - kernel) // step + 1 for side in (h, w))
            total += costs.conv(h * w, c_in, c_out, kernel)
        return total


def _convolutions(in_chans: int, dim: int, stride: int) -> list[tuple[int, int, int, int, int]]:
    """(c_in, c_out, kernel, stride, padding) of each."""
    first, second, third = STRIDES[stride]
    quarter, half = max(1, dim // 4), max(1, dim // 2)
    return [
        (in_chans, quarter, 7, first, 3),
        (quarter, half, 3, second, 0 if second == 3 else 1),
        (half, dim, 3, third, 1),
    ]
