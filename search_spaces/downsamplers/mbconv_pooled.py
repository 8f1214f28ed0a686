"""An inverted bottleneck on the pooled map, in the arrangement of timm's trained CoAtNets (after Dai et al., NeurIPS
2021, arXiv 2106.04803)."""

from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.convolution import Conv3x3, activation
from search_spaces.costs import Cost
from search_spaces.downsamplers.mbconv import PooledShortcut, halved, pooled
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.mbconv import SqueezeExcitation
from search_spaces.parts import DOWNSAMPLERS, DownSampler, Grid

EXPAND, SQUEEZE = 4, 0.25


@DOWNSAMPLERS.register("mbconv_pooled")
class PooledMBConvDown(DownSampler):
    """Pooled x + [norm, SiLU, pooling, 1×1 to expand · C, 3×3 depth-wise, gate, 1×1 to C'], without biases.

    Unlike mbconv it pools first, widens by its input, and gates in front of the last norm. stride 1 keeps the map.
    squeeze: channels of the gate's bottleneck as a share of those that it scales.
    """

    def __init__(
        self, dim: int, out_dim: int, grid: Grid, stride: int = 2, expand: float = EXPAND, squeeze: float = SQUEEZE
    ):
        super().__init__()
        hidden = int(dim * expand)
        self.grid_in, self.stride = grid, stride
        self.shortcut = PooledShortcut(dim, out_dim, stride, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.widen = nn.Conv2d(dim, hidden, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden)
        self.depthwise = Conv3x3(hidden, hidden, halved(grid, stride), groups=hidden, bias=False)
        self.gate = SqueezeExcitation(hidden, max(1, int(hidden * squeeze)), act="relu")
        self.norm2 = nn.BatchNorm2d(hidden)
        self.narrow = nn.Conv2d(hidden, out_dim, 1, bias=False)
        self.act = activation("silu")

    def forward(self, x: Tensor) -> Tensor:
        x = to_map(x, self.grid_in)
        branch = self.act(self.norm(x))
        branch = self.widen(pooled(branch) if self.stride == 2 else branch)
        branch = self.gate(self.depthwise(self.act(self.norm1(branch))))
        return to_tokens(self.shortcut(x) + self.narrow(self.act(self.norm2(branch))))

    @classmethod
    def grid(cls, grid: Grid, **params: Any) -> Grid:
        return halved(grid, params.get("stride", 2))

    @classmethod
    def cost(cls, *, dim: int, out_dim: int, grid: Grid, **params: Any) -> Cost:
        h, w = cls.grid(grid, **params)
        hidden = int(dim * params.get("expand", EXPAND))
        gate = max(1, int(hidden * params.get("squeeze", SQUEEZE)))
        ends = costs.conv(h * w, dim, hidden, 1, bias=False) + costs.conv(h * w, hidden, out_dim, 1, bias=False)
        inside = costs.depthwise(h * w, hidden, 3, bias=False) + costs.norm(dim) + costs.norm(hidden) * 2
        gating = costs.linear(1, hidden, gate) + costs.linear(1, gate, hidden)
        return ends + inside + gating + PooledShortcut.cost(dim, out_dim, h * w, bias=False)
