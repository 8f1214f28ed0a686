"""Inverted bottleneck with squeeze-and-excitation (Sandler et al., CVPR 2018, arXiv 1801.04381), a token mixer in
CoAtNet (Dai et al., NeurIPS 2021, arXiv 2106.04803)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.convolution import activation
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.parts import Identity
from search_spaces.taxonomy import About

EXPAND, KERNEL, SQUEEZE = 4, 3, 0.25


@MIXERS.register("mbconv")
class MBConv(Mixer):
    """1×1 to expand · C, depth-wise k×k, squeeze-and-excitation, 1×1 back; batch norm and GELU after the first two.

    The block's norm stands for the pre-norm, its residual for the shortcut. squeeze: channels of the gate's bottleneck
    as a share of C, 0 for no gate. The gate sees the whole map but only scales channels, so the mixer counts as local.
    """

    about = About(
        taxonomy="other",
        group="convolution integration",
        paper="Dai et al., NeurIPS 2021",
        arxiv="2106.04803",
        complexity="2eNC² + ek²NC",
    )
    search = {"expand": (2, 4), "kernel": (3, 5)}
    reach = "local"
    has_heads = False

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        expand: float = EXPAND,
        kernel: int = KERNEL,
        squeeze: float = SQUEEZE,
    ):
        super().__init__()
        hidden, gate = int(dim * expand), int(dim * squeeze)
        self.grid = grid
        self.widen = nn.Conv2d(dim, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden, bias=False)
        self.norm2 = nn.BatchNorm2d(hidden)
        self.gate = SqueezeExcitation(hidden, gate) if gate else Identity()
        self.narrow = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(self.widen(to_map(x, self.grid))))
        x = F.gelu(self.norm2(self.depthwise(x)))
        return to_tokens(self.narrow(self.gate(x)))

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        return None if shape.grid is not None else "mbconv needs a grid of tokens"

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        n, dim = shape.tokens, shape.dim
        hidden, gate = int(dim * params.get("expand", EXPAND)), int(dim * params.get("squeeze", SQUEEZE))
        total = costs.conv(n, dim, hidden, 1, bias=False) + costs.conv(n, hidden, dim, 1) + costs.norm(hidden) * 2
        total += costs.depthwise(n, hidden, params.get("kernel", KERNEL), bias=False)
        return total + costs.linear(1, hidden, gate) + costs.linear(1, gate, hidden) if gate else total


class SqueezeExcitation(Layer):
    """Scales each channel by a gate in (0, 1) computed from all channel means (Hu et al., arXiv 1709.01507)."""

    def __init__(self, dim: int, hidden: int, act: str = "silu"):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = activation(act)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(self.act(self.fc1(x.mean(dim=(2, 3))))).sigmoid()
        return x * gate.unflatten(1, (-1, 1, 1))
