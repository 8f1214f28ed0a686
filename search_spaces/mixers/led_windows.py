"""Softmax attention inside windows of tokens behind leaders: extra tokens of each window, such as messengers."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer
from search_spaces.mixers.base import Grid
from search_spaces.mixers.windows import GroupAttention, group_count
from search_spaces.score_positions import ScorePosition


class LedWindows(GroupAttention):
    """The windows' partition, and attention inside with a bias among tokens alone; pads are seen by no one."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid,
        divisions: int,
        window: int | None,
        leaders: int = 1,
        position: type[ScorePosition] | None = None,
    ):
        self.leaders = leaders
        super().__init__(dim, num_heads, head_dim, grid, divisions, window, position=position)

    def split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, W, S, C)."""
        return self._pad_and_split(x.unsqueeze(1)).squeeze(2)

    def join(self, x: Tensor) -> Tensor:
        """(B, W, S, C) -> (B, N, C)."""
        return self._join_and_crop(x.unsqueeze(2)).squeeze(1)

    def inside(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, W, h, S or L + S, d), k and v (B, W, h, L + S, d) -> like q."""
        return self._inside(q, k, v)

    def towards_leaders(self, among: Tensor) -> Tensor:
        """The bias (1, h, S, L) of leaders as keys of tokens, beside that among tokens (1, h, S, S)."""
        return among.new_zeros(*among.shape[:3], self.leaders)

    def _bias(self, q: Tensor) -> Tensor:
        """(1, h, S or L + S, L + S) in the type of q."""
        among = super()._bias(q)
        assert among is not None
        bias = torch.cat([self.towards_leaders(among), among], dim=3)
        return F.pad(bias, (0, 0, q.shape[3] - among.shape[2], 0))

    def _allowed(self) -> Tensor | None:
        """(W, 1, L + S), or None without pads."""
        if not any(self.padding):
            return None
        tokens = self._pad_and_split(torch.ones(1, 1, self.grid[0] * self.grid[1], 1)).flatten(2).squeeze(0)
        return F.pad(tokens, (self.leaders, 0), value=1.0).bool().unsqueeze(1)


class LedAttention(Layer):
    """Projections around such windows: tokens (B, N, C), leaders (B, W, L, C) -> what both are to be moved by.

    answered: leaders are moved as well; else nothing is returned for them.
    """

    def __init__(self, dim: int, num_heads: int, windows: LedWindows, answered: bool):
        super().__init__()
        self.num_heads, self.answered = num_heads, answered
        self.qkv = nn.Linear(dim, 3 * dim)
        self.windows = windows
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, leaders: Tensor) -> tuple[Tensor, Tensor]:
        first = leaders.shape[2]
        together = torch.cat([leaders, self.windows.split(x)], dim=2)  # (B, W, L + S, C)
        q, k, v = self.qkv(together).unflatten(3, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)
        heads = self.windows.inside(q if self.answered else q[:, :, :, first:], k, v).unbind(2)
        out = torch.cat(heads, dim=3)  # no view: its layout differs between attention kernels, also in ONNX
        if not self.answered:
            return leaders[:, :, :0], self.proj(self.windows.join(out))
        return self.proj(out[:, :, :first]), self.proj(self.windows.join(out[:, :, first:]))


def led_cost(shape: Shape, size: Grid, leaders: int, position: type[ScorePosition]) -> Cost:
    """Of the projections, the attention and its bias; leaders are answered where the shape says `wanted`."""
    assert shape.grid is not None
    (rows, columns), inside, dim = group_count(shape.grid, size), size[0] * size[1], shape.dim
    windows, keys, queries = rows * columns, inside + leaders, inside + leaders * shape.wanted
    total = costs.linear(windows * keys, dim, 3 * dim)
    total += costs.linear(shape.tokens + windows * leaders * shape.wanted, dim, dim)
    total += costs.attention(windows * shape.heads, queries, keys, shape.head_dim)
    return total + position.cost(replace(shape, grid=size, tokens=inside))
