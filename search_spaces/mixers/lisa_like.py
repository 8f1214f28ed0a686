"""Kernel attention weighted by learned patterns of relative position: our reconstruction of what the abstract of LiSA
says (Kwon et al., IJCV 2025, arXiv 2211.16289), whose method we could not compare with; the construction is that of
Luo et al., NeurIPS 2021, arXiv 2106.12566, in two dimensions."""

from math import log2
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import split_heads
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.score_positions.base import relative_index
from search_spaces.taxonomy import About

RANK, PATTERNS = 4, 2
WIDEST = 8  # features; the transforms grow with them
DENSE_TOKENS = 700  # up to here products of N x N are quicker than transforms (one core, 196 to 5184 tokens)
EPSILON = 1e-6


@MIXERS.register("lisa_like")
class LisaLike(Mixer):
    """Σₘ αₘ(q) · Σⱼ φ(q)·φ(kⱼ) Rₘ[i - j] vⱼ / Σⱼ φ(q)·φ(kⱼ) Rₘ[i - j] with φ = elu + 1. A reconstruction, not LiSA.

    rank: features of queries and keys in a head. patterns: tables exp(b) of multiplicative weights, one for each
    displacement on the map and head; queries choose among them by a softmax α. Many tokens are summed by fast Fourier
    transforms of the map, one feature after the other, so that no N x N numbers arise.
    """

    about = About(
        taxonomy="complexity reduction",
        group="kernel",
        paper="Kwon et al., IJCV 2025, reconstructed",
        arxiv="2211.16289",
        complexity="2NC² + 2NChr + N²(hr + patterns·C), or rNC·log N beyond 700 tokens",
    )
    search = {"rank": (4, 8), "patterns": (1, 2)}
    hidden_macs = True
    index: Tensor

    def __init__(self, dim: int, num_heads: int, grid: Grid, rank: int = RANK, patterns: int = PATTERNS):
        super().__init__()
        self.grid, self.num_heads, self.rank = grid, num_heads, rank
        self.qk = nn.Linear(dim, 2 * num_heads * rank)
        self.v = nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.empty(patterns, num_heads, 2 * grid[0] - 1, 2 * grid[1] - 1))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.choice = nn.Linear(rank, patterns) if patterns > 1 else None
        self.proj = nn.Linear(dim, dim)
        self.dense = is_dense(grid)
        if self.dense:
            self.register_buffer("index", relative_index(grid), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.qk(x).unflatten(2, (2, self.num_heads, self.rank)).permute(2, 0, 3, 1, 4).unbind(0)
        v = split_heads(self.v(x), self.num_heads)
        counted = F.pad(v, (0, 1), value=1.0)  # the last channel adds up the weights
        sums = self._dense_sums if self.dense else self._fourier_sums
        means = [s[..., :-1] / (s[..., -1:] + EPSILON) for s in sums(F.elu(q) + 1, F.elu(k) + 1, counted)]
        out = self._chosen(q, means).to(v.dtype)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _chosen(self, q: Tensor, means: list[Tensor]) -> Tensor:
        """Each query's mixture of what the patterns see."""
        if self.choice is None:
            return means[0]
        shares = self.choice(q).softmax(dim=-1).unsqueeze(-1).unbind(3)
        return torch.stack([share * mean for share, mean in zip(shares, means, strict=True)]).sum(dim=0)

    def _dense_sums(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        """q and k (B, h, N, r), v (B, h, N, d) -> Σⱼ q·kⱼ Rₘ[i - j] vⱼ (B, h, N, d) for each pattern."""
        scores = q @ k.transpose(2, 3)
        return [(scores * pattern[:, self.index]) @ v for pattern in self.table.exp().flatten(2)]

    def _fourier_sums(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        """The same: convolutions of kⱼ vⱼ with R, in float32 and on twice the map, where nothing wraps around."""
        size, (rows, columns) = (2 * self.grid[0], 2 * self.grid[1]), self.grid
        centred = F.pad(self.table.float().exp(), (0, 1, 0, 1)).roll((1 - rows, 1 - columns), (2, 3))
        patterns = [torch.fft.rfft2(pattern) for pattern in centred.unsqueeze(2)]  # (h, 1, 2H, W + 1)
        q, k, v = (t.float().transpose(2, 3) for t in (q, k, v))
        sums = [torch.zeros_like(v) for _ in patterns]  # (B, h, d, N)
        for q_r, k_r in zip(q.split(1, dim=2), k.split(1, dim=2), strict=True):
            spectrum = torch.fft.rfft2((k_r * v).unflatten(3, self.grid), s=size)
            for m, pattern in enumerate(patterns):
                seen = torch.fft.irfft2(spectrum * pattern, s=size)[..., :rows, :columns].flatten(3)
                sums[m] = torch.addcmul(sums[m], q_r, seen)
        return [s.transpose(2, 3) for s in sums]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "patterns of relative position need the grid, which a token reduction has scattered"
        if not 1 <= params.get("rank", RANK) <= WIDEST:
            return f"a rank of {params['rank']}; from 1 to {WIDEST}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        """In the Fourier form a real transform of n numbers counts n·log₂ n, a product of spectra 2n."""
        assert shape.grid is not None
        (rows, columns), heads = shape.grid, shape.heads
        rank, patterns = params.get("rank", RANK), params.get("patterns", PATTERNS)
        total = costs.linear(shape.tokens, shape.dim, shape.dim) * 2
        total += costs.linear(shape.tokens, shape.dim, 2 * heads * rank)
        total += costs.weights(patterns * heads * (2 * rows - 1) * (2 * columns - 1))
        if patterns > 1:
            total += costs.linear(heads * shape.tokens, rank, patterns)
        if is_dense(shape.grid):
            seen = costs.matmul(heads, shape.tokens, shape.tokens, shape.head_dim + 1)
            return total + costs.matmul(heads, shape.tokens, rank, shape.tokens) + seen * patterns
        points = 4 * shape.tokens
        transforms = round(points * log2(points)) * (1 + patterns) + 2 * points * patterns
        return total + Cost(macs=heads * rank * (shape.head_dim + 1) * transforms)


def is_dense(grid: Grid) -> bool:
    return grid[0] * grid[1] <= DENSE_TOKENS
