"""Shunted self-attention (Ren et al., CVPR 2022, arXiv 2111.15193)."""

from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.mixers.spatial_reduction import (
    Remainder,
    StridedMap,
    check_reduction,
    coarse_grid,
    without_remainder,
)
from search_spaces.taxonomy import About


class ScaleAttention(Core):
    """Some heads at one scale: keys and values from GELU(norm(conv x)) on the map reduced R times.

    A depth-wise 3 x 3 convolution of the values on their own map is added to them; with R = 1 it is added to the
    output instead, as published.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        reduction: int,
        strided: bool,
        remainder: Remainder,
    ):
        super().__init__()
        assert grid is not None
        self.reduces = strided
        self.grid = coarse_grid(grid, reduction, remainder)
        self.coarse = StridedMap(dim, grid, reduction, remainder) if strided else None
        self.local = nn.Conv2d(num_heads * head_dim, num_heads * head_dim, 3, padding=1, groups=num_heads * head_dim)

    def reduce(self, x: Tensor) -> Tensor:
        return x if self.coarse is None else F.gelu(self.coarse(x))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.coarse is None:
            return F.scaled_dot_product_attention(q, k, v) + self._local(v)
        return F.scaled_dot_product_attention(q, k, v + self._local(v))

    def _local(self, v: Tensor) -> Tensor:
        """(B, h, M, d) -> the same, by the convolution over the map of M tokens."""
        heads, head_dim = v.shape[1], v.shape[3]
        x = v.transpose(2, 3).flatten(1, 2).unflatten(2, self.grid)
        return self.local(x).flatten(2).unflatten(1, (heads, head_dim)).transpose(2, 3)

    @classmethod
    def keys(cls, shape: Shape, **params: Any) -> int:
        assert shape.grid is not None
        coarse = coarse_grid(shape.grid, params["reduction"], params["remainder"])
        return coarse[0] * coarse[1]

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        tokens = cls.keys(shape, **params)
        own = costs.attention(shape.heads, shape.length, tokens, shape.head_dim)
        own += costs.depthwise(tokens, shape.heads * shape.head_dim, 3)
        if not params["strided"]:
            return own
        return own + costs.conv(tokens, shape.dim, shape.dim, params["reduction"]) + costs.norm(shape.dim)


@MIXERS.register("shunted")
class ShuntedAttention(Core):
    """Half of the heads see the map reduced R times, the other half R/2 times; with R = 1 all heads see all tokens.

    remainder: rows and columns that R does not divide are padded with zeros, or dropped as published.
    """

    about = About(
        taxonomy="hierarchy",
        group="scale mixing between heads",
        paper="Ren et al., CVPR 2022",
        arxiv="2111.15193",
        complexity="4NC² + 5(N/R²)(C² + NC)",
    )
    search = {"reduction": (2, 4, 8)}
    rule = "V3"

    @classmethod
    def parts(cls, heads: int, **params: Any) -> list[tuple[type[Core], int, dict[str, Any]]]:
        reduction, remainder = params.get("reduction", 2), params.get("remainder", "pad")
        if reduction == 1:
            return [(ScaleAttention, heads, {"reduction": 1, "strided": False, "remainder": remainder})]
        scales = (reduction, reduction // 2)
        return [(ScaleAttention, heads // 2, {"reduction": r, "strided": True, "remainder": remainder}) for r in scales]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "shunted attention needs the grid, which a token reduction has scattered"
        reduction = params.get("reduction", 2)
        if reduction < 1 or reduction & (reduction - 1):
            return f"reduction {reduction} of shunted attention is not a power of two"
        if reduction > 1 and shape.heads % 2:
            return f"shunted attention divides its heads in two; {shape.heads} is odd"
        return check_reduction(shape.grid, reduction, params.get("remainder", "pad"))

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        return Atom(atom.kind, **without_remainder(shape, {"reduction": 2, **atom.params}))

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        parts = cls.parts(shape.heads, **params)
        return Cost.total([core.cost(replace(shape, heads=heads), **own) for core, heads, own in parts])
