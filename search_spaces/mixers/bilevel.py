"""Bi-level routing attention (Zhu et al., BiFormer, CVPR 2023, arXiv 2303.08810)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import split_heads, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.mixers.windows import group_count, group_layout, group_size
from search_spaces.taxonomy import About

DIVISIONS, ROUTES, KERNEL = 4, 4, 3


@MIXERS.register("bilevel")
class BilevelRouting(Mixer):
    """Each region of the map attends to the `routes` regions whose mean keys fit its mean query best.

    divisions: regions along each side. The choice passes no gradient on. Both scores are divided by the root of the
    width of all heads together, as published. A depth-wise k x k convolution of the values is added (kernel=0: none).
    qk_dim: channels of queries and keys, by default C. Where the sides do not divide, pads fill the last regions; they
    count for no mean, and no token sees them.
    """

    about = About(
        taxonomy="complexity reduction",
        group="sparsity",
        paper="Zhu et al., CVPR 2023",
        arxiv="2303.08810",
        complexity="4NC² + 2N²C·routes/divisions² + 2C·divisions⁴",
    )
    search = {"divisions": (2, 4, 7), "routes": (1, 2, 4)}
    rule = "V2"
    real: Tensor
    share: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        divisions: int = DIVISIONS,
        routes: int = ROUTES,
        kernel: int = KERNEL,
        qk_dim: int | None = None,
    ):
        super().__init__()
        self.grid, self.num_heads, self.qk_dim = grid, num_heads, qk_dim or dim
        self.size = group_size(grid, divisions, None)
        self.count = group_count(grid, self.size)
        self.routes = min(routes, self.count[0] * self.count[1])
        self.padding = tuple(n * own - side for n, own, side in zip(self.count, self.size, grid, strict=True))
        real = self._regions(torch.ones(1, grid[0] * grid[1], 1)).squeeze(3)  # (1, G, S): 1 for a token, 0 for a pad
        self.register_buffer("real", real > 0, persistent=False)
        self.register_buffer("share", real / real.sum(dim=2, keepdim=True), persistent=False)
        self.qkv = nn.Linear(dim, 2 * self.qk_dim + dim)
        self.local = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim) if kernel else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, kv = self.qkv(x).split([self.qk_dim, self.qk_dim + x.shape[2]], dim=2)
        regions, sources = self._regions(q), self._regions(kv)
        chosen = self._route(regions, sources[..., : self.qk_dim])
        out = self._tokens(self._attend(regions, *self._gather(sources, chosen)))
        if self.local is not None:
            out = out + to_tokens(self.local(to_map(kv[..., self.qk_dim :], self.grid)))
        return self.proj(out)

    @torch.no_grad()
    def _route(self, q: Tensor, k: Tensor) -> Tensor:
        """(B, G, S, d) -> (B, G, routes): the numbers of the regions that each region attends to."""
        q, k = ((t.detach().float() * self.share.unsqueeze(3)).sum(dim=2) for t in (q, k))
        return (q @ k.transpose(1, 2)).topk(self.routes, dim=2).indices

    def _gather(self, sources: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Keys and values of the chosen regions (B, G, routes·S, ·), and which of them are no pads."""
        batch, regions = sources.shape[:2]
        first = regions * torch.arange(batch, device=chosen.device)
        found = sources.flatten(0, 1).index_select(0, (chosen + first[:, None, None]).flatten())
        mask = self.real[0][chosen].flatten(2) if any(self.padding) else None
        return found.unflatten(0, chosen.shape).flatten(2, 3), mask

    def _attend(self, q: Tensor, kv: Tensor, mask: Tensor | None) -> Tensor:
        """q (B, G, S, d), kv (B, G, M, d + C) -> (B, G, S, C)."""
        k, v = kv.split([self.qk_dim, kv.shape[3] - self.qk_dim], dim=3)
        q, k, v = (split_heads(t.flatten(0, 1), self.num_heads) for t in (q, k, v))
        allowed = None if mask is None else mask.flatten(0, 1)[:, None, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=self.qk_dim**-0.5)
        return out.transpose(1, 2).flatten(2).unflatten(0, kv.shape[:2])

    def _regions(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, G, S, C)."""
        x = x.unflatten(1, self.grid)
        if any(self.padding):
            x = F.pad(x, (0, 0, 0, self.padding[1], 0, self.padding[0]))
        (rows, columns), (high, wide) = self.count, self.size
        x = x.unflatten(2, (columns, wide)).unflatten(1, (rows, high)).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)

    def _tokens(self, x: Tensor) -> Tensor:
        """(B, G, S, C) -> (B, N, C)."""
        x = x.unflatten(2, self.size).unflatten(1, self.count).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)[:, : self.grid[0], : self.grid[1]].flatten(1, 2)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "regions need the grid, which a token reduction has scattered"
        (high, wide), (rows, columns) = group_layout(shape, params, DIVISIONS)
        routes = params.get("routes", ROUTES)
        if min(high, wide) < 2:
            return f"regions of {high}x{wide} tokens on a map of {shape.grid[0]}x{shape.grid[1]}; at least 2x2"
        if not 1 <= routes < rows * columns:
            return f"{routes} routes among {rows * columns} regions; choose fewer"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        (high, wide), (rows, columns) = group_layout(shape, params, DIVISIONS)
        tokens, regions = high * wide, rows * columns
        d, heads = params.get("qk_dim") or shape.dim, shape.heads
        keys = params.get("routes", ROUTES) * tokens
        total = costs.linear(shape.tokens, shape.dim, 2 * d + shape.dim)
        total += costs.linear(shape.tokens, shape.dim, shape.dim) + costs.matmul(1, regions, d, regions)
        total += costs.attention(heads * regions, tokens, keys, d // heads, shape.dim // heads)
        if kernel := params.get("kernel", KERNEL):
            total += costs.depthwise(shape.tokens, shape.dim, kernel)
        return total
