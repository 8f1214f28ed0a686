"""Multi-head softmax attention over all tokens (Vaswani et al., NeurIPS 2017; in vision arXiv 2010.11929)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.taxonomy import About

LONGEST = 1024  # tokens; beyond it the N² map is not worth sampling


@MIXERS.register("softmax")
class SoftmaxAttention(Core):
    """softmax(q kᵀ / √d) v over all tokens; the reference that every other mechanism is measured against."""

    about = About(
        taxonomy="baseline",
        group="global attention",
        paper="Dosovitskiy et al., ICLR 2021",
        arxiv="2010.11929",
        complexity="4NC² + 2N²C",
    )
    is_set = True
    takes_prefix = True
    rule = "V6"

    def __init__(self, dim: int, num_heads: int, head_dim: int, grid: Grid | None):
        super().__init__()

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.tokens > LONGEST:
            return f"softmax attention over {shape.tokens} tokens; at most {LONGEST}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        return costs.attention(shape.heads, shape.length, shape.length, shape.head_dim)
