"""Cross-covariance attention: channels attend to channels (El-Nouby et al., NeurIPS 2021, arXiv 2106.09681)."""

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.taxonomy import About

EPSILON = 1e-12  # floor of a channel's norm over the tokens


@MIXERS.register("cross_covariance")
class CrossCovariance(Core):
    """softmax(τ q̂ᵀ k̂) over the key channels, applied to v; q̂ and k̂ have unit norm along the tokens.

    The d × d Gram matrix comes first and is divided by both norms, so that no normalised copy is made. Nothing tells
    neighbours from strangers: pair it with a local convolution such as lpi.
    """

    about = About(
        taxonomy="complexity reduction",
        group="channel attention",
        paper="El-Nouby et al., NeurIPS 2021",
        arxiv="2106.09681",
        complexity="4NC² + 2NC²/h",
    )
    is_set = True
    takes_prefix = True

    def __init__(self, dim: int, num_heads: int, head_dim: int, grid: Grid | None):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q_norm, k_norm = (t.float().norm(dim=2).clamp_min(EPSILON) for t in (q, k))  # (B, h, d)
        gram = (q.transpose(2, 3) @ k).float()  # (B, h, d, d)
        cosine = gram / (q_norm.unsqueeze(3) * k_norm.unsqueeze(2))
        weights = (cosine * self.temperature).softmax(dim=3).to(v.dtype)
        return v @ weights.transpose(2, 3)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        gram = costs.matmul(shape.heads, shape.head_dim, shape.length, shape.head_dim)
        read = costs.matmul(shape.heads, shape.length, shape.head_dim, shape.head_dim)
        return costs.weights(shape.heads) + gram + read
