"""Large-kernel attention whose taps move (D-LKA: Azad et al., WACV 2024, arXiv 2309.00121)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, read_at
from search_spaces.mixers.base import MIXERS, Grid
from search_spaces.mixers.large_kernel import DILATION, KERNEL, LargeKernelAttention, kernel_sides
from search_spaces.taxonomy import About

Offsets = Literal["separable", "dense"]


@MIXERS.register("deformable_large_kernel")
class DeformableLargeKernel(LargeKernelAttention):
    """`large_kernel` with both depth-wise kernels deformable: each tap reads where an offset of its own points to.

    offsets: what predicts them. The authors' dense convolutions have 43 times the parameters of all the rest at 64
    channels; separable ones, a depth-wise kernel of the same size and a 1×1, see the same tokens.
    """

    about = About(
        taxonomy="other",
        group="deformable sampling",
        paper="Azad et al., WACV 2024",
        arxiv="2309.00121",
        complexity="3NC² + 4NCk² for k² taps in both kernels",
    )

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        kernel: int = KERNEL,
        dilation: int = DILATION,
        shortcut: bool = False,
        offsets: Offsets = "separable",
    ):
        super().__init__(dim, num_heads, grid, kernel, dilation, shortcut)
        near, far = kernel_sides(kernel, dilation)
        self.near = DeformableDepthwise(dim, grid, near, 1, offsets)  # type: ignore[assignment]
        self.far = DeformableDepthwise(dim, grid, far, dilation, offsets)  # type: ignore[assignment]

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        n, dim, dense = shape.tokens, shape.dim, params.get("offsets", "separable") == "dense"
        total = costs.linear(n, dim, dim) * 3
        for side in kernel_sides(params.get("kernel", KERNEL), params.get("dilation", DILATION)):
            total += costs.depthwise(n, dim, side, bias=False)
            total += _offset_cost(n, dim, side, dense)
        return total


class DeformableDepthwise(Layer):
    """Σ over taps of w[c, tap] · x[c, place + tap + offset(tap)], zero outside the map. (B, C, H, W) -> the same.

    What lies between tokens is read bilinearly. Offsets are the same for all channels and start at zero, as an ordinary
    depth-wise convolution without bias.
    """

    taps: Tensor

    def __init__(self, dim: int, grid: Grid, kernel: int, dilation: int, offsets: Offsets):
        super().__init__()
        if offsets not in ("separable", "dense"):
            raise ValueError(f"offsets of deformable_large_kernel are separable or dense, found {offsets!r}")
        self.grid = grid
        self.offset = _predictor(dim, kernel, dilation, offsets)
        self.weight = nn.Parameter(torch.empty(dim, 1, kernel, kernel))
        self.register_buffer("taps", _taps(grid, kernel, dilation), persistent=False)

    def init_special(self) -> None:
        """Like a depth-wise convolution, its taps on the grid."""
        nn.init.normal_(self.weight, std=(2 / self.weight[0].numel()) ** 0.5)
        last = self.offset[-1] if isinstance(self.offset, nn.Sequential) else self.offset
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.read(x, self.offset(x)).to(x.dtype)  # (B, C, k², H·W)
        return (self.weight.flatten(2) @ seen).reshape(x.shape)

    def read(self, x: Tensor, offsets: Tensor) -> Tensor:
        """What the taps see. Offsets (B, 2k², H, W): channels 2t and 2t + 1 move tap t down and right, in tokens."""
        places = self.taps + offsets.float().unflatten(1, (-1, 2))  # (B, k², 2, H, W)
        rows, columns = places.unbind(2)
        h, w = self.grid
        where = torch.stack([(2 * columns + 1) / w - 1, (2 * rows + 1) / h - 1], dim=4)  # -1 and 1: the map's edges
        seen = read_at(x.float(), where.flatten(1, 2), align_corners=False)  # (B, C, k²·H, W)
        return seen.flatten(2).unflatten(2, (-1, h * w))


def _predictor(dim: int, kernel: int, dilation: int, offsets: Offsets) -> nn.Module:
    padding, out = kernel // 2 * dilation, 2 * kernel**2
    if offsets == "dense":
        return nn.Conv2d(dim, out, kernel, padding=padding, dilation=dilation)
    depthwise = nn.Conv2d(dim, dim, kernel, padding=padding, dilation=dilation, groups=dim, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(dim, out, 1))


def _offset_cost(tokens: int, dim: int, kernel: int, dense: bool) -> Cost:
    if dense:
        return costs.conv(tokens, dim, 2 * kernel**2, kernel)
    return costs.depthwise(tokens, dim, kernel, bias=False) + costs.conv(tokens, dim, 2 * kernel**2, 1)


def _taps(grid: Grid, kernel: int, dilation: int) -> Tensor:
    """Row and column (k², 2, H, W) that each tap of each place reads before it is moved."""
    reach = (torch.arange(kernel) - kernel // 2) * dilation
    down, right = torch.meshgrid(reach, reach, indexing="ij")
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    taps = torch.stack([down, right], dim=2).view(-1, 2, 1, 1)
    return (taps + torch.stack([rows, columns])).float()
