"""Class attention: a class token enters after the trunk and reads the patches (CaiT, arXiv 2103.17239; as in XCiT)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import Layer, split_heads
from search_spaces.parts import HEADS, Head, make_norm


@HEADS.register("class_attention")
class ClassAttentionHead(Head):
    """`depth` blocks in which only the class token is queried, then norm and classifier."""

    def __init__(
        self,
        dim: int,
        classes: int,
        prefix: int,
        norm: Atom,
        depth: int = 2,
        num_heads: int = 8,
        ratio: float = 4,
        layer_scale: float = 1.0,
        tokens_norm: bool = True,
    ):
        super().__init__()
        self.prefix = prefix
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.ModuleList(
            ClassAttentionBlock(dim, num_heads, ratio, norm, layer_scale, tokens_norm) for _ in range(depth)
        )
        self.norm = make_norm(norm, dim)
        self.fc = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x[:, self.prefix :]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.norm(x)[:, 0])

    @classmethod
    def cost(cls, *, dim: int, classes: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, heads, length = int(dim * params.get("ratio", 4)), params.get("num_heads", 8), tokens + 1
        attend = costs.linear(1, dim, dim) * 2 + costs.linear(length, dim, dim) * 2
        attend += costs.attention(heads, 1, length, dim // heads)
        mlp = costs.linear(1, dim, hidden) + costs.linear(1, hidden, dim)
        block = attend + mlp + costs.norm(dim) * 2 + costs.weights(2 * dim)
        return block * params.get("depth", 2) + costs.weights(dim) + costs.norm(dim) + costs.linear(1, dim, classes)


class ClassAttentionBlock(Layer):
    """As in XCiT: the normed patches are added to themselves, which matters for the next block.

    tokens_norm: the second norm is over all tokens, else over the class token alone.
    """

    def __init__(self, dim: int, num_heads: int, ratio: float, norm: Atom, layer_scale: float, tokens_norm: bool):
        super().__init__()
        self.tokens_norm = tokens_norm
        self.norm1 = make_norm(norm, dim)
        self.attn = ClassAttention(dim, num_heads)
        self.gamma1 = nn.Parameter(torch.full((dim,), layer_scale))
        self.norm2 = make_norm(norm, dim)
        self.fc1 = nn.Linear(dim, int(dim * ratio))
        self.fc2 = nn.Linear(int(dim * ratio), dim)
        self.gamma2 = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        u = self.norm1(x)
        x = x + self.gamma1 * torch.cat([self.attn(u), u[:, 1:]], dim=1)
        x = self.norm2(x) if self.tokens_norm else torch.cat([self.norm2(x[:, :1]), x[:, 1:]], dim=1)
        cls = self.gamma2 * self.fc2(F.gelu(self.fc1(x[:, :1])))
        return x + torch.cat([cls, x[:, 1:]], dim=1)


class ClassAttention(Layer):
    """Row 0 alone asks, all rows answer: (B, 1 + N, C) -> (B, 1, C)."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True):
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.k = nn.Linear(dim, dim, bias=qkv_bias)
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(t, self.num_heads) for t in (self.q(x[:, :1]), self.k(x), self.v(x)))
        read = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(read.transpose(1, 2).flatten(2))
