"""Diffuser: attention that spreads over several hops of a sparse graph (Feng et al., AAAI 2023, arXiv 2210.11794)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.mixers.neighborhood import check_window
from search_spaces.mixers.tiles import Tiles, tile_keys
from search_spaces.taxonomy import About

HOPS, ALPHA, WINDOW = 5, 0.1, 5


@MIXERS.register("diffuser")
class Diffuser(Core):
    """H ← (1 - α) A H + α V, `hops` times from H = V: A is the softmax over the tokens that a token is connected to.

    A token is connected to the k x k window around it and to landmarks² patch tokens spread over the map; prefix tokens
    to everything and everything to them. (The authors connect words: overlapping blocks, some global and random ones.)
    alpha: the share of V that every hop restores.
    """

    about = About(
        taxonomy="complexity reduction",
        group="sparsity",
        paper="Feng et al., AAAI 2023",
        arxiv="2210.11794",
        complexity="4NC² + (hops + 1)N(k + 6)²C",
    )
    search = {"hops": (1, 3, 5), "alpha": (0.1, 0.3), "window": (3, 5)}
    takes_prefix = True
    rule = "V2"
    allowed: Tensor
    landmarks: Tensor
    real: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        hops: int = HOPS,
        alpha: float = ALPHA,
        window: int = WINDOW,
        landmarks: int = 0,
    ):
        super().__init__()
        assert grid is not None
        self.tokens, self.hops, self.alpha = grid[0] * grid[1], hops, alpha
        self.tiles = Tiles(grid, window)
        tiles, queries, _ = self.tiles.allowed.shape
        chosen = landmark_tokens(grid, landmarks)
        away = self.tiles.split(~in_window(grid, chosen, window // 2)[None, None])[0, 0]  # landmarks² more keys
        self.register_buffer("allowed", torch.cat([away, self.tiles.allowed], dim=2), persistent=False)
        places = torch.arange(tiles * queries).reshape(1, 1, tiles, queries, 1)
        self.register_buffer("landmarks", self.tiles.join(places).flatten()[chosen], persistent=False)
        real = self.tiles.split(torch.ones(1, 1, self.tokens, 1, dtype=torch.bool))
        self.register_buffer("real", real.reshape(1, -1), persistent=False)  # no pads

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        prefix = q.shape[2] - self.tokens
        (q_prefix, q), (k_prefix, k), (v_prefix, v) = (self._parts(t, prefix) for t in (q * q.shape[3] ** -0.5, k, v))
        near = self._weights(q, self._neighbours(k_prefix, k), F.pad(self.allowed, (prefix, 0), value=True))
        if prefix == 0:
            return self.tiles.join(self._spread(None, near, v_prefix, v)[1])
        above = self._weights(q_prefix, self._everything(k_prefix, k), F.pad(self.real, (prefix, 0), value=True))
        first, patches = self._spread(above, near, v_prefix, v)
        return torch.cat([first, self.tiles.join(patches)], dim=2)

    def _spread(self, above: Tensor | None, near: Tensor, v_prefix: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All hops: of prefix tokens by weights `above` (B, h, P, P + G T), of patches by `near` (B, h, G, T, K)."""
        h_prefix, h = v_prefix, v
        restored_prefix, restored = v_prefix * self.alpha, v * self.alpha
        for _ in range(self.hops):
            seen = self._neighbours(h_prefix, h)
            if above is not None:
                h_prefix = _hop(above, self._everything(h_prefix, h), restored_prefix)
            h = _hop(near, seen, restored)
        return h_prefix, h

    def _weights(self, q: Tensor, k: Tensor, allowed: Tensor) -> Tensor:
        """(1 - α) softmax(q kᵀ) over the keys that are allowed, in the type of k."""
        scores = (q @ k.transpose(-2, -1)).masked_fill(~allowed, float("-inf"))
        return (scores.softmax(dim=-1) * (1 - self.alpha)).to(k.dtype)

    def _parts(self, x: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
        """(B, h, P + N, d) -> prefix (B, h, P, d) and patches (B, h, G, T, d)."""
        return x[:, :, :prefix], self.tiles.split(x[:, :, prefix:]).contiguous()

    def _neighbours(self, prefix: Tensor, patches: Tensor) -> Tensor:
        """What each tile is connected to, (B, h, G, P + landmarks² + K, d)."""
        if self.landmarks.shape[0]:
            prefix = torch.cat([prefix, patches.flatten(2, 3).index_select(2, self.landmarks)], dim=2)
        return self.tiles.around(patches, prefix)

    def _everything(self, prefix: Tensor, patches: Tensor) -> Tensor:
        """(B, h, P + G T, d)."""
        return torch.cat([prefix, patches.flatten(2, 3)], dim=2)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "a diffuser's neighbourhoods need the grid, which a token reduction has scattered"
        hops, alpha, landmarks = params.get("hops", HOPS), params.get("alpha", ALPHA), params.get("landmarks", 0)
        if hops < 1:
            return f"{hops} hops; at least 1"
        if not 0 <= alpha < 1:
            return f"alpha={alpha}; from 0 to below 1"
        if not 0 <= landmarks <= min(shape.grid):
            return f"{landmarks} landmarks a side on a map of {shape.grid[0]}x{shape.grid[1]}; choose fewer"
        return check_window(params.get("window", WINDOW))

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        """By single steps, by way of a prefix token, or of the landmark nearest to each token."""
        if shape.grid is None:
            return False
        hops, landmarks = params.get("hops", HOPS), params.get("landmarks", 0)
        radius, steps = params.get("window", WINDOW) // 2, max(shape.grid) - 1
        if landmarks:
            steps = min(steps, radius - (-max(shape.grid) // (2 * landmarks)))  # the last hop reads it from anywhere
        return hops * radius >= steps or (shape.prefix > 0 and hops > 1)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        """Masked pairs of a tile and its halo are computed, so they count."""
        assert shape.grid is not None
        tiles, queries, keys = tile_keys(shape.grid, params.get("window", WINDOW))
        keys += shape.prefix + params.get("landmarks", 0) ** 2
        everything = shape.prefix + tiles * queries
        heads, d, hops = shape.heads, shape.head_dim, params.get("hops", HOPS)
        total = costs.matmul(heads * tiles, queries, d, keys) + costs.matmul(heads, shape.prefix, d, everything)
        hop = costs.matmul(heads * tiles, queries, keys, d) + costs.matmul(heads, shape.prefix, everything, d)
        return total + hop * hops


def landmark_tokens(grid: Grid, count: int) -> Tensor:
    """The tokens in the middle of count x count cells of the map."""
    y, x = ((2 * torch.arange(count) + 1) * side // (2 * max(1, count)) for side in grid)
    return (y[:, None] * grid[1] + x).flatten()


def in_window(grid: Grid, tokens: Tensor, radius: int) -> Tensor:
    """(N, tokens): whether each of them is in the window around each token of the map."""
    y, x = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
    return ((y[:, None] - y[tokens]).abs() <= radius) & ((x[:, None] - x[tokens]).abs() <= radius)


def _hop(weights: Tensor, h: Tensor, restored: Tensor) -> Tensor:
    """(1 - α) A h + α V."""
    return torch.baddbmm(restored.flatten(0, -3), weights.flatten(0, -3), h.flatten(0, -3)).reshape(restored.shape)
