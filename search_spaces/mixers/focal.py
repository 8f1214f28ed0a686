"""Focal modulation: gated contexts of growing size multiply the query (Yang et al., NeurIPS 2022, arXiv 2203.11926)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.parts import Identity
from search_spaces.taxonomy import About

WINDOW, LEVELS, FACTOR = 3, 2, 2  # kernel of the first level, number of levels, growth of the kernel


@MIXERS.register("focal")
class FocalModulation(Mixer):
    """proj(q ⊙ h(Σ_l g_l ⊙ z_l + g_L ⊙ z̄)): level l convolves the level before it with kernel window + factor · l,
    z̄ is the mean of the last level over the map, all through GELU; the gates are linear, without a sigmoid.

    normalize: divides the summed context by L + 1. post_norm: a layer norm before the last projection.
    bias: of the first projection and of h.
    """

    about = About(
        taxonomy="other",
        group="focal modulation",
        paper="Yang et al., NeurIPS 2022",
        arxiv="2203.11926",
        complexity="4NC² + (L+1)NC + NCΣk²",
    )
    search = {"levels": (2, 3), "window": (3, 5)}
    has_heads = False

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        levels: int = LEVELS,
        window: int = WINDOW,
        factor: int = FACTOR,
        bias: bool = True,
        normalize: bool = False,
        post_norm: bool = False,
    ):
        super().__init__()
        self.dim, self.grid, self.levels, self.normalize = dim, grid, levels, normalize
        self.f = nn.Linear(dim, 2 * dim + levels + 1, bias=bias)
        self.contexts = nn.ModuleList(
            nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim, bias=False) for k in _kernels(levels, window, factor)
        )
        self.h = nn.Linear(dim, dim, bias=bias)
        self.norm = nn.LayerNorm(dim) if post_norm else Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, z, gates = self.f(x).split((self.dim, self.dim, self.levels + 1), dim=2)
        context = to_tokens(self._context(to_map(z, self.grid), to_map(gates, self.grid)))
        return self.proj(self.norm(q * self.h(context)))

    def _context(self, z: Tensor, gates: Tensor) -> Tensor:
        """z (B, C, H, W), gates (B, L + 1, H, W) -> (B, C, H, W)."""
        total = torch.zeros_like(z)
        for level, convolve in enumerate(self.contexts):
            z = F.gelu(convolve(z))
            total = total + z * gates[:, level : level + 1]
        total = total + F.gelu(z.mean(dim=(2, 3), keepdim=True)) * gates[:, self.levels :]
        return total / (self.levels + 1) if self.normalize else total

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "focal modulation needs a grid of tokens"
        largest = max(_searched(params), default=1)
        if largest > min(shape.grid):
            return f"focal modulation with a kernel of {largest} on a map of {shape.grid[0]}x{shape.grid[1]}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        n, dim, bias = shape.tokens, shape.dim, params.get("bias", True)
        kernels = _searched(params)
        total = costs.linear(n, dim, 2 * dim + len(kernels) + 1, bias) + costs.linear(n, dim, dim, bias)
        total += costs.linear(n, dim, dim) + (costs.norm(dim) if params.get("post_norm", False) else Cost())
        return Cost.total([total, *(costs.depthwise(n, dim, k, bias=False) for k in kernels)])


def _kernels(levels: int, window: int, factor: int) -> list[int]:
    return [window + factor * level for level in range(levels)]


def _searched(params: dict[str, Any]) -> list[int]:
    return _kernels(params.get("levels", LEVELS), params.get("window", WINDOW), params.get("factor", FACTOR))
