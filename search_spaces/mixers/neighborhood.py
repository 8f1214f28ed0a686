"""Neighbourhood attention (Hassani et al., NAT, CVPR 2023, arXiv 2204.07143), windows cut at the edges."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, SHARED, Core, Grid
from search_spaces.mixers.tiles import Tiles, tile_keys
from search_spaces.taxonomy import About

WINDOW = 7


@MIXERS.register("neighborhood")
class NeighborhoodAttention(Core):
    """Every token attends to the k x k window centred on it; near an edge, to the part of the window on the map. (The
    authors move such windows inside, so that each keeps k² tokens.)

    position_bias: a learned bias for each head and place in the window. Prefix tokens attend to everything and
    everything to them.
    """

    about = About(
        taxonomy="complexity reduction",
        group="windowing",
        paper="Hassani et al., CVPR 2023",
        arxiv="2204.07143",
        complexity="4NC² + 2N(k + 6)²C",
    )
    search = {"window": (3, 5, 7)}
    reach = "local"
    takes_prefix = True
    rule = "V2"
    index: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        window: int = WINDOW,
        position_bias: bool = False,
    ):
        super().__init__()
        assert grid is not None
        self.tokens, self.tiles = grid[0] * grid[1], Tiles(grid, window)
        self.table: nn.Parameter | None = None
        if position_bias:
            self.table = nn.Parameter(torch.empty(num_heads, window**2))
            nn.init.trunc_normal_(self.table, std=0.02)
            self.register_buffer("index", self.tiles.offsets(), persistent=False)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        prefix = q.shape[2] - self.tokens
        k_near, v_near = (self._keys(t, prefix) for t in (k, v))
        patches = self._near(self.tiles.split(q[:, :, prefix:]), k_near, v_near)
        if prefix == 0:
            return patches
        return torch.cat([F.scaled_dot_product_attention(q[:, :, :prefix], k, v), patches], dim=2)

    def _keys(self, x: Tensor, prefix: int) -> Tensor:
        """(B, h, P + N, d) -> (B, h, G, P + K, d)."""
        return self.tiles.around(self.tiles.split(x[:, :, prefix:]), x[:, :, :prefix])

    def _near(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, h, G, T, d), k and v (B, h, G, P + K, d) -> (B, h, N, d)."""
        first, last = (0, 1) if self.table is None else (1, 2)  # heads that share a mask join the images
        mask = self._mask(k.shape[3] - self.tiles.allowed.shape[2], q.dtype)
        joined_q, joined_k, joined_v = (t.flatten(first, last) for t in (q, k, v))
        out = F.scaled_dot_product_attention(joined_q, joined_k, joined_v, attn_mask=mask)
        return self.tiles.join(out.reshape(q.shape))

    def _mask(self, prefix: int, dtype: torch.dtype) -> Tensor:
        """(1, G, T, P + K): the keys that may be seen; or (1, h * G, T, P + K): their bias."""
        if self.table is None:
            return F.pad(self.tiles.allowed, (prefix, 0), value=True).unsqueeze(0)
        bias = self.table[:, None, self.index].masked_fill(~self.tiles.allowed, float("-inf"))
        return F.pad(bias, (prefix, 0)).flatten(0, 1).unsqueeze(0).to(dtype)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "a neighbourhood needs the grid, which a token reduction has scattered"
        return check_window(params.get("window", WINDOW))

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        return shape.grid is not None and params.get("window", WINDOW) // 2 >= max(shape.grid) - 1

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """Softmax attention where every window covers the map."""
        params = atom.params
        if params.get("position_bias", False) or not cls.sees_all(shape, **params):
            return atom
        return Atom("softmax", **{k: v for k, v in params.items() if k in SHARED})

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        """Masked pairs of a tile and its halo are computed, so they count."""
        assert shape.grid is not None
        window = params.get("window", WINDOW)
        tiles, queries, keys = tile_keys(shape.grid, window)
        total = costs.attention(shape.heads * tiles, queries, shape.prefix + keys, shape.head_dim)
        total += costs.attention(shape.heads, shape.prefix, shape.length, shape.head_dim)
        return total + costs.weights(shape.heads * window**2 if params.get("position_bias", False) else 0)


def check_window(window: int) -> str | None:
    if window < 3 or window % 2 == 0:
        return f"a window of {window}x{window}; its side is odd and at least 3"
    return None
