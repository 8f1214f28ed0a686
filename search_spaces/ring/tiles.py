"""Softmax attention tile by tile with a running maximum and sum (Milakov and Gimelshein, arXiv 1805.02867; Rabe and
Staats, arXiv 2112.05682).

Here batch and heads are one dimension G: q (G, n, d), k (G, m, d), v (G, m, e). A tile holds scores of `block` queries
and `block` keys, so nothing of size n·m exists. Sums are kept in float32 at least.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CPU_TILE, GPU_TILE = 2**20, 2**25  # scores computed at a time: what fits a core's cache, what fills a GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Attention of n queries over the keys seen so far. Updated in place."""

    out: Tensor  # (G, n, e) Σ exp(score - top) v
    top: Tensor  # (G, n, 1) largest score
    total: Tensor  # (G, n, 1) Σ exp(score - top)

    @classmethod
    def start(cls, q: Tensor, value_dim: int) -> "Running":
        """Before any key."""
        rows, dtype = q.shape[:2], accumulator(q.dtype)
        return cls(
            out=q.new_zeros(*rows, value_dim, dtype=dtype),
            top=q.new_full((*rows, 1), -math.inf, dtype=dtype),
            total=q.new_zeros(*rows, 1, dtype=dtype),
        )

    def absorb(self, q: Tensor, k: Tensor, v: Tensor, scale: float, block: int) -> None:
        """Go on to the keys k with values v."""
        for heads, rows, columns in tiles(q, k, block):
            values = v[heads, columns].to(self.out.dtype)
            scores = _scores(q[heads, rows], k[heads, columns], scale)
            out, top, total = (t[heads, rows] for t in (self.out, self.top, self.total))
            higher = torch.maximum(top, scores.amax(dim=2, keepdim=True))
            weights, shrink = scores.sub_(higher).exp_(), (top - higher).exp_()
            total.mul_(shrink).add_(weights.sum(dim=2, keepdim=True))
            out.mul_(shrink).baddbmm_(weights, values)
            top.copy_(higher)

    def finish(self) -> tuple[Tensor, Tensor]:
        """Result (G, n, e) and log Σ exp score (G, n, 1)."""
        return self.out.div_(self.total), self.total.log_().add_(self.top)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """What the gradient needs of n queries: their results are final, so any part of the keys can be done alone."""

    q: Tensor
    grad: Tensor  # (G, n, e) of the result
    lse: Tensor  # (G, n, 1) log Σ exp score, over all keys
    delta: Tensor  # (G, n, 1) grad · result
    scale: float

    def add_gradients(self, k: Tensor, v: Tensor, dq: Tensor, dk: Tensor, dv: Tensor, block: int) -> None:
        """Add what the keys k with values v contribute to dq, dk and dv, in place."""
        for heads, rows, columns in tiles(self.q, k, block):
            q, grad = (t[heads, rows].to(dq.dtype) for t in (self.q, self.grad))
            keys, values = (t[heads, columns].to(dq.dtype) for t in (k, v))
            weights = _scores(q, keys, self.scale).sub_(self.lse[heads, rows]).exp_()
            dv[heads, columns].baddbmm_(weights.mT, grad)
            slopes = torch.bmm(grad, values.mT).sub_(self.delta[heads, rows]).mul_(weights)
            dq[heads, rows].baddbmm_(slopes, keys, alpha=self.scale)
            dk[heads, columns].baddbmm_(slopes.mT, q, alpha=self.scale)


def tiles(q: Tensor, k: Tensor, block: int) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of heads, queries and keys."""
    budget = CPU_TILE if q.device.type == "cpu" else GPU_TILE
    for heads in _slices(q.shape[0], max(1, budget // block**2)):
        for rows in _slices(q.shape[1], block):
            for columns in _slices(k.shape[1], block):
                yield heads, rows, columns


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where that is what comes in."""
    return torch.promote_types(dtype, torch.float32)


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, length, step)]


def _scores(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Products of half precision are widened first: their rounding would be that of the weights' exponent."""
    dtype = accumulator(q.dtype)
    return torch.bmm(q.to(dtype) * scale, k.to(dtype).mT)
