"""3×3 convolutions of convolutional stages: padding on both sides alike or as TensorFlow does, and activations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.costs import Cost, weights
from search_spaces.layer import Layer
from search_spaces.parts import Grid

EVEN = (1, 1, 1, 1)


class Conv3x3(Layer):
    """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)).

    same: TensorFlow's "same" padding, which puts less at the top and left where it does not divide.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        sides: Grid,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        same: bool = False,
    ):
        super().__init__()
        self.padding = same_padding(sides, 3, stride) if same else EVEN
        own = 1 if self.padding == EVEN else 0
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=own, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self.padding == EVEN else F.pad(x, self.padding))


def same_padding(sides: Grid, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """(left, right, top, bottom), so that ceil(side / stride) positions fit."""
    (top, bottom), (left, right) = (_split(side, kernel, stride) for side in sides)
    return left, right, top, bottom


def _split(side: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


class StarReLU(Layer):
    """s · relu(x)² + b with two learned numbers (Yu et al., MetaFormer baselines, TPAMI 2024, arXiv 2210.13452).

    They start where a standard normal input gives mean 0 and variance 1.
    """

    parameters_held = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.25**-0.5]))
        self.bias = nn.Parameter(torch.tensor([-0.5 * 1.25**-0.5]))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.relu(x).square() + self.bias


class QuickGELU(Layer):
    """x · sigmoid(1.702 x), an approximation of GELU (Hendrycks and Gimpel, arXiv 1606.08415)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def activation_cost(name: str) -> Cost:
    return weights(StarReLU.parameters_held) if name == "star_relu" else Cost()


def activation(name: str) -> nn.Module:
    """gelu, its approximations gelu_tanh and quick_gelu, silu, relu, relu6 or star_relu."""
    if name == "star_relu":
        return StarReLU()
    made: dict[str, nn.Module] = {
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "quick_gelu": QuickGELU(),
        "silu": nn.SiLU(),
        "relu": nn.ReLU(),
        "relu6": nn.ReLU6(),
    }
    if name not in made:
        raise ValueError(f"activation is {name!r}; it can be {', '.join(made)}, star_relu")
    return made[name]
