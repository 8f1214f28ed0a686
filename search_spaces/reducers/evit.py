"""Attentive tokens stay, the others are fused into one (EViT: Liang et al., ICLR 2022, arXiv 2202.07800)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import split_prefix
from search_spaces.parts import REDUCERS, Reducer

KEEP, HEAD_DIM = 0.7, 32


@REDUCERS.register("evit")
class AttentiveTokens(Reducer):
    """Keeps the share `keep` of the patch tokens that the class token attends to most, best first; the rest become one.

    The authors read the class token's row off the attention of the block in which they drop. A reducer stands between
    blocks, so it asks with a query and keys of its own, which learn through the weights of the fused token. Without a
    prefix the mean of the patch tokens asks.
    """

    search = {"keep": (0.9, 0.7, 0.5)}
    averages = False  # the weights of the fused token are attention, and that of the kept tokens is missing from them

    def __init__(
        self, dim: int, tokens: int, prefix: int, keep: float = KEEP, num_heads: int = 1, head_dim: int = HEAD_DIM
    ):
        super().__init__()
        self.tokens, self.attentive, self.num_heads = tokens, _attentive(tokens, keep), num_heads
        self.norm = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, num_heads * head_dim)
        self.k = nn.Linear(dim, num_heads * head_dim, bias=False)  # softmax would cancel a bias

    def forward(self, x: Tensor) -> Tensor:
        prefix, patches = split_prefix(x, self.tokens)
        return torch.cat([prefix, keep_attentive(patches, self.scores(self.norm(x)), self.attentive)], dim=1)

    def scores(self, x: Tensor) -> Tensor:
        """The attention (B, N) that the patch tokens of x (B, P + N, C) receive, averaged over heads.

        The keys' projection is applied to the one query instead of to all tokens, which gives the same products.
        """
        asking = x[:, 0] if x.shape[1] > self.tokens else x.mean(dim=1)
        q = self.q(asking).unflatten(1, (self.num_heads, -1)).transpose(0, 1)  # (h, B, d)
        query = (q @ self.k.weight.unflatten(0, (self.num_heads, -1))).transpose(0, 1)  # (B, h, C)
        logits = query @ x.transpose(1, 2) * q.shape[2] ** -0.5
        return logits.float().softmax(dim=2).mean(dim=1)[:, -self.tokens :]

    @classmethod
    def kept(cls, tokens: int, **params: Any) -> int:
        return min(tokens, _attentive(tokens, params.get("keep", KEEP)) + 1)

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        heads, d = params.get("num_heads", 1), params.get("head_dim", HEAD_DIM)
        query = costs.linear(1, dim, heads * d) + costs.weights(heads * d * dim) + costs.matmul(heads, 1, d, dim)
        total = costs.norm(dim) + query + costs.matmul(1, heads, dim, prefix + tokens)
        fused = tokens - _attentive(tokens, params.get("keep", KEEP))
        return total + costs.matmul(1, 1, fused, dim) if fused else total


def keep_attentive(x: Tensor, scores: Tensor, attentive: int) -> Tensor:
    """Patch tokens x (B, N, C) -> those with the best scores (B, N), in that order, then Σ score · x of the others."""
    order = scores.topk(x.shape[1], dim=1).indices
    x = x.gather(1, order.unsqueeze(2).expand_as(x))
    if attentive == x.shape[1]:
        return x
    weights = scores.gather(1, order[:, attentive:]).unsqueeze(1).to(x.dtype)
    return torch.cat([x[:, :attentive], weights @ x[:, attentive:]], dim=1)


def _attentive(tokens: int, keep: float) -> int:
    return math.ceil(keep * tokens)
