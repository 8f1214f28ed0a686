"""Lightweight attention of CMT (Guo et al., CVPR 2022, arXiv 2107.06263)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import split_heads, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, SHARED, Grid, Memory, Mixer
from search_spaces.mixers.spatial_reduction import check_reduction, coarse_grid
from search_spaces.parts import Identity
from search_spaces.taxonomy import About

REDUCTION, QK_RATIO = 2, 1


@MIXERS.register("light")
class LightAttention(Mixer):
    """Softmax attention over keys and values from a map that a depth-wise R×R convolution of stride R has thinned out.

    The coarse map has a batch norm; sides that R does not divide are padded with zeros. qk_ratio: by how much queries
    and keys are narrower than values. position_bias: a table of every query and key of every head, zero at the start;
    it belongs to one grid. shared: the first block of a stage has it and the others use it too, as the authors do.
    """

    about = About(
        taxonomy="other",
        group="convolution integration",
        paper="Guo et al., CVPR 2022",
        arxiv="2107.06263",
        complexity="2NC² + 2(N/R²)C² + 2N²C/R² + NC",
    )
    search = {"reduction": (2, 4), "qk_ratio": (1, 2)}
    leaves = recalls = "position_bias"
    rule = "V3"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        reduction: int = REDUCTION,
        qk_ratio: int = QK_RATIO,
        position_bias: bool = False,
        qkv_bias: bool = True,
        shared: bool = False,
        given: bool = False,
        wanted: bool = False,
    ):
        super().__init__()
        h, w = coarse_grid(grid, reduction, "pad")
        self.grid, self.num_heads = grid, num_heads
        self.padding = (0, w * reduction - grid[1], 0, h * reduction - grid[0])
        self.reduce = nn.Conv2d(dim, dim, reduction, stride=reduction, groups=dim) if reduction > 1 else Identity()
        self.norm = nn.BatchNorm2d(dim) if reduction > 1 else Identity()
        self.q = nn.Linear(dim, dim // qk_ratio, bias=qkv_bias)
        self.k = nn.Linear(dim, dim // qk_ratio, bias=qkv_bias)
        self.v = nn.Linear(dim, dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.scale = (dim // qk_ratio // num_heads) ** -0.5
        size = (num_heads, grid[0] * grid[1], h * w)
        self.recalls_bias, self.leaves_bias = position_bias and shared and given, position_bias and shared and wanted
        own = position_bias and not self.recalls_bias
        self.position_bias = nn.Parameter(torch.zeros(size)) if own else None

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        coarse = to_tokens(self.norm(self.reduce(F.pad(to_map(x, self.grid), self.padding))))
        q, k, v = (split_heads(t, self.num_heads) for t in (self.q(x), self.k(coarse), self.v(coarse)))
        bias = self._bias(memory)
        mask = None if bias is None else bias.to(q.dtype)
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        return self.proj(read.transpose(1, 2).flatten(2))

    def _bias(self, memory: Memory | None) -> Tensor | None:
        """(h, N, M), of this block or of the first one of the stage."""
        if memory is None or not (self.recalls_bias or self.leaves_bias):
            return self.position_bias
        if self.position_bias is not None:
            memory["position_bias"] = self.position_bias
        return memory["position_bias"]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "light needs a grid of tokens"
        ratio = params.get("qk_ratio", QK_RATIO)
        if shape.head_dim % ratio:
            return f"heads of {shape.head_dim} channels cannot be made {ratio} times narrower"
        return check_reduction(shape.grid, params.get("reduction", REDUCTION), "pad")

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """Softmax attention where nothing is reduced, narrowed or biased; nothing is shared without a table."""
        params, biased = {"reduction": REDUCTION, "qk_ratio": QK_RATIO, **atom.params}, atom.params.get("position_bias")
        if biased:
            return atom
        if params["reduction"] > 1 or params["qk_ratio"] > 1:
            return Atom(atom.kind, **{k: v for k, v in atom.params.items() if k != "shared"})
        return Atom("softmax", **{k: v for k, v in params.items() if k in SHARED})

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        assert shape.grid is not None
        n, dim, reduction = shape.tokens, shape.dim, params.get("reduction", REDUCTION)
        ratio, bias = params.get("qk_ratio", QK_RATIO), params.get("qkv_bias", True)
        h, w = coarse_grid(shape.grid, reduction, "pad")
        m = h * w
        total = costs.linear(n, dim, dim // ratio, bias) + costs.linear(m, dim, dim // ratio, bias)
        total += costs.linear(m, dim, dim, bias) + costs.linear(n, dim, dim)
        total += costs.attention(shape.heads, n, m, shape.head_dim // ratio, shape.head_dim)
        if reduction > 1:
            total += costs.depthwise(m, dim, reduction) + costs.norm(dim)
        own = params.get("position_bias", False) and not (shape.given and params.get("shared", False))
        return total + costs.weights(shape.heads * n * m) if own else total
