"""Efficient attention (Shen et al., WACV 2021, arXiv 1812.01243)."""

from typing import Any

import torch
from torch import Tensor

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.taxonomy import About


@MIXERS.register("efficient")
class EfficientAttention(Core):
    """softmax_d(q) (softmax_N(k)ᵀ v): the products in the other order, linear in N, without a scale."""

    about = About(
        taxonomy="complexity reduction",
        group="reordering",
        paper="Shen et al., WACV 2021",
        arxiv="1812.01243",
        complexity="4NC² + 2NC²/h",
    )
    is_set = True
    takes_prefix = True

    def __init__(self, dim: int, num_heads: int, head_dim: int, grid: Grid | None):
        super().__init__()

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q.softmax(dim=-1)
        k = k.softmax(dim=2, dtype=torch.float32).to(v.dtype)  # a sum over many tokens: not in half precision
        context = k.transpose(2, 3) @ v  # (B, h, d, d)
        return q.to(v.dtype) @ context

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        d = shape.head_dim
        return costs.matmul(shape.heads, d, shape.length, d) + costs.matmul(shape.heads, shape.length, d, d)
