"""Slow and fast tokens: informative ones go through the blocks, the rest follow one that stands for them (Evo-ViT:
Xu et al., AAAI 2022, arXiv 2108.01390)."""

from typing import Any

import torch
from torch import Tensor

from search_spaces.costs import Cost
from search_spaces.parts import REDUCERS
from search_spaces.reducers.evit import HEAD_DIM, AttentiveTokens

KEEP = 0.5


@REDUCERS.register("evo")
class SlowFastTokens(AttentiveTokens):
    """The share `keep` of the patch tokens that the class token attends to most, best first, and the weighted sum of
    the others as one; at the end of the stage the others return behind them, moved as far as their sum has been.

    The authors order tokens by the attention of all blocks so far. As in `evit`, the reducer asks with a query and keys
    of its own, which learn through the weights of the sum. All tokens survive, in another order.
    """

    search = {"keep": (0.7, 0.5)}
    restores = True

    def __init__(
        self, dim: int, tokens: int, prefix: int, keep: float = KEEP, num_heads: int = 1, head_dim: int = HEAD_DIM
    ):
        super().__init__(dim, tokens, prefix, keep, num_heads, head_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        prefix = x.shape[1] - self.tokens
        kept, others, weights = split_attentive(x[:, prefix:], self.scores(self.norm(x)), self.attentive)
        if not others.shape[1]:
            return torch.cat([x[:, :prefix], kept], dim=1), others
        whole = weights.unsqueeze(1).to(x.dtype) @ others
        return torch.cat([x[:, :prefix], kept, whole], dim=1), torch.cat([whole, others], dim=1)

    def restore(self, x: Tensor, aside: Tensor) -> Tensor:
        """x (B, P + M + 1, C) and what was laid aside, the sum first (B, 1 + N - M, C) -> (B, P + N, C)."""
        if not aside.shape[1]:
            return x
        return torch.cat([x[:, :-1], aside[:, 1:] + x[:, -1:] - aside[:, :1]], dim=1)

    @classmethod
    def kept(cls, tokens: int, **params: Any) -> int:
        return super().kept(tokens, **{"keep": KEEP, **params})

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        return super().cost(dim=dim, tokens=tokens, prefix=prefix, **{"keep": KEEP, **params})


def split_attentive(x: Tensor, scores: Tensor, attentive: int) -> tuple[Tensor, Tensor, Tensor]:
    """Patch tokens x (B, N, C) -> the `attentive` ones with the best scores (B, N), in that order; the others; their
    scores."""
    order = scores.topk(x.shape[1], dim=1).indices
    x = x.gather(1, order.unsqueeze(2).expand_as(x))
    return x[:, :attentive], x[:, attentive:], scores.gather(1, order[:, attentive:])
