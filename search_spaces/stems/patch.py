"""Patch embedding: one convolution whose kernel is its stride (ViT, arXiv 2010.11929)."""

from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import to_tokens
from search_spaces.parts import STEMS, Grid, Identity, Stem


@STEMS.register("patch")
class PatchStem(Stem):
    """Cuts the image into size × size patches; an image that does not divide loses its last rows and columns."""

    def __init__(self, in_chans: int, dim: int, image_size: Grid, size: int, norm: bool = False, eps: float = 1e-5):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, size, stride=size)
        self.norm = nn.LayerNorm(dim, eps=eps) if norm else Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(to_tokens(self.proj(x)))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        size = params["size"]
        return image_size[0] // size, image_size[1] // size

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        h, w = cls.grid(image_size, **params)
        extra = costs.norm(dim) if params.get("norm", False) else Cost()
        return costs.conv(h * w, in_chans, dim, params["size"]) + extra
