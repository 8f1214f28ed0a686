"""Attention maps of a few queries, for any core, although fused kernels return none.

For given q and k a core that weighs tokens is linear in v: out = A v. Values that are 1 at one token and one channel
read a column of A each, d columns a pass. What comes out is kept only if it is a map: rows of shares that sum to 1
and give the core's own output. Channel attention, gates and the like have none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from search_spaces.mixers import Core

TOLERANCE = 1e-3
Asked = dict[Core, tuple[Tensor, Tensor]]
Grid = tuple[int, int]


@contextmanager
def asking(cores: Sequence[Core]) -> Iterator[Asked]:
    """While open, gathers the q and k that each core is called with last."""
    asked: Asked = {}
    for core in cores:
        _remember(core, asked)
    try:
        yield asked
    finally:
        for core in cores:
            del core.attend, core.scores  # those of the instance: the class has its own


def attention_map(core: Core, q: Tensor, k: Tensor, rows: Tensor) -> Tensor | None:
    """What `rows` (B, R) of the tokens look at, (B, h, R, L) with shares of all L tokens, or None without a map.

    Convolutions of the values, which some cores add to the output, are left out. A key that stands for a cell of the
    grid shares its weight equally among the tokens of that cell; what falls on padding is left out.
    """
    for silent in (nullcontext(), WithoutConvolutions()):
        with silent:
            found = _probe(core, q, k, rows)
        if found is not None:
            return _on_tokens(found, q.shape[2] - int(core.sees_pads), core.made_with.get("grid"))
    return None


class WithoutConvolutions(TorchFunctionMode):
    """Every convolution gives zeros."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return torch.zeros_like(out) if func in (torch.conv1d, torch.conv2d) else out


def _remember(core: Core, asked: Asked) -> None:
    attend, scores = core.attend, core.scores

    def attending(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        asked[core] = (q, k)
        return attend(q, k, v)

    def scoring(q: Tensor, k: Tensor) -> Tensor:
        asked[core] = (q, k)
        return scores(q, k)

    core.attend, core.scores = attending, scoring  # type: ignore[method-assign]


def _probe(core: Core, q: Tensor, k: Tensor, rows: Tensor) -> Tensor | None:
    """(B, h, R, M), or None where that is no map."""
    (batch, heads, _, width), keys = q.shape, k.shape[2]
    index = rows[:, None, :, None].expand(batch, heads, -1, width)
    columns = []
    for start in range(0, keys, width):
        v = torch.eye(width, dtype=q.dtype, device=q.device)[: keys - start]
        v = F.pad(v, (0, 0, start, keys - start - len(v))).expand(batch, heads, -1, -1)
        columns.append(core.attend(q, k, v).gather(2, index)[..., : keys - start])
    found = torch.cat(columns, dim=3)
    v = torch.randn(keys, width, generator=torch.Generator().manual_seed(0)).to(q).expand(batch, heads, -1, -1)
    whole = core.attend(q, k, v).gather(2, index)
    is_map = found.min() > -TOLERANCE and (found.sum(dim=3) - 1).abs().max() < TOLERANCE
    return found.clamp_min(0) if is_map and torch.allclose(found @ v, whole, atol=10 * TOLERANCE) else None


def _on_tokens(found: Tensor, tokens: int, grid: Grid | None) -> Tensor | None:
    """Shares of M keys -> shares of the L tokens, each row summing to 1; None where the keys' places are unknown."""
    if found.shape[3] >= tokens:  # pads come last
        return _normalised(found[..., :tokens])
    if grid is None:
        return None
    prefix = tokens - grid[0] * grid[1]
    cells = _cells(grid, found.shape[3] - prefix)
    if cells is None:
        return None
    inside = F.one_hot(cells + 1, found.shape[3] - prefix + 1)[:, 1:].to(found)  # (N, M); -1 is in no cell
    spread = (inside / inside.sum(dim=0)).T
    return _normalised(torch.cat([found[..., :prefix], found[..., prefix:] @ spread], dim=3))


def _normalised(maps: Tensor) -> Tensor:
    return maps / maps.sum(dim=3, keepdim=True).clamp_min(1e-9)


def _cells(grid: Grid, keys: int) -> Tensor | None:
    """(N,): the coarse key that each token belongs to, -1 for none, where the map was reduced to `keys` places."""
    y, x = torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).unbind(1)
    for stride in range(2, max(grid) + 1):
        for extra in (stride - 1, 0):  # sides that the stride does not divide are padded, or cut
            rows, columns = (grid[0] + extra) // stride, (grid[1] + extra) // stride
            if rows * columns == keys:
                inside = (y // stride < rows) & (x // stride < columns)
                return torch.where(inside, y // stride * columns + x // stride, -1)
    side = round(keys**0.5)
    if side * side != keys:
        return None
    return y * side // grid[0] * side + x * side // grid[1]  # an adaptive pooling to side x side
