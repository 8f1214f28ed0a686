"""The class token, normed, through a linear classifier (ViT, arXiv 2010.11929)."""

from typing import Any

from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import HEADS, Head, make_norm


@HEADS.register("cls")
class ClassTokenHead(Head):
    """Norm over all tokens, then row 0.

    distilled: row 1, a register, has a classifier of its own, and the logits are averaged (DeiT, arXiv 2012.12877).
    """

    needs_cls = True

    def __init__(self, dim: int, classes: int, prefix: int, norm: Atom, distilled: bool = False):
        super().__init__()
        self.norm = make_norm(norm, dim)
        self.fc = nn.Linear(dim, classes)
        self.fc_distilled = nn.Linear(dim, classes) if distilled else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        if self.fc_distilled is None:
            return self.fc(x[:, 0])
        return (self.fc(x[:, 0]) + self.fc_distilled(x[:, 1])) / 2

    @classmethod
    def cost(cls, *, dim: int, classes: int, tokens: int, prefix: int, **params: Any) -> Cost:
        return costs.norm(dim) + costs.linear(1, dim, classes) * (1 + params.get("distilled", False))
