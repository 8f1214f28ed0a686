"""TokenLearner, version 1.1: a few tokens learned as weighted means of all (Ryoo et al., NeurIPS 2021,
arXiv 2106.11297)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import REDUCERS, Reducer
from search_spaces.reducers.slimming import blend

LEARNED, HIDDEN = 8, 64


@REDUCERS.register("token_learner")
class TokenLearner(Reducer):
    """softmax over tokens of MLP(norm x), transposed, times x: `learned` tokens, however many come in.

    The MLP maps C to `hidden` to the learned tokens. Where fewer tokens come in, as many as there are.
    """

    search = {"learned": (4, 8, 16)}

    def __init__(self, dim: int, tokens: int, prefix: int, learned: int = LEARNED, hidden: int = HIDDEN):
        super().__init__()
        self.tokens = tokens
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, self.kept(tokens, learned=learned))

    def forward(self, x: Tensor) -> Tensor:
        return blend(x, self.fc2(F.gelu(self.fc1(self.norm(x[:, -self.tokens :])))))

    @classmethod
    def kept(cls, tokens: int, **params: Any) -> int:
        return min(tokens, params.get("learned", LEARNED))

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, kept = params.get("hidden", HIDDEN), cls.kept(tokens, **params)
        score = costs.norm(dim) + costs.linear(tokens, dim, hidden) + costs.linear(tokens, hidden, kept)
        return score + costs.matmul(1, kept, tokens, dim)
