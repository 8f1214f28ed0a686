"""Multi-head softmax attention over all tokens (Vaswani et al., NeurIPS 2017; in vision arXiv 2010.11929)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.score_positions import ScorePosition, score_position
from search_spaces.taxonomy import About

LONGEST = 1024  # tokens; beyond it the N² map is not worth sampling


@MIXERS.register("softmax")
class SoftmaxAttention(Core):
    """softmax(q kᵀ / √d) v over all tokens; the reference that every other mechanism is measured against.

    position: one of `score_positions`, which tells tokens apart inside the scores. Without one, they are a set.
    """

    about = About(
        taxonomy="baseline",
        group="global attention",
        paper="Dosovitskiy et al., ICLR 2021",
        arxiv="2010.11929",
        complexity="4NC² + 2N²C",
    )
    search = {"position": (None, "table", "log_cpb", "rope", "dape")}
    is_set = True
    takes_prefix = True
    leaves = "scores"
    weighs = True
    rule = "V6"

    def __init__(self, dim: int, num_heads: int, head_dim: int, grid: Grid | None):
        super().__init__()

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)

    def attend_sized(self, q: Tensor, k: Tensor, v: Tensor, sizes: Tensor) -> Tensor:
        """Proportional attention (Bolya et al., ToMe, arXiv 2210.09461)."""
        bias = sizes.log().to(q.dtype).transpose(1, 2).unsqueeze(1)  # (B, 1, 1, L)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(2, 3) * q.shape[3] ** -0.5

    @classmethod
    def parts(cls, heads: int, **params: Any) -> list[tuple[type[Core], int, dict[str, Any]]]:
        position = score_position(params.get("position"))
        return [(cls, heads, {}) if position is None else (PositionedAttention, heads, {"position": position})]

    @classmethod
    def set_like(cls, **params: Any) -> bool:
        return params.get("position") is None

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.tokens > LONGEST:
            return f"softmax attention over {shape.tokens} tokens; at most {LONGEST}"
        position = score_position(params.get("position"))
        if position is not None and shape.grid is None:
            return f"softmax with position={params['position']} needs the grid, which a token reduction has scattered"
        return None if position is None else position.check(shape)

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """No position is not named."""
        return Atom(atom.kind, **{k: v for k, v in atom.params.items() if k != "position" or v is not None})

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        h, n, d = shape.heads, shape.length, shape.head_dim
        # scores that are left to a later block are written out
        own = costs.matmul(h, n, d, n) + costs.matmul(h, n, n, d) if shape.wanted else costs.attention(h, n, n, d)
        position = score_position(params.get("position"))
        return own if position is None else own + position.cost(shape)


class PositionedAttention(Core):
    """Softmax attention over all tokens with a position inside the scores."""

    def __init__(self, dim: int, num_heads: int, head_dim: int, grid: Grid | None, position: type[ScorePosition]):
        super().__init__()
        assert grid is not None
        self.position = position(num_heads=num_heads, head_dim=head_dim, grid=grid)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.position(q, k, v)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return self.position.scores(q, k)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        return SoftmaxAttention.cost(shape, **params)
