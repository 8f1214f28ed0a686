"""Token slimming: kept tokens are learned convex combinations of all (Zong et al., ECCV 2022, arXiv 2111.12624)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import Layer, split_prefix
from search_spaces.parts import REDUCERS, Reducer


@REDUCERS.register("slimming")
class TokenSlimming(Reducer):
    """softmax over tokens of s · MLP(norm x), transposed, times x. The MLP maps C to hidden · C to the kept tokens."""

    search = {"keep": (0.7, 0.5, 0.25)}

    def __init__(self, dim: int, tokens: int, prefix: int, keep: float = 0.5, hidden: float = 0.5):
        super().__init__()
        self.tokens = tokens
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, int(dim * hidden))
        self.fc2 = nn.Linear(int(dim * hidden), self.kept(tokens, keep=keep))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        patches = x[:, -self.tokens :]
        return blend(x, self.fc2(F.gelu(self.fc1(self.norm(patches)))) * self.scale)

    @classmethod
    def kept(cls, tokens: int, **params: Any) -> int:
        return max(1, int(tokens * params.get("keep", 0.5)))

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, kept = int(dim * params.get("hidden", 0.5)), cls.kept(tokens, **params)
        score = costs.norm(dim) + costs.linear(tokens, dim, hidden) + costs.linear(tokens, hidden, kept)
        return score + costs.weights(1) + costs.matmul(1, kept, tokens, dim)


class ReverseSlimming(Layer):
    """Guesses all tokens (B, N, C) from those kept (B, M, C): U + MLP(norm U) with U = MLP(norm x) across the tokens.

    For training alone, where `recalibration_loss` holds them against the tokens of a teacher that keeps all.
    """

    def __init__(self, dim: int, kept: int, tokens: int, ratio: float = 4):
        super().__init__()
        self.norm1, self.mlp1 = nn.LayerNorm(dim), _Perceptron(kept, int(tokens * ratio), tokens)
        self.norm2, self.mlp2 = nn.LayerNorm(dim), _Perceptron(dim, int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mlp1(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp2(self.norm2(x))


class _Perceptron(Layer):
    def __init__(self, c_in: int, hidden: int, c_out: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c_in, hidden), nn.Linear(hidden, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def recalibration_loss(recovered: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared error (B, N, C) of each block's tokens to the teacher's, averaged over the blocks."""
    pairs = zip(recovered, teacher, strict=True)
    return torch.stack([F.mse_loss(ours, theirs.detach()) for ours, theirs in pairs]).mean()


def blend(x: Tensor, logits: Tensor) -> Tensor:
    """x (B, P + N, C) -> (B, P + M, C): M means of the patch tokens, weighed by the softmax over N of (B, N, M)."""
    prefix, patches = split_prefix(x, logits.shape[1])
    weights = logits.float().softmax(dim=1).to(x.dtype)
    return torch.cat([prefix, weights.transpose(1, 2) @ patches], dim=1)
