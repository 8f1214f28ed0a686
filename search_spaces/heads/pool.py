"""Global average pooling of the patch tokens, then a linear classifier."""

from typing import Any

from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import Layer
from search_spaces.parts import HEADS, Head, Identity, make_norm


@HEADS.register("pool")
class PoolHead(Head):
    """norm: "before" pooling (Swin), "after" it (DaViT), or "none" (PVTv2). Prefix tokens do not vote.

    layer_norm: a layer norm, whatever the norm of the blocks is (PoolFormer in timm).
    distilled: two classifiers whose logits are averaged (EfficientFormer, arXiv 2206.01191).
    hidden: a linear layer to so many channels and tanh in front of the classifier (MaxViT, arXiv 2204.01697), or with
    squared=true the squared ReLU and a layer norm (MetaFormer baselines, arXiv 2210.13452).
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        prefix: int,
        norm: Atom,
        place: str = "before",
        layer_norm: bool = False,
        hidden: int | None = None,
        distilled: bool = False,
        squared: bool = False,
    ):
        super().__init__()
        self.prefix = prefix
        chosen = nn.LayerNorm(dim, eps=1e-6) if layer_norm else make_norm(norm, dim)
        self.norm_before = chosen if place == "before" else Identity()
        self.norm_after = chosen if place == "after" else Identity()
        self.hidden = HiddenLayer(dim, hidden, squared) if hidden else Identity()
        self.fc = nn.Linear(hidden or dim, classes)
        self.fc_distilled = nn.Linear(hidden or dim, classes) if distilled else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_before(x)[:, self.prefix :].mean(dim=1)
        x = self.hidden(self.norm_after(x))
        return self.fc(x) if self.fc_distilled is None else (self.fc(x) + self.fc_distilled(x)) / 2

    @classmethod
    def cost(cls, *, dim: int, classes: int, tokens: int, prefix: int, **params: Any) -> Cost:
        normed = costs.norm(dim) if params.get("place", "before") != "none" else Cost()
        hidden, classifiers = params.get("hidden"), 1 + params.get("distilled", False)
        if not hidden:
            return normed + costs.linear(1, dim, classes) * classifiers
        normed += costs.norm(hidden) if params.get("squared", False) else Cost()
        return normed + costs.linear(1, dim, hidden) + costs.linear(1, hidden, classes) * classifiers


class HiddenLayer(Layer):
    """(B, C) -> (B, hidden): linear and tanh, or linear, squared ReLU and a layer norm."""

    def __init__(self, dim: int, hidden: int, squared: bool = False):
        super().__init__()
        self.fc = nn.Linear(dim, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-6) if squared else Identity()
        self.squared = squared

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return self.norm(x.relu().square()) if self.squared else x.tanh()
