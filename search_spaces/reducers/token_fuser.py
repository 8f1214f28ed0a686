"""TokenLearner with its TokenFuser: few tokens for some blocks, then all of them again (Ryoo et al., NeurIPS 2021,
arXiv 2106.11297)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import REDUCERS
from search_spaces.reducers.token_learner import LEARNED, TokenLearner

HIDDEN = 64


@REDUCERS.register("token_fuser")
class TokenFuser(TokenLearner):
    """Learned tokens as token_learner makes them; at the end of the stage they are mixed among themselves and handed
    out to the tokens they came from, which are added.

    Each token takes sigmoid(MLP(norm of itself)) of every mixed token. The mixing starts at zero, so that the blocks
    in between contribute nothing at first. The prefix is that of the last block.
    """

    restores = True
    averages = False

    def __init__(self, dim: int, tokens: int, prefix: int, learned: int = LEARNED, hidden: int = HIDDEN):
        super().__init__(dim, tokens, prefix, learned, hidden)
        learned = self.kept(tokens, learned=learned)
        self.norm_learned, self.mix, self.norm_mixed = nn.LayerNorm(dim), nn.Linear(learned, learned), nn.LayerNorm(dim)
        self.norm_gate, self.gate1, self.gate2 = nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.Linear(hidden, learned)

    def init_special(self) -> None:
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), x[:, -self.tokens :]

    def restore(self, x: Tensor, aside: Tensor) -> Tensor:
        """x (B, P + S, C) and the patch tokens of before (B, N, C) -> (B, P + N, C)."""
        prefix = x.shape[1] - self.mix.in_features
        learned = self.norm_learned(x[:, prefix:])
        mixed = self.norm_mixed(self.mix(learned.transpose(1, 2)).transpose(1, 2))
        shares = self.gate2(F.gelu(self.gate1(self.norm_gate(aside)))).sigmoid()
        return torch.cat([x[:, :prefix], aside + shares @ mixed], dim=1)

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden, kept = params.get("hidden", HIDDEN), cls.kept(tokens, **params)
        gate = costs.norm(dim) + costs.linear(tokens, dim, hidden) + costs.linear(tokens, hidden, kept)
        mix = costs.norm(dim) * 2 + costs.linear(dim, kept, kept) + costs.matmul(1, tokens, kept, dim)
        return super().cost(dim=dim, tokens=tokens, prefix=prefix, **params) + gate + mix
