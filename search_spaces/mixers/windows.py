"""Softmax attention inside groups of one size, which is what window, shifted window and grid attention share.

A map of H x W tokens falls into groups of wh x ww tokens. Where the sides do not divide, it is padded bottom and right
and no token sees a pad: pads form a region of their own. As published, pads are tokens of zeros like any other.
"""

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import SHARED, Core, Grid
from search_spaces.mixers.softmax import LONGEST

MOST_PADDING = 1.3  # padded tokens over tokens; beyond it the window fits the map badly


class GroupAttention(Core):
    """Attention inside groups with a learned bias per relative position (dy, dx) and head.

    divisions: groups along each side, so the group side is ceil(H / divisions) at every resolution.
    window: an absolute side instead, or height and width as in "7x5", clipped to the map.
    pads: "masked", or "tokens" as DaViT, Twins and Swin publish them: zeros in front of the projections that all see,
    added after the roll, and with them a window may be larger than the map.
    """

    search = {"divisions": (2, 4, 8)}
    reach: ClassVar[Literal["global", "local", "none"]] = "local"
    rule = "V2"
    dilated: ClassVar[bool] = False  # a group takes every n-th token instead of neighbours
    shifted: ClassVar[bool] = False  # the map is rolled by half a group first
    index: Tensor
    source: Tensor
    allowed: Tensor | None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        divisions: int = 2,
        window: int | str | Grid | None = None,
        position_bias: bool = True,
        pads: str = "masked",
    ):
        super().__init__()
        assert grid is not None
        if pads not in ("masked", "tokens"):
            raise ValueError(f"pads is {pads!r}; it can be masked or tokens")
        self.grid, self.size = grid, group_size(grid, divisions, window, clip=pads == "masked")
        self.count = group_count(grid, self.size)
        self.padding = self.count[0] * self.size[0] - grid[0], self.count[1] * self.size[1] - grid[1]
        self.shift = group_shift(grid, self.size) if self.shifted else (0, 0)
        self.sees_pads = pads == "tokens" and any(self.padding)
        if self.sees_pads:
            self.register_buffer("source", self._source(), persistent=False)
        self.table: nn.Parameter | None = None
        if position_bias:
            self.table = nn.Parameter(torch.empty(table_rows(self.size), num_heads))
            nn.init.trunc_normal_(self.table, std=0.02)
            self.register_buffer("index", relative_index(self.size), persistent=False)
        self.register_buffer("allowed", self._allowed(), persistent=False)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self._join_and_crop(self._inside(*(self._pad_and_split(t) for t in (q, k, v))))

    def _inside(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, G, h, S, d) -> the same, each group by itself."""
        bias = self._bias(q)
        if self.allowed is None:  # all groups alike: they join the batch
            out = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), attn_mask=bias)
        else:  # groups differ: they join the heads, so that one mask serves every image
            mask = self._masked(bias, q.shape[2])
            out = F.scaled_dot_product_attention(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), attn_mask=mask)
        return out.reshape(q.shape)

    def _bias(self, q: Tensor) -> Tensor | None:
        """(1, h, S, S) in the type of q."""
        if self.table is None:
            return None
        return self.table[self.index].permute(2, 0, 1).unsqueeze(0).to(q.dtype)

    def _masked(self, bias: Tensor | None, heads: int) -> Tensor:
        """(1, G * h, S, S): the bias inside a region, nothing across; or only which pairs may meet."""
        assert self.allowed is not None
        allowed = self.allowed.unsqueeze(1)  # (G, 1, S, S)
        mask = allowed.expand(-1, heads, -1, -1) if bias is None else bias.masked_fill(~allowed, float("-inf"))
        return mask.flatten(0, 1).unsqueeze(0)

    def _pad_and_split(self, x: Tensor) -> Tensor:
        """(B, h, N, d) -> (B, G, h, S, d); with a pad behind the N tokens, each pad is a copy of it."""
        if self.sees_pads:
            return self._split(x[:, :, self.source])
        x = x.unflatten(2, self.grid)
        if any(self.padding):
            x = F.pad(x, (0, 0, 0, self.padding[1], 0, self.padding[0]))
        if any(self.shift):
            x = x.roll((-self.shift[0], -self.shift[1]), (2, 3))
        return self._split(x)

    def _split(self, x: Tensor) -> Tensor:
        """(B, h, H, W, d) -> (B, G, h, S, d)."""
        (rows, columns), (high, wide) = self.count, self.size
        if self.dilated:
            x = x.unflatten(3, (wide, columns)).unflatten(2, (high, rows)).permute(0, 3, 5, 1, 2, 4, 6)
        else:
            x = x.unflatten(3, (columns, wide)).unflatten(2, (rows, high)).permute(0, 2, 4, 1, 3, 5, 6)
        return x.flatten(4, 5).flatten(1, 2)

    def _join_and_crop(self, x: Tensor) -> Tensor:
        """(B, G, h, S, d) -> (B, h, N, d)."""
        x = x.unflatten(3, self.size).unflatten(1, self.count)  # (B, rows, columns, h, high, wide, d)
        x = x.permute(0, 3, 4, 1, 5, 2, 6) if self.dilated else x.permute(0, 3, 1, 4, 2, 5, 6)
        x = x.flatten(4, 5).flatten(2, 3)
        if self.sees_pads:
            x = x[:, :, : self.grid[0], : self.grid[1]]
        if any(self.shift):
            x = x.roll(self.shift, (2, 3))
        return x[:, :, : self.grid[0], : self.grid[1]].flatten(2, 3)

    def _source(self) -> Tensor:
        """(H', W'): which token stands at each place of the rolled, then padded map; N for the pad."""
        tokens = torch.arange(self.grid[0] * self.grid[1]).unflatten(0, self.grid)
        rolled = tokens.roll((-self.shift[0], -self.shift[1]), (0, 1))
        return F.pad(rolled, (0, self.padding[1], 0, self.padding[0]), value=tokens.numel())

    def _allowed(self) -> Tensor | None:
        """(G, S, S): which pairs of a group lie in one region, or None where all do."""
        masks_pads = any(self.padding) and not self.sees_pads
        if not masks_pads and not any(self.shift):
            return None
        pad_y, wrap_y = _axis_regions(self.grid[0], self.padding[0], self.shift[0])
        pad_x, wrap_x = _axis_regions(self.grid[1], self.padding[1], self.shift[1])
        region = 2 * wrap_y[:, None] + wrap_x[None, :]
        if masks_pads:
            region = region.masked_fill(pad_y[:, None] | pad_x[None, :], -1)
        groups = self._split(region[None, None, :, :, None]).flatten(0, 2).squeeze(-1)
        return groups[:, :, None] == groups[:, None, :]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "groups of tokens need the grid, which a token reduction has scattered"
        if "divisions" in params and params.get("window") is not None:
            return "give divisions or window, not both"
        size = _size(shape.grid, params)
        (high, wide), (rows, columns) = size, group_count(shape.grid, size)
        if any(own < 2 <= side for own, side in zip(size, shape.grid, strict=True)):
            return f"groups of {high}x{wide} tokens on a map of {shape.grid[0]}x{shape.grid[1]}; at least 2x2"
        if high * wide > LONGEST:
            return f"groups of {high * wide} tokens; at most {LONGEST}"
        ratio = high * wide * rows * columns / shape.tokens
        if ratio > MOST_PADDING:
            return f"padding to groups of {high}x{wide} makes {ratio:.2f} times the tokens; at most {MOST_PADDING}"
        return None

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        return cls.reach == "global" or (shape.grid is not None and _size(shape.grid, params) == shape.grid)

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """One group over the whole map is softmax attention, or a window of one division where it has a bias."""
        params = atom.params
        biased = params.pop("position_bias", True)
        rest = {} if biased else {"position_bias": False}
        if shape.grid is not None and _size(shape.grid, params) == shape.grid:
            kept = {k: v for k, v in params.items() if k in SHARED}
            return Atom("window", divisions=1, **kept) if biased else Atom("softmax", **kept)
        if params.get("window") is None:
            params = {"divisions": 2, **params}
        if shape.grid is not None and not _padded(shape.grid, params):
            params.pop("pads", None)
        return Atom(atom.kind, **params, **rest)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        assert shape.grid is not None
        size = _size(shape.grid, params)
        rows, columns = group_count(shape.grid, size)
        tokens = size[0] * size[1]
        table = table_rows(size) * shape.heads if params.get("position_bias", True) else 0
        return costs.attention(shape.heads * rows * columns, tokens, tokens, shape.head_dim) + costs.weights(table)


def group_size(grid: Grid, divisions: int, window: int | str | Grid | None, clip: bool = True) -> Grid:
    """Height and width of a group; `window` wins over `divisions` and, clipped, never exceeds the map."""
    if window is None:
        return -(-grid[0] // divisions), -(-grid[1] // divisions)
    high, wide = _sides(window) if isinstance(window, int | str) else window
    return (min(high, grid[0]), min(wide, grid[1])) if clip else (high, wide)


def _sides(window: int | str) -> Grid:
    if isinstance(window, int):
        return window, window
    high, _, wide = window.partition("x")
    if not high.isdigit() or not wide.isdigit():
        raise ValueError(f"window: expected a side such as 7, or height and width such as 7x5, found {window!r}")
    return int(high), int(wide)


def group_count(grid: Grid, size: Grid) -> Grid:
    return -(-grid[0] // size[0]), -(-grid[1] // size[1])


def group_shift(grid: Grid, size: Grid) -> Grid:
    """Half a group along each axis that holds more than one."""
    return size[0] // 2 if size[0] < grid[0] else 0, size[1] // 2 if size[1] < grid[1] else 0


def table_rows(size: Grid) -> int:
    return (2 * size[0] - 1) * (2 * size[1] - 1)


def relative_index(size: Grid) -> Tensor:
    """(S, S): row (dy + high - 1)(2 wide - 1) + dx + wide - 1 of the table for query minus key coordinates (dy, dx)."""
    high, wide = size
    y, x = torch.arange(high).repeat_interleave(wide), torch.arange(wide).repeat(high)
    return (y[:, None] - y[None, :] + high - 1) * (2 * wide - 1) + x[:, None] - x[None, :] + wide - 1


def _size(grid: Grid, params: dict[str, Any]) -> Grid:
    clip = params.get("pads", "masked") == "masked"
    return group_size(grid, params.get("divisions", 2), params.get("window"), clip)


def _padded(grid: Grid, params: dict[str, Any]) -> bool:
    return any(side % own for side, own in zip(grid, _size(grid, params), strict=True))


def _axis_regions(side: int, padding: int, shift: int) -> tuple[Tensor, Tensor]:
    """For each position of a padded, rolled axis: is it a pad, and has the roll carried it around the edge?"""
    position = torch.arange(side + padding)
    source = (position + shift) % (side + padding)
    return source >= side, (position + shift >= side + padding).long()
