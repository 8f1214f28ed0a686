"""Tokens to token: overlapping patches are attended to and cut again (T2T-ViT: Yuan et al., ICCV 2021,
arXiv 2101.11986)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import Layer, to_map
from search_spaces.parts import STEMS, Grid, Stem

TOKEN_DIM, ATTENTION = 64, "softmax"
WINDOWS = {4: (7, 2), 2: (3, 1), 1: (3, 1)}  # step of a soft split -> kernel, padding


@STEMS.register("tokens_to_token")
class TokensToTokenStem(Stem):
    """Soft splits (overlapping windows laid out as channels), a small transformer between any two, then a projection.

    stride 16 splits by 4, 2 and 2, as the authors do; smaller powers of two shorten or leave out the first steps.
    attention: "softmax", or "performer" with random features, linear in the number of tokens.
    """

    positional = True

    def __init__(
        self,
        in_chans: int,
        dim: int,
        image_size: Grid,
        stride: int,
        token_dim: int = TOKEN_DIM,
        attention: str = ATTENTION,
    ):
        super().__init__()
        self.steps, self.grids = _steps(stride), _grids(image_size, stride)
        widths = _widths(in_chans, token_dim, stride)
        self.layers = nn.ModuleList(TRANSFORMERS[attention](width, token_dim) for width in widths[:-1])
        self.project = nn.Linear(widths[-1], dim)

    def forward(self, x: Tensor) -> Tensor:
        for step, grid, layer in zip(self.steps[:-1], self.grids[:-1], self.layers, strict=True):
            x = to_map(layer(soft_split(x, step)), grid)
        return self.project(soft_split(x, self.steps[-1]))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        return _grids(image_size, params["stride"])[-1]

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        width, stride = params.get("token_dim", TOKEN_DIM), params["stride"]
        layer = TRANSFORMERS[params.get("attention", ATTENTION)]
        tokens, widths = [h * w for h, w in _grids(image_size, stride)], _widths(in_chans, width, stride)
        total = costs.linear(tokens[-1], widths[-1], dim)
        return Cost.total([total, *(layer.cost(n, w, width) for n, w in zip(tokens, widths[:-1], strict=False))])


class TokenTransformer(Layer):
    """One head of `dim` channels on tokens of another width, so that the values stand in for the residual.

    (B, N, in_dim) -> (B, N, dim). The scale is that of the width that comes in, as in the authors' code.
    """

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(in_dim)
        self.qkv = nn.Linear(in_dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, None, ratio=1)
        self.scale = in_dim**-0.5

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unsqueeze(1).chunk(3, dim=3)
        read = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        x = (v + self.proj(read)).squeeze(1)
        return x + self.mlp(self.norm2(x))

    @classmethod
    def cost(cls, tokens: int, in_dim: int, dim: int) -> Cost:
        ends = costs.linear(tokens, in_dim, 3 * dim, bias=False) + costs.linear(tokens, dim, dim)
        norms = costs.norm(in_dim) + costs.norm(dim)
        mlp = Mlp.cost(dim=dim, tokens=tokens, prefix=0, ratio=1)
        return ends + norms + mlp + costs.attention(1, tokens, tokens, dim)


class TokenPerformer(Layer):
    """As TokenTransformer, with softmax approximated by dim / 2 positive random features (Choromanski et al.,
    ICLR 2021, arXiv 2009.14794). Their directions are orthogonal, drawn once, and frozen parameters."""

    def __init__(self, in_dim: int, dim: int):
        super().__init__()
        features = dim // 2
        self.norm1 = nn.LayerNorm(in_dim)
        self.kqv = nn.Linear(in_dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, None, ratio=1)
        directions = nn.init.orthogonal_(torch.empty(features, dim), gain=features**0.5)
        self.directions = nn.Parameter(directions, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        k, q, v = self.kqv(self.norm1(x)).chunk(3, dim=2)
        k, q = self.features(k), self.features(q)
        weights = q @ k.sum(dim=1).unsqueeze(2) + 1e-8
        x = v + self.proj(q @ (k.transpose(1, 2) @ v) / weights)
        return x + self.mlp(self.norm2(x))

    def features(self, x: Tensor) -> Tensor:
        """exp(w · x - |x|² / 2) / √m over the m directions w."""
        logits = F.linear(x, self.directions) - x.square().sum(dim=2, keepdim=True) / 2
        return logits.exp() * self.directions.shape[0] ** -0.5

    @classmethod
    def cost(cls, tokens: int, in_dim: int, dim: int) -> Cost:
        features = dim // 2
        ends = costs.linear(tokens, in_dim, 3 * dim) + costs.linear(tokens, dim, dim)
        norms = costs.norm(in_dim) + costs.norm(dim)
        mlp = Mlp.cost(dim=dim, tokens=tokens, prefix=0, ratio=1)
        mapped = costs.matmul(2, tokens, dim, features) + costs.matmul(1, tokens, features, 1)
        read = costs.matmul(1, features, tokens, dim) + costs.matmul(1, tokens, features, dim)
        return ends + norms + mlp + mapped + read + costs.weights(features * dim)


TRANSFORMERS: dict[str, type[TokenTransformer] | type[TokenPerformer]] = {
    "softmax": TokenTransformer,
    "performer": TokenPerformer,
}


def soft_split(x: Tensor, step: int) -> Tensor:
    """Map (B, C, H, W) -> windows (B, N, C·k²), channel-major."""
    kernel, padding = WINDOWS[step]
    return F.unfold(x, kernel, stride=step, padding=padding).transpose(1, 2)


def _steps(stride: int) -> list[int]:
    """At least two, whose product is the stride."""
    first = 4 if stride >= 8 else max(1, stride // 2)
    return [first, *[2] * ((stride // first).bit_length() - 1)] if stride > 1 else [1, 1]


def _grids(image_size: Grid, stride: int) -> list[Grid]:
    """The grid after each soft split."""
    found, (h, w) = [], image_size
    for step in _steps(stride):
        kernel, padding = WINDOWS[step]
        h, w = (h + 2 * padding - kernel) // step + 1, (w + 2 * padding - kernel) // step + 1
        found.append((h, w))
    return found


def _widths(in_chans: int, token_dim: int, stride: int) -> list[int]:
    """Channels of a token after each soft split."""
    first, *rest = (WINDOWS[step][0] ** 2 for step in _steps(stride))
    return [in_chans * first, *(token_dim * area for area in rest)]
