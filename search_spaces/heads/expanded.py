"""A wider layer in front of the pooling, then a linear classifier (CMT, Guo et al., CVPR 2022, arXiv 2107.06263; after
EfficientNet, arXiv 1905.11946)."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import HEADS, Head

HIDDEN = 1280


@HEADS.register("expanded")
class ExpandedHead(Head):
    """Mean of SiLU(BN(linear to `hidden` channels)) over the tokens, then the classifier. Prefix tokens do not vote."""

    def __init__(self, dim: int, classes: int, prefix: int, norm: Atom, hidden: int = HIDDEN):
        super().__init__()
        self.prefix = prefix
        self.hidden = nn.Linear(dim, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(x[:, self.prefix :])
        x = F.silu(self.norm(x.flatten(0, 1)).unflatten(0, (-1, x.shape[1])))
        return self.fc(x.mean(dim=1))

    @classmethod
    def cost(cls, *, dim: int, classes: int, tokens: int, prefix: int, **params: Any) -> Cost:
        hidden = params.get("hidden", HIDDEN)
        return costs.linear(tokens, dim, hidden) + costs.norm(hidden) + costs.linear(1, hidden, classes)
