"""Neighbourhoods by tiles: queries of one tile share the keys of the tile and of a halo around it.

The window of k x k tokens around each query lies in tile and halo; keys beyond it are masked, as are those outside the
map. So a neighbourhood is a few matrix products on slices of the map, without N x N scores and without k² copies.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.layer import Layer
from search_spaces.mixers.base import Grid

SIDE = 7  # tokens along a tile, at most; 5 to 8 are equally quick, 3 and 14 are slower (one core, 196 and 3136 tokens)
WHOLE = 0.8  # a side of which tile and halo would cover this share is not split


class Tiles(Layer):
    """Splits a map into rows x columns tiles of T = high x wide tokens and finds the K keys around each of the G tiles.

    allowed (G, T, K): which keys are in a query's window; pads at the bottom and right are no keys and, as queries, see
    everything, so that no row is empty.
    """

    allowed: Tensor

    def __init__(self, grid: Grid, window: int):
        super().__init__()
        self.grid, self.radius = grid, window // 2
        self.count, self.size, self.halo = tiling(grid, window)
        self.padding = tuple(n * own - side for n, own, side in zip(self.count, self.size, grid, strict=True))
        self.register_buffer("allowed", self._allowed(), persistent=False)

    def split(self, x: Tensor) -> Tensor:
        """(B, h, N, d) -> (B, h, G, T, d)."""
        x = x.unflatten(2, self.grid)
        if any(self.padding):
            x = F.pad(x, (0, 0, 0, self.padding[1], 0, self.padding[0]))
        (rows, columns), (high, wide) = self.count, self.size
        x = x.unflatten(3, (columns, wide)).unflatten(2, (rows, high)).transpose(3, 4)
        return x.flatten(4, 5).flatten(2, 3)

    def around(self, x: Tensor, far: Tensor) -> Tensor:
        """(B, h, G, T, d) and (B, h, F, d) that all tiles share -> (B, h, G, F + K, d): these, tile and halo."""
        if any(self.halo):
            x = x.unflatten(3, self.size).unflatten(2, self.count)
            x = _with_halo(_with_halo(x, 2, self.halo[0]), 3, self.halo[1])
            x = x.flatten(4, 5).flatten(2, 3)
        if far.shape[2] == 0:
            return x
        return torch.cat([far.unsqueeze(2).expand(-1, -1, x.shape[2], -1, -1), x], dim=3)

    def join(self, x: Tensor) -> Tensor:
        """(B, h, G, T, d) -> (B, h, N, d)."""
        x = x.unflatten(3, self.size).unflatten(2, self.count).transpose(3, 4)
        x = x.flatten(4, 5).flatten(2, 3)
        return x[:, :, : self.grid[0], : self.grid[1]].flatten(2, 3)

    def offsets(self) -> Tensor:
        """(T, K): the place of each key in the k x k window of each query, in row order; any place if beyond."""
        ys, xs = (_steps(*axis).clamp(-self.radius, self.radius) for axis in zip(self.size, self.halo, strict=True))
        places = (ys[:, None, :, None] + self.radius) * (2 * self.radius + 1) + xs[None, :, None, :] + self.radius
        return places.flatten(2, 3).flatten(0, 1)

    def _allowed(self) -> Tensor:
        axes = zip(self.grid, self.count, self.size, self.halo, strict=True)
        ys, xs = (_axis_allowed(*axis, self.radius) for axis in axes)
        both = ys[:, None, :, None, :, None] & xs[None, :, None, :, None, :]
        return both.flatten(4, 5).flatten(2, 3).flatten(0, 1)


def tiling(grid: Grid, window: int) -> tuple[Grid, Grid, Grid]:
    """Tiles along each side, tokens along each tile, and tokens of halo on either end."""
    (rows, high, up), (columns, wide, left) = (_axis_tiling(side, window // 2) for side in grid)
    return (rows, columns), (high, wide), (up, left)


def tile_keys(grid: Grid, window: int) -> tuple[int, int, int]:
    """How many tiles, queries of each, and keys of each."""
    (rows, columns), (high, wide), (up, left) = tiling(grid, window)
    return rows * columns, high * wide, (high + 2 * up) * (wide + 2 * left)


def _axis_tiling(side: int, radius: int) -> tuple[int, int, int]:
    if SIDE + 2 * radius >= WHOLE * side:
        return 1, side, 0
    size = max(-(-side // -(-side // SIDE)), radius)  # a halo comes from the next tile alone
    return -(-side // size), size, radius


def _steps(size: int, halo: int) -> Tensor:
    """(size, size + 2 halo): from each query of a tile to each key."""
    return torch.arange(-halo, size + halo) - torch.arange(size)[:, None]


def _axis_allowed(side: int, count: int, size: int, halo: int, radius: int) -> Tensor:
    """(count, size, size + 2 halo) for one axis."""
    first = size * torch.arange(count)[:, None]
    queries, keys = first + torch.arange(size), first + torch.arange(-halo, size + halo)
    on_map = (keys >= 0) & (keys < side)
    near = _steps(size, halo).abs() <= radius
    return (near & on_map[:, None, :]) | (queries >= side)[:, :, None]


def _with_halo(x: Tensor, axis: int, halo: int) -> Tensor:
    """(B, h, rows, columns, high, wide, d) -> each tile with the nearest tokens of the tiles before and after it along
    rows (axis 2) or columns (axis 3); zeros at the edges of the map."""
    if halo == 0:
        return x
    inside = axis + 2
    before = x.narrow(axis, 0, x.shape[axis] - 1).narrow(inside, x.shape[inside] - halo, halo)
    after = x.narrow(axis, 1, x.shape[axis] - 1).narrow(inside, 0, halo)
    edge = torch.zeros_like(before.narrow(axis, 0, 1))
    return torch.cat([torch.cat([edge, before], dim=axis), x, torch.cat([after, edge], dim=axis)], dim=inside)
