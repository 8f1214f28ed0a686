"""Fully convolutional token mixer with a global context (Ma et al., FCViT, 2022, arXiv 2212.12552)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About

KERNEL, GROUPS, REDUCTION = 11, 8, 8
NARROWEST = 16  # channels of the bottleneck
EPSILON = 1e-5  # added to the deviation of the similarities


@MIXERS.register("fcvit")
class FullyConvolutionalMixer(Mixer):
    """Twice y ← GELU(bottleneck(DW_k(y + context(y)))): attention's global sight and dynamic weights by convolutions.

    kernel: of both depth-wise convolutions; kernel2: of the second one, where it differs. groups: of channels with a
    similarity map each. reduction: of the context's and the bottleneck's hidden layers. compete: see GlobalContext.
    """

    about = About(
        taxonomy="other",
        group="convolution integration",
        paper="Ma et al., 2022",
        arxiv="2212.12552",
        complexity="NC²/2 + 2k²NC",
    )
    search = {"kernel": (5, 11)}
    has_heads = False

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        kernel: int = KERNEL,
        kernel2: int = 0,
        groups: int = GROUPS,
        reduction: int = REDUCTION,
        compete: bool = True,
    ):
        super().__init__()
        self.first = ContextConvolution(dim, grid, kernel, groups, reduction, compete)
        self.second = ContextConvolution(dim, grid, kernel2 or kernel, groups, reduction, compete)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "fcvit needs a grid of tokens"
        groups, reduction = params.get("groups", GROUPS), params.get("reduction", REDUCTION)
        if shape.dim % groups or shape.dim % reduction:
            return f"{shape.dim} channels in {groups} groups with a reduction of {reduction}; both divide the channels"
        largest = max(_kernels(params))
        if largest // 2 >= min(shape.grid):
            return f"a kernel of {largest} reaches out of a map of {shape.grid[0]}x{shape.grid[1]} tokens everywhere"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        n, dim, reduction = shape.tokens, shape.dim, params.get("reduction", REDUCTION)
        inner, hidden = _bottleneck(dim), dim // reduction
        context = costs.linear(1, dim, hidden * (1 + params.get("compete", True))) + costs.linear(1, hidden, dim)
        context += costs.weights(2 * params.get("groups", GROUPS))
        bottleneck = costs.linear(n, dim, inner) + costs.linear(n, inner, dim)
        return Cost.total([(context + bottleneck) * 2, *(costs.depthwise(n, dim, k) for k in _kernels(params))])


class ContextConvolution(Layer):
    """Half of the mixer: (B, N, C) -> GELU(bottleneck(DW_k(x + context(x))))."""

    def __init__(self, dim: int, grid: Grid, kernel: int, groups: int, reduction: int, compete: bool):
        super().__init__()
        self.grid = grid
        self.context = GlobalContext(dim, groups, reduction, compete)
        self.depthwise = nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.fc1 = nn.Linear(dim, _bottleneck(dim))
        self.fc2 = nn.Linear(_bottleneck(dim), dim)

    def forward(self, x: Tensor) -> Tensor:
        x = to_map(x + self.context(x), self.grid)
        x = F.gelu(self.fc1(to_tokens(self.depthwise(x))))
        return F.gelu(self.fc2(x))


class GlobalContext(Layer):
    """(B, N, C) -> ŝ ⊗ c: how much each token resembles the mean token g, times a vector c computed from g.

    The similarities of each group of channels are standardised over all groups and tokens of an image together, then
    scaled and shifted per group. compete: c comes from the larger of two hidden layers, element by element; otherwise
    from one with a GELU.
    """

    def __init__(self, dim: int, groups: int, reduction: int, compete: bool):
        super().__init__()
        self.groups, self.compete = groups, compete
        self.fc1 = nn.Linear(dim, dim // reduction * (1 + compete))
        self.fc2 = nn.Linear(dim // reduction, dim)
        self.scale = nn.Parameter(torch.ones(groups))
        self.shift = nn.Parameter(torch.zeros(groups))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True)
        similarity = self._standardised(x, mean)  # (B, N, h, 1)
        weights = self._vector(mean).unflatten(2, (self.groups, -1))  # (B, 1, h, C/h)
        return (similarity.to(weights.dtype) * weights).flatten(2)

    def _standardised(self, x: Tensor, mean: Tensor) -> Tensor:
        """In float32: the variance of small products is lost in half precision."""
        products = (x.float() * mean.float()).unflatten(2, (self.groups, -1))
        similarity = products.sum(dim=3) * products.shape[3] ** -0.5  # (B, N, h)
        deviation, centre = torch.std_mean(similarity, dim=(1, 2), keepdim=True)
        similarity = (similarity - centre) / (deviation + EPSILON)
        return (similarity * self.scale + self.shift).unsqueeze(3)

    def _vector(self, mean: Tensor) -> Tensor:
        hidden = self.fc1(mean)
        hidden = hidden.unflatten(2, (2, -1)).amax(dim=2) if self.compete else F.gelu(hidden)
        return self.fc2(hidden)


def _bottleneck(dim: int) -> int:
    return max(dim // 8, NARROWEST)


def _kernels(params: dict[str, Any]) -> tuple[int, int]:
    first = params.get("kernel", KERNEL)
    return first, params.get("kernel2", 0) or first
