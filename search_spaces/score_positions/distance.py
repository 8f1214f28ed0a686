"""Biases by distance: ALiBi (Press et al., ICLR 2022, arXiv 2108.12409), KERPLE (Chi et al., NeurIPS 2022, arXiv
2205.09921) and FIRE (Li et al., ICLR 2024, arXiv 2310.04418).

They were made for sequences; here distance is Euclidean, on the map.
"""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer
from search_spaces.score_positions.base import SCORE_POSITIONS, Grid, ScorePosition, coordinates

EXACT = "donot_use_mm_for_euclid_dist"
LEAST = 0.01  # of KERPLE's factors, so that distance never attracts
FIRE_WIDTH = 32


class DistanceBias(Layer):
    """Distances (N, M) -> (h, N, M). Built as cls(num_heads)."""

    @classmethod
    def cost(cls, heads: int, pairs: int) -> Cost:
        return Cost()


class LinearDistance(DistanceBias):
    """-m · distance with one fixed slope m per head, a geometric series (ALiBi)."""

    slopes: Tensor

    def __init__(self, num_heads: int):
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(num_heads)[:, None, None], persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        return -self.slopes * distance


class LogDistance(DistanceBias):
    """-p log(1 + a · distance) with learned p and a per head (KERPLE)."""

    def __init__(self, num_heads: int):
        super().__init__()
        self.p = nn.Parameter(torch.rand(num_heads, 1, 1) * 2)
        self.a = nn.Parameter(torch.rand(num_heads, 1, 1))

    def forward(self, distance: Tensor) -> Tensor:
        return -at_least(self.p) * torch.log(1 + at_least(self.a) * distance)

    @classmethod
    def cost(cls, heads: int, pairs: int) -> Cost:
        return costs.weights(2 * heads)


class LearnedDistance(DistanceBias):
    """MLP(log(1 + c · distance) / log(1 + c · farthest)) with a perceptron 1 -> width -> h (FIRE).

    farthest: the greatest distance from a query, or a learned threshold where that is less; length: its start.
    """

    def __init__(self, num_heads: int, width: int = FIRE_WIDTH, length: float = 8.0):
        super().__init__()
        self.fc1 = nn.Linear(1, width)
        self.fc2 = nn.Linear(width, num_heads)
        self.c = nn.Parameter(torch.tensor(0.1))
        self.threshold = nn.Parameter(torch.tensor(1.0))
        self.length = length

    def forward(self, distance: Tensor) -> Tensor:
        farthest = torch.maximum(distance.amax(dim=1, keepdim=True), (self.threshold * self.length).abs())
        scaled = torch.log((self.c * distance).abs() + 1) / (torch.log((self.c * farthest).abs() + 1) + 1e-6)
        return self.fc2(F.leaky_relu(self.fc1(scaled.unsqueeze(2)))).permute(2, 0, 1)

    @classmethod
    def cost(cls, heads: int, pairs: int) -> Cost:
        mlp = costs.linear(pairs, 1, FIRE_WIDTH) + costs.linear(pairs, FIRE_WIDTH, heads)
        return mlp + costs.weights(2)


class DistancePosition(ScorePosition):
    """softmax(q kᵀ / √d + b(‖Δ‖)) with a function b of distance on the map."""

    of_distance: ClassVar[type[DistanceBias]]
    distance: Tensor

    def __init__(self, num_heads: int, head_dim: int, grid: Grid, keys: Grid | None = None, stride: int = 1):
        super().__init__(num_heads, head_dim, grid, keys)
        self.decay = self.of_distance(num_heads)
        between = torch.cdist(coordinates(grid), coordinates(self.keys, stride), compute_mode=EXACT)
        self.register_buffer("distance", between, persistent=False)

    def bias(self) -> Tensor:
        return self.decay(self.distance)

    @classmethod
    def cost(cls, shape: Shape, keys: Grid | None = None, stride: int = 1) -> Cost:
        assert shape.grid is not None
        other = keys or shape.grid
        return cls.of_distance.cost(shape.heads, shape.tokens * other[0] * other[1])


@SCORE_POSITIONS.register("alibi")
class LinearDistancePosition(DistancePosition):
    """ALiBi: softmax(q kᵀ / √d - m ‖Δ‖) with a fixed m per head."""

    of_distance = LinearDistance


@SCORE_POSITIONS.register("kerple")
class LogDistancePosition(DistancePosition):
    """KERPLE: softmax(q kᵀ / √d - p log(1 + a ‖Δ‖)) with learned p and a per head."""

    of_distance = LogDistance


@SCORE_POSITIONS.register("fire")
class LearnedDistancePosition(DistancePosition):
    """FIRE: softmax(q kᵀ / √d + MLP(‖Δ‖ on a learned logarithmic scale))."""

    of_distance = LearnedDistance


def alibi_slopes(heads: int) -> Tensor:
    """2^(-8 i / n) for n the greatest power of two that fits; further heads take every second step of 2n."""
    whole = 2 ** math.floor(math.log2(heads))
    steps = [8 * i / whole for i in range(1, whole + 1)]
    steps += [4 * i / whole for i in range(1, 2 * whole, 2)][: heads - whole]
    return 2.0 ** -torch.tensor(steps)


def at_least(x: Tensor) -> Tensor:
    """x where it exceeds LEAST; what is below is set to it, and still learns."""
    return x + (x.clamp(min=LEAST) - x).detach()
