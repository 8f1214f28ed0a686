"""Softmax attention inside groups of one size, which is what window, shifted window and grid attention share.

A map of H x W tokens falls into groups of wh x ww tokens. Where the sides do not divide, it is padded bottom and right
and no token sees a pad: pads form a region of their own. As published, pads are tokens of zeros like any other.
"""

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import UserError
from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import SHARED, Core, Grid
from search_spaces.mixers.softmax import LONGEST
from search_spaces.score_positions import ScorePosition, score_position, with_position
from search_spaces.score_positions.base import relative_index, table_rows
from search_spaces.score_positions.table import TablePosition, look_up

DIVISIONS = 2
MOST_PADDING = 1.3  # padded tokens over tokens; beyond it the window fits the map badly


class GroupAttention(Core):
    """Attention inside groups with a learned bias per relative position (dy, dx) and head.

    divisions: groups along each side, so the group side is ceil(H / divisions) at every resolution.
    window: an absolute side instead, or height and width as in "7x5", clipped to the map.
    pads: "masked", or "tokens" as DaViT, Twins and Swin publish them: zeros in front of the projections that all see,
    added after the roll, and with them a window may be larger than the map.
    shift: how far a shifted window's map is rolled, instead of half a group rounded down.
    position: another of `score_positions` instead of the bias, on the coordinates inside a group.
    """

    search = {"divisions": (2, 4, 8), "position": (None, "log_cpb", "rope")}
    unset = {"position": "table"}
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
        divisions: int = DIVISIONS,
        window: int | str | Grid | None = None,
        position_bias: bool = True,
        pads: str = "masked",
        shift: int | None = None,
        position: type[ScorePosition] | None = None,
    ):
        super().__init__()
        assert grid is not None
        if pads not in ("masked", "tokens"):
            raise ValueError(f"pads is {pads!r}; it can be masked or tokens")
        self.grid, self.size = grid, group_size(grid, divisions, window, clip=pads == "masked")
        self.count = group_count(grid, self.size)
        self.padding = self.count[0] * self.size[0] - grid[0], self.count[1] * self.size[1] - grid[1]
        self.shift = group_shift(grid, self.size, shift) if self.shifted else (0, 0)
        self.sees_pads = pads == "tokens" and any(self.padding)
        if self.sees_pads:
            self.register_buffer("source", self._source(), persistent=False)
        self.position = None if position is None else position(num_heads, head_dim, self.size)
        self.table: nn.Parameter | None = None
        if position_bias and position is None:
            self.table = nn.Parameter(torch.empty(table_rows(self.size), num_heads))
            nn.init.trunc_normal_(self.table, std=0.02)
            self.register_buffer("index", relative_index(self.size), persistent=False)
        self.register_buffer("allowed", self._allowed(), persistent=False)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self._join_and_crop(self._inside(*(self._pad_and_split(t) for t in (q, k, v))))

    def _inside(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, G, h, S, d) -> the same, each group by itself."""
        bias = self._bias(q)
        if self.position is not None:
            q, k = self.position.placed(q, k)
        if self.allowed is None:  # all groups alike: they join the batch
            out = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), attn_mask=bias)
        else:  # groups differ: they join the heads, so that one mask serves every image
            mask = self._masked(bias, q.shape[2])
            out = F.scaled_dot_product_attention(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), attn_mask=mask)
        return out.reshape(q.shape)

    def _bias(self, q: Tensor) -> Tensor | None:
        """(1, h, S, S) in the type of q."""
        if self.position is not None:
            bias = self.position.bias()
        else:
            bias = None if self.table is None else look_up(self.table, self.index)
        return None if bias is None else bias.unsqueeze(0).to(q.dtype)

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
    def parts(cls, heads: int, **params: Any) -> list[tuple[type[Core], int, dict[str, Any]]]:
        named = {k: v for k, v in params.items() if k != "position" or v != "table"}  # a group's own
        return [(cls, heads, with_position(named))]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "groups of tokens need the grid, which a token reduction has scattered"
        if "divisions" in params and params.get("window") is not None:
            return "give divisions or window, not both"
        position = score_position(params.get("position"))
        if position is not None and not params.get("position_bias", True):
            return "give position or position_bias=false, not both"
        if position is not None and position.alone:
            return f"position={params['position']} in groups of tokens; it is for softmax alone"
        try:
            size, (rows, columns) = group_layout(shape, params)
        except UserError as error:
            return str(error)
        shift = params.get("shift")
        if shift is not None and not 0 < shift < min(size):
            return f"a shift of {shift} in windows of {size[0]}x{size[1]}; it lies between 0 and their side"
        high, wide = size
        if any(own < 2 <= side for own, side in zip(size, shape.grid, strict=True)):
            return f"groups of {high}x{wide} tokens on a map of {shape.grid[0]}x{shape.grid[1]}; at least 2x2"
        if high * wide > LONGEST:
            return f"groups of {high * wide} tokens; at most {LONGEST}"
        ratio = high * wide * rows * columns / shape.tokens
        if ratio > MOST_PADDING:
            return f"padding to groups of {high}x{wide} makes {ratio:.2f} times the tokens; at most {MOST_PADDING}"
        return None if position is None else position.check(shape)

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        return cls.reach == "global" or one_group(shape, params)

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """One group over the whole map is softmax attention; the table is a group's position unless one is named."""
        params = atom.params
        biased, position = params.pop("position_bias", True), params.pop("position", None)
        rest: dict[str, Any] = {} if biased else {"position_bias": False}
        if position not in (None, "table"):
            rest["position"] = position
        if one_group(shape, params):
            kept = {k: v for k, v in params.items() if k in SHARED}
            return Atom("softmax", **kept, **({"position": position or "table"} if biased else {}))
        if params.get("window") is None:
            params = {"divisions": DIVISIONS, **params}
        if shape.grid is not None and not _padded(shape, params):
            params.pop("pads", None)
        if not cls.shifted:
            params.pop("shift", None)
        return Atom(atom.kind, **params, **rest)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        size, (rows, columns) = group_layout(shape, params)
        tokens = size[0] * size[1]
        attention = costs.attention(shape.heads * rows * columns, tokens, tokens, shape.head_dim)
        position = score_position(params.get("position"))
        if position is None and params.get("position_bias", True):
            position = TablePosition
        return attention if position is None else attention + position.cost(replace(shape, grid=size, tokens=tokens))


def group_size(grid: Grid, divisions: int, window: int | str | Grid | None, clip: bool = True) -> Grid:
    """Height and width of a group; `window` wins over `divisions` and, clipped, never exceeds the map.

    Raises UserError where a group would have no side.
    """
    if window is None:
        if divisions < 1:
            raise UserError(f"divisions={divisions}: a map falls into at least one group along each side")
        return -(-grid[0] // divisions), -(-grid[1] // divisions)
    high, wide = _sides(window) if isinstance(window, int | str) else window
    if min(high, wide) < 1:
        raise UserError(f"window={window}: a window is at least one token wide")
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


def group_layout(shape: Shape, params: dict[str, Any], divisions: int = DIVISIONS) -> tuple[Grid, Grid]:
    """Tokens of a group and groups of the map, along each side. divisions: where the parameters name none."""
    assert shape.grid is not None
    clip = params.get("pads", "masked") == "masked"
    size = group_size(shape.grid, params.get("divisions", divisions), params.get("window"), clip)
    return size, group_count(shape.grid, size)


def one_group(shape: Shape, params: dict[str, Any]) -> bool:
    """Whether these parameters make one group of the whole map."""
    return shape.grid is not None and group_layout(shape, params)[0] == shape.grid


def group_shift(grid: Grid, size: Grid, shift: int | None = None) -> Grid:
    """Half a group, or `shift`, along each axis that holds more than one."""
    high, wide = (own // 2 if shift is None else shift for own in size)
    return high if size[0] < grid[0] else 0, wide if size[1] < grid[1] else 0


def _padded(shape: Shape, params: dict[str, Any]) -> bool:
    size, count = group_layout(shape, params)
    return shape.tokens != size[0] * count[0] * size[1] * count[1]


def _axis_regions(side: int, padding: int, shift: int) -> tuple[Tensor, Tensor]:
    """For each position of a padded, rolled axis: is it a pad, and has the roll carried it around the edge?"""
    position = torch.arange(side + padding)
    source = (position + shift) % (side + padding)
    return source >= side, (position + shift >= side + padding).long()
