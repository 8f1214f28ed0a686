"""Token-statistics attention: second moments over tokens gate channels (Wu et al., ICLR 2025, arXiv 2412.17810)."""

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import split_heads
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About


@MIXERS.register("token_statistics")
class TokenStatistics(Mixer):
    """-Π w / (1 + m): Π assigns each token to the heads (softmax over heads), m is the Π-weighted mean of w².

    One projection makes w, half the parameters of softmax attention. Tokens meet only in h · d moments and column
    norms, which mixes weakly: alternate it, or add a local convolution. Sums over tokens are kept in float32.
    """

    about = About(
        taxonomy="complexity reduction",
        group="linear in tokens",
        paper="Wu et al., ICLR 2025",
        arxiv="2412.17810",
        complexity="2NC²",
    )
    is_set = True
    takes_prefix = True

    def __init__(self, dim: int, num_heads: int, grid: Grid | None, bias: bool = True):
        super().__init__()
        self.num_heads = num_heads
        self.basis = nn.Linear(dim, dim, bias=bias)
        self.temperature = nn.Parameter(torch.ones(num_heads, 1))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        w = split_heads(self.basis(x), self.num_heads).float()  # (B, h, N, d)
        squares = w.square()
        share = self._share(squares)
        moments = (share * squares).sum(dim=2, keepdim=True) / (share.sum(dim=2, keepdim=True) + 1e-8)
        out = -share * w / (1 + moments)
        return self.proj(out.transpose(1, 2).flatten(2).to(x.dtype))

    def _share(self, squares: Tensor) -> Tensor:
        """Squares (B, h, N, d) -> Π (B, h, N, 1), which sums to 1 over the heads."""
        unit = squares / squares.sum(dim=2, keepdim=True).clamp_min(1e-24)
        logits = unit.sum(dim=3) * self.temperature
        return logits.softmax(dim=1).unsqueeze(3)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        basis = costs.linear(shape.length, shape.dim, shape.dim, params.get("bias", True))
        return basis + costs.weights(shape.heads) + costs.linear(shape.length, shape.dim, shape.dim)
