"""Fusion of CrossViT (Chen et al., ICCV 2021, arXiv 2103.14899): each class token reads the other branch's patches."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.heads.class_attention import ClassAttention
from search_spaces.layer import Layer
from search_spaces.structures import FUSIONS, Fusion
from search_spaces.taxonomy import About

EPSILON = 1e-6  # of the norms


@FUSIONS.register("class_attention")
class ClassAttentionFusion(Fusion):
    """Both class tokens visit the other branch as they were before, and take the place of what they were.

    depth: steps of a visit. Only the first sees patches: it hands on the class token alone, as published.
    """

    about = About(
        taxonomy="hierarchy",
        group="multi-branch",
        paper="Chen et al., ICCV 2021",
        arxiv="2103.14899",
        complexity="2(N+1)C² + 2C² + 2(N+1)C",
    )
    search = {"times": (2, 3)}

    def __init__(self, dims: Sequence[int], heads: Sequence[int], depth: int = 1, qkv_bias: bool = True):
        super().__init__()
        self.a = Visit(dims[0], dims[1], heads[1], depth, qkv_bias)
        self.b = Visit(dims[1], dims[0], heads[0], depth, qkv_bias)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        read_a, read_b = self.a(a[:, :1], b[:, 1:]), self.b(b[:, :1], a[:, 1:])
        return torch.cat([read_a, a[:, 1:]], dim=1), torch.cat([read_b, b[:, 1:]], dim=1)

    @classmethod
    def cost(cls, *, dims: Sequence[int], heads: Sequence[int], tokens: Sequence[int], **params: Any) -> Cost:
        depth, bias = params.get("depth", 1), params.get("qkv_bias", True)
        there = Visit.cost(dims[0], dims[1], heads[1], tokens[1], depth, bias)
        return there + Visit.cost(dims[1], dims[0], heads[0], tokens[0], depth, bias)


class Visit(Layer):
    """A class token of `dim` channels, taken to `other` channels, reads patches there and is taken back."""

    def __init__(self, dim: int, other: int, num_heads: int, depth: int = 1, qkv_bias: bool = True):
        super().__init__()
        self.there, self.back = Translation(dim, other), Translation(other, dim)
        self.read = Reading(other, num_heads, qkv_bias)
        self.alone = nn.ModuleList(Alone(other, qkv_bias) for _ in range(1, depth))

    def forward(self, cls: Tensor, patches: Tensor) -> Tensor:
        cls = self.read(self.there(cls), patches)
        for step in self.alone:
            cls = step(cls)
        return self.back(cls)

    @classmethod
    def cost(cls, dim: int, other: int, heads: int, tokens: int, depth: int, bias: bool) -> Cost:
        own = costs.linear(1, other, other, bias)  # of queries, and of keys and values where there is but one
        read = own + costs.linear(tokens + 1, other, other, bias) * 2 + costs.linear(1, other, other)
        read += costs.norm(other) + costs.attention(heads, 1, tokens + 1, other // heads)
        alone = own + costs.linear(1, other, other) + costs.norm(other)
        translated = costs.linear(1, dim, other) + costs.norm(dim) + costs.linear(1, other, dim) + costs.norm(other)
        return translated + read + alone * (depth - 1)


class Translation(Layer):
    """To another width: the activation stands in front of the linear layer."""

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.fc = nn.Linear(dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.gelu(self.norm(x)))


class Reading(Layer):
    """The class token, which is a key and a value too, asks all patches."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = ClassAttention(dim, num_heads, qkv_bias)

    def forward(self, cls: Tensor, patches: Tensor) -> Tensor:
        return cls + self.attn(self.norm(torch.cat([cls, patches], dim=1)))


class Alone(Layer):
    """Attention of a token to itself alone, of which values and projection are left."""

    def __init__(self, dim: int, bias: bool):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.v, self.proj = nn.Linear(dim, dim, bias=bias), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj(self.v(self.norm(x)))
