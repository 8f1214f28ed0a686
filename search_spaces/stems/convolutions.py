"""Two 3×3 convolutions with batch norm and activation between them (CoAtNet, Dai et al., NeurIPS 2021, arXiv
2106.04803; MaxViT, Tu et al., ECCV 2022, arXiv 2204.01697)."""

from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.convolution import Conv3x3, activation
from search_spaces.costs import Cost
from search_spaces.layer import to_tokens
from search_spaces.parts import STEMS, Grid, Stem


@STEMS.register("convolutions")
class TwoConvolutions(Stem):
    """stride: of the first one. width: channels between the two, by default `dim`. same: see Conv3x3."""

    positional = True

    def __init__(
        self,
        in_chans: int,
        dim: int,
        image_size: Grid,
        stride: int = 2,
        width: int | None = None,
        bias: bool = False,
        same: bool = False,
        act: str = "gelu",
        eps: float = 1e-5,
    ):
        super().__init__()
        between = width or dim
        self.conv1 = Conv3x3(in_chans, between, image_size, stride=stride, bias=bias, same=same)
        self.norm1 = nn.BatchNorm2d(between, eps=eps)
        self.act1 = activation(act)
        self.conv2 = Conv3x3(between, dim, self.grid(image_size, stride=stride), bias=bias, same=same)

    def forward(self, x: Tensor) -> Tensor:
        return to_tokens(self.conv2(self.act1(self.norm1(self.conv1(x)))))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        stride = params.get("stride", 2)
        return -(-image_size[0] // stride), -(-image_size[1] // stride)

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        (h, w), between, bias = cls.grid(image_size, **params), params.get("width") or dim, params.get("bias", False)
        first = costs.conv(h * w, in_chans, between, 3, bias=bias)
        return first + costs.norm(between) + costs.conv(h * w, between, dim, 3, bias=bias)
