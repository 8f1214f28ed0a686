"""Attention through learned latents (Jaegle et al., Perceiver, ICML 2021, arXiv 2103.03206)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, split_heads
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About

LATENTS = 16


@MIXERS.register("latent")
class LatentAttention(Mixer):
    """L <- L + MHA(norm L, x), then MHA(x, norm L): R learned latents gather from all tokens and hand on to them all.

    Both steps have projections of their own. Latents start small, so they are normalised before each step.
    """

    about = About(
        taxonomy="tokenization",
        group="latents",
        paper="Jaegle et al., ICML 2021",
        arxiv="2103.03206",
        complexity="4NC² + 4RC² + 4RNC",
    )
    search = {"latents": (8, 16, 32)}
    is_set = True
    takes_prefix = True
    rule = "V5"

    def __init__(self, dim: int, num_heads: int, grid: Grid | None, latents: int = LATENTS):
        super().__init__()
        self.latents = nn.Parameter(torch.empty(1, latents, dim))
        nn.init.trunc_normal_(self.latents, std=0.02)
        self.norm1, self.gather = nn.LayerNorm(dim), CrossAttention(dim, num_heads)
        self.norm2, self.scatter = nn.LayerNorm(dim), CrossAttention(dim, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        latents = self.latents + self.gather(self.norm1(self.latents), x)  # (B, R, C)
        return self.scatter(x, self.norm2(latents))

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        latents = params.get("latents", LATENTS)
        if not 1 <= latents < shape.tokens:
            return f"{latents} latents for {shape.tokens} tokens; choose between 1 and {shape.tokens - 1}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        latents, n, dim = params.get("latents", LATENTS), shape.length, shape.dim
        total = costs.weights(latents * dim) + costs.norm(dim) * 2
        return total + _cross_cost(shape, latents, n) + _cross_cost(shape, n, latents)


class CrossAttention(Layer):
    """Queries from x (B or 1, L, C), keys and values from context (B, M, C) -> (B, L, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q = split_heads(self.q(x), self.num_heads).expand(context.shape[0], -1, -1, -1)
        k, v = self.kv(context).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _cross_cost(shape: Shape, queries: int, keys: int) -> Cost:
    total = costs.linear(queries, shape.dim, shape.dim) * 2 + costs.linear(keys, shape.dim, 2 * shape.dim)
    return total + costs.attention(shape.heads, queries, keys, shape.head_dim)
