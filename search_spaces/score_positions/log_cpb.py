"""Log-spaced continuous position bias and cosine attention (Liu et al., Swin V2, CVPR 2022, arXiv 2111.09883)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.score_positions.base import (
    SCORE_POSITIONS,
    Grid,
    ScorePosition,
    offset_sides,
    relative_index,
    table_rows,
)
from search_spaces.score_positions.table import look_up

HIDDEN = 512
LARGEST = 16.0  # bias


@SCORE_POSITIONS.register("log_cpb")
class LogContinuousBias(ScorePosition):
    """softmax(q kᵀ / √d + 16 σ(MLP(δ))) with δ = sign(Δ) log₂(1 + 8|Δ| / (side - 1)) / 3 on both axes.

    The MLP goes 2 -> 512 -> h and runs over the differences that occur, not over all pairs.
    """

    neutral = LARGEST / 2  # what the sigmoid gives before it has learned
    offsets: Tensor
    index: Tensor

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, keys: Grid | None = None, stride: int = 1):
        super().__init__(num_heads, head_dim, grid, keys)
        self.fc1 = nn.Linear(2, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, num_heads, bias=False)
        self.register_buffer("offsets", log_offsets(grid, keys, stride), persistent=False)
        self.register_buffer("index", relative_index(grid, keys, stride), persistent=False)

    def bias(self) -> Tensor:
        table = self.fc2(F.relu(self.fc1(self.offsets)))
        return LARGEST * look_up(table, self.index).sigmoid()

    @classmethod
    def cost(cls, shape: Shape, keys: Grid | None = None, stride: int = 1) -> Cost:
        assert shape.grid is not None
        rows = table_rows(shape.grid, keys, stride)
        return costs.linear(rows, 2, HIDDEN) + costs.linear(rows, HIDDEN, shape.heads, bias=False)


@SCORE_POSITIONS.register("cosine_log_cpb")
class CosineAttention(LogContinuousBias):
    """The same bias beside cosines: softmax(τ cos(q, k) + bias) with one learned τ <= 100 per head, at first 10."""

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, keys: Grid | None = None, stride: int = 1):
        super().__init__(num_heads, head_dim, grid, keys, stride)
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10)))

    def placed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        factor = self.logit_scale.clamp(max=math.log(100)).exp()
        factor = factor * q.shape[-1] ** 0.5
        return F.normalize(q, dim=-1) * factor.to(q.dtype), F.normalize(k, dim=-1)

    @classmethod
    def cost(cls, shape: Shape, keys: Grid | None = None, stride: int = 1) -> Cost:
        return super().cost(shape, keys, stride) + costs.weights(shape.heads)


def log_offsets(grid: Grid, keys: Grid | None = None, stride: int = 1) -> Tensor:
    """(R, 2): every difference query minus key, in the order of relative_index, log-spaced; 8 corners lie at ±1."""
    axes = []
    for side, other, count in zip(grid, keys or grid, offset_sides(grid, keys, stride), strict=True):
        differences = torch.arange(count) - stride * (other - 1) - (stride - 1) / 2
        scaled = 8 * differences / max(1, side - 1)
        axes.append(scaled.sign() * torch.log2(1 + scaled.abs()) / 3)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=2).flatten(0, 1)
