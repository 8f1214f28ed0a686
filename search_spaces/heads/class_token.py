"""The class token, normed, through a linear classifier (ViT, arXiv 2010.11929)."""

from typing import Any

from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import HEADS, Head, make_norm


@HEADS.register("cls")
class ClassTokenHead(Head):
    """Norm over all tokens, then row 0."""

    needs_cls = True

    def __init__(self, dim: int, classes: int, prefix: int, norm: Atom):
        super().__init__()
        self.norm = make_norm(norm, dim)
        self.fc = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(x)[:, 0])

    @classmethod
    def cost(cls, *, dim: int, classes: int, tokens: int, prefix: int, **params: Any) -> Cost:
        return costs.norm(dim) + costs.linear(1, dim, classes)
