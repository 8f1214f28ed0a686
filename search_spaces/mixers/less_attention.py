"""Attention maps made from those of an earlier block (LaViT, less attention: Zhang et al., CVPR 2024,
arXiv 2406.00427)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, split_heads
from search_spaces.mixers.base import MIXERS, Grid, Memory, Mixer
from search_spaces.taxonomy import About

LONGEST = 256  # tokens; the transforms cost N³ each
RANK = 8
Transform = Literal["full", "low_rank", "reuse"]


@MIXERS.register("less_attention")
class LessAttention(Mixer):
    """softmax(P S Tᵀ) V, where S are the scores before the softmax of the last block that had any.

    P and T mix queries and keys and serve all heads; they start next to the identity, so that the map is first taken
    over as it is. transform: full matrices, the identity plus matrices of rank `rank`, or reuse without any change.
    The published attention across stages is left out: the scores of a stage end with it.
    """

    about = About(
        taxonomy="hierarchy",
        group="reuse between layers",
        paper="Zhang et al., CVPR 2024",
        arxiv="2406.00427",
        complexity="2NC² + N²C + 2hN³",
    )
    search = {"transform": ("full", "low_rank")}
    recalls = leaves = "scores"
    takes_prefix = True
    rule = "V16"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid | None,
        tokens: int,
        prefix: int = 0,
        wanted: bool = False,
        transform: Transform = "full",
        rank: int = RANK,
    ):
        super().__init__()
        self.num_heads, self.reuses, self.wanted = num_heads, transform == "reuse", wanted
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        if not self.reuses:
            length = prefix + tokens
            self.of_keys = Full(length) if transform == "full" else LowRank(length, rank)
            self.of_queries = Full(length) if transform == "full" else LowRank(length, rank)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        scores = memory["scores"]
        if not self.reuses:
            scores = self.of_queries(self.of_keys(scores).transpose(2, 3)).transpose(2, 3)
        if self.wanted:
            memory["scores"] = scores
        v = split_heads(self.v(x), self.num_heads)
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if not shape.given:
            return "less_attention has no scores before it; let softmax begin"
        if shape.length > LONGEST:
            return f"less_attention transforms maps of {shape.length} tokens; at most {LONGEST}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        h, n = shape.heads, shape.length
        total = costs.linear(n, shape.dim, shape.dim) * 2 + costs.matmul(h, n, n, shape.head_dim)
        transform, rank = params.get("transform", "full"), params.get("rank", RANK)
        if transform == "full":
            return total + (costs.weights(n * n) + costs.matmul(h, n, n, n)) * 2
        if transform == "low_rank":
            return total + (costs.weights(2 * n * rank) + costs.matmul(h, n, n, rank) + costs.matmul(h, n, rank, n)) * 2
        return total


class Full(Layer):
    """(..., N) -> (..., N) by a matrix without bias."""

    def __init__(self, tokens: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(tokens) + 0.02 / tokens**0.5 * torch.randn(tokens, tokens))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


class LowRank(Layer):
    """(..., N) -> (..., N): x plus its product with two thin matrices, the second of which starts at zero."""

    def __init__(self, tokens: int, rank: int):
        super().__init__()
        self.first = nn.Parameter(torch.randn(tokens, rank) * tokens**-0.5)
        self.second = nn.Parameter(torch.zeros(rank, tokens))

    def forward(self, x: Tensor) -> Tensor:
        return x + x @ self.first @ self.second
