"""Latents and tokens that attend to each other by one map (BiXT: Hiller et al., NeurIPS 2024, arXiv 2402.12138)."""

from typing import Any

import torch
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import Layer, split_heads
from search_spaces.mixers.base import MIXERS, Attention, Grid, Memory, Mixer, mixer_cost
from search_spaces.mixers.softmax import SoftmaxAttention
from search_spaces.taxonomy import About

LATENTS, RATIO = 32, 2


@MIXERS.register("bixt")
class BidirectionalCrossAttention(Mixer):
    """Tokens and a stream of latents exchange through one map of scores; the latents go on from block to block.

    The first block of a stage brings learned latents, each but the last passes them through an MLP, attention among
    themselves and another MLP, as the authors do between two exchanges. The tokens' own norm, residual and MLP are
    those of the block. `ratio`: of the latents' MLPs.
    """

    about = About(
        taxonomy="tokenization",
        group="latents",
        paper="Hiller et al., NeurIPS 2024",
        arxiv="2402.12138",
        complexity="3NC² + 3NMC + (7 + 4r)MC² + 2M²C",
    )
    search = {"latents": (8, 32)}
    recalls = leaves = "latents"
    one_stream = True
    is_set = True
    takes_prefix = True
    rule = "V5"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid | None,
        given: bool = False,
        wanted: bool = False,
        latents: int = LATENTS,
        ratio: float = RATIO,
    ):
        super().__init__()
        self.given = given
        if not given:
            self.latents = nn.Parameter(torch.empty(1, latents, dim))
            nn.init.trunc_normal_(self.latents, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.exchange = Exchange(dim, num_heads, for_latents=wanted)
        self.stream = LatentStream(dim, num_heads, ratio) if wanted else None

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        latents = memory["latents"] if self.given else self.latents.repeat(x.shape[0], 1, 1)
        for_tokens, for_latents = self.exchange(x, self.norm(latents))
        if self.stream is not None:
            memory["latents"] = self.stream(latents + for_latents)
        return for_tokens

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        latents = params.get("latents", LATENTS)
        if not 1 <= latents < shape.tokens:
            return f"{latents} latents for {shape.tokens} tokens; choose between 1 and {shape.tokens - 1}"
        if not shape.given and not shape.wanted:
            return "bixt hands its latents to no later block; let a stage have at least two of it"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        n, c, h, latents = shape.length, shape.dim, shape.heads, params.get("latents", LATENTS)
        total = costs.norm(c) + costs.linear(latents, c, 2 * c) + costs.linear(n, c, c)
        total += costs.linear(n, c, c * (1 + shape.wanted))
        total += costs.matmul(h, latents, shape.head_dim, n) + costs.matmul(h, n, latents, shape.head_dim)
        if not shape.given:
            total += costs.weights(latents * c)
        return total + _stream_cost(shape, latents, params.get("ratio", RATIO)) if shape.wanted else total


class LatentStream(Layer):
    """Latents (B, M, C) between two exchanges: an MLP, attention among themselves, another MLP, each on the norm."""

    def __init__(self, dim: int, num_heads: int, ratio: float, last_ratio: float | None = None, qkv_bias: bool = True):
        super().__init__()
        among = SoftmaxAttention(dim, num_heads, dim // num_heads, None)
        self.norm1, self.mlp1 = nn.LayerNorm(dim), Mlp(dim, None, ratio)
        self.norm2, self.attention = nn.LayerNorm(dim), Attention(dim, num_heads, [among], [num_heads], qkv_bias)
        self.norm3, self.mlp2 = nn.LayerNorm(dim), Mlp(dim, None, ratio if last_ratio is None else last_ratio)

    def forward(self, latents: Tensor) -> Tensor:
        latents = latents + self.mlp1(self.norm1(latents))
        latents = latents + self.attention(self.norm2(latents))
        return latents + self.mlp2(self.norm3(latents))


class Exchange(Layer):
    """Tokens x (B, L, C) and latents (B, M, C') -> what each takes from the other; None where nobody wants it.

    Both have one reference vector r and, where the other side wants it, one value v per head. r rᵀ / √d is softmaxed
    over the latents for the tokens and over the tokens for the latents; both use the values that came in.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        latent_dim: int | None = None,
        width: int | None = None,
        bias: bool = True,
        for_tokens: bool = True,
        for_latents: bool = True,
    ):
        super().__init__()
        latent_dim, width = latent_dim or dim, width or dim
        self.num_heads = num_heads
        self.rv_tokens = nn.Linear(dim, width * (1 + for_latents), bias)
        self.rv_latents = nn.Linear(latent_dim, width * (1 + for_tokens), bias)
        self.width = width
        self.proj_tokens = nn.Linear(width, dim) if for_tokens else None
        self.proj_latents = nn.Linear(width, latent_dim) if for_latents else None

    def forward(self, x: Tensor, latents: Tensor) -> tuple[Tensor | None, Tensor | None]:
        of_tokens, of_latents = self.rv_tokens(x), self.rv_latents(latents)
        r, r_latents = (split_heads(t[..., : self.width], self.num_heads) for t in (of_tokens, of_latents))
        scores = r_latents @ r.transpose(2, 3) * r.shape[3] ** -0.5  # (B, h, M, L)
        for_tokens = for_latents = None
        if self.proj_tokens is not None:
            v = split_heads(of_latents[..., self.width :], self.num_heads)
            for_tokens = self.proj_tokens(_join(scores.softmax(dim=2).transpose(2, 3) @ v))
        if self.proj_latents is not None:
            v = split_heads(of_tokens[..., self.width :], self.num_heads)
            for_latents = self.proj_latents(_join(scores.softmax(dim=3) @ v))
        return for_tokens, for_latents


def _join(x: Tensor) -> Tensor:
    """(B, h, L, d) -> (B, L, C)."""
    return x.transpose(1, 2).flatten(2)


def _stream_cost(shape: Shape, latents: int, ratio: float) -> Cost:
    """Of what only latents that are wanted go through: the way out of the exchange, then the stream."""
    c = shape.dim
    among = Shape(dim=c, heads=shape.heads, head_dim=shape.head_dim, grid=None, tokens=latents)
    total = costs.matmul(shape.heads, latents, shape.length, shape.head_dim) + costs.linear(latents, c, c)
    total += Mlp.cost(dim=c, tokens=latents, prefix=0, ratio=ratio) * 2 + costs.norm(c) * 3
    return total + mixer_cost((Atom("softmax"),), 1.0, among)
