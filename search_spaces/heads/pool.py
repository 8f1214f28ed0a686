"""Global average pooling of the patch tokens, then a linear classifier."""

from typing import Any

from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import HEADS, Head, Identity, make_norm


@HEADS.register("pool")
class PoolHead(Head):
    """norm: "before" pooling (Swin), "after" it (DaViT), or "none" (PVTv2). Prefix tokens do not vote."""

    def __init__(self, dim: int, classes: int, prefix: int, norm: Atom, place: str = "before"):
        super().__init__()
        self.prefix = prefix
        self.norm_before = make_norm(norm, dim) if place == "before" else Identity()
        self.norm_after = make_norm(norm, dim) if place == "after" else Identity()
        self.fc = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_before(x)[:, self.prefix :].mean(dim=1)
        return self.fc(self.norm_after(x))

    @classmethod
    def cost(cls, *, dim: int, classes: int, tokens: int, prefix: int, **params: Any) -> Cost:
        normed = costs.norm(dim) if params.get("place", "before") != "none" else Cost()
        return normed + costs.linear(1, dim, classes)
