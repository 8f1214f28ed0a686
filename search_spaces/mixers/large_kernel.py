"""Large-kernel attention (Guo et al., Visual Attention Network, CVMJ 2023, arXiv 2202.09741)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About

KERNEL, DILATION = 21, 3


@MIXERS.register("large_kernel")
class LargeKernelAttention(Mixer):
    """proj(u ⊙ gate(DW_dilated(DW(u)))) with u = GELU(f x): a K × K kernel in two depth-wise steps and a 1×1.

    The first kernel has side 2 · dilation - 1, the second ⌈kernel / dilation⌉ at that dilation: together they cover
    23 × 23 tokens for a kernel of 21, and 11 × 11 for one of 9. The gate has no sigmoid.
    shortcut: x itself is added, besides the residual of the block, as in the authors' network.
    """

    about = About(
        taxonomy="other",
        group="convolution integration",
        paper="Guo et al., CVMJ 2023",
        arxiv="2202.09741",
        complexity="3NC² + NC((2d-1)² + (K/d)²) for dilation d",
    )
    search = {"kernel": (9, 21)}
    has_heads = False

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        kernel: int = KERNEL,
        dilation: int = DILATION,
        shortcut: bool = False,
    ):
        super().__init__()
        near, far = kernel_sides(kernel, dilation)
        self.grid, self.shortcut = grid, shortcut
        self.f = nn.Linear(dim, dim)
        self.near = nn.Conv2d(dim, dim, near, padding=near // 2, groups=dim)
        self.far = nn.Conv2d(dim, dim, far, padding=far // 2 * dilation, dilation=dilation, groups=dim)
        self.gate = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        u = F.gelu(self.f(x))
        seen = self.far(self.near(to_map(u, self.grid)))
        mixed = self.proj(u * self.gate(to_tokens(seen)))
        return x + mixed if self.shortcut else mixed

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "a large kernel needs a grid of tokens"
        kernel, dilation = params.get("kernel", KERNEL), params.get("dilation", DILATION)
        far = kernel_sides(kernel, dilation)[1]
        if not far % 2:
            return f"a kernel of {kernel} at dilation {dilation} has {far} taps a side; choose an odd number"
        if (far // 2 - 1) * dilation >= min(shape.grid):
            return f"most of a kernel of {kernel} lies outside a map of {shape.grid[0]}x{shape.grid[1]} tokens"
        return None

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        dilation = params.get("dilation", DILATION)
        near, far = kernel_sides(params.get("kernel", KERNEL), dilation)
        return shape.grid is not None and near // 2 + far // 2 * dilation >= max(shape.grid) - 1

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        n, dim = shape.tokens, shape.dim
        near, far = kernel_sides(params.get("kernel", KERNEL), params.get("dilation", DILATION))
        return costs.linear(n, dim, dim) * 3 + costs.depthwise(n, dim, near) + costs.depthwise(n, dim, far)


def kernel_sides(kernel: int, dilation: int) -> tuple[int, int]:
    """Sides of the dense and of the dilated kernel that together stand for one of side `kernel`."""
    return 2 * dilation - 1, -(-kernel // dilation)
