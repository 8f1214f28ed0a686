"""Attention skipped: its result is computed from that of the block before (SkipAt: Venkataramanan et al., ICLR 2024,
arXiv 2301.02240)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, split_prefix, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Memory, Mixer
from search_spaces.parts import Identity
from search_spaces.taxonomy import About

KERNEL, RATIO = 5, 2


@MIXERS.register("skip_attention")
class SkippedAttention(Mixer):
    """Maps what the mixer of the block before has added, without looking at the tokens of its own block.

    Linear C -> ratio·C, depth-wise convolution, linear back, with a GELU after the first two; then each channel is
    gated by its mean and that of its neighbours. The rows of prefix tokens are taken over as they are.
    chained: patches go on from the last skipped block even where a computed one lies between, as in the authors' code.
    """

    about = About(
        taxonomy="hierarchy",
        group="reuse between layers",
        paper="Venkataramanan et al., ICLR 2024",
        arxiv="2301.02240",
        complexity="2eNC² + ek²NC",
    )
    search = {"kernel": (3, 5)}
    recalls = "output"
    blind = True
    reach = "local"
    takes_prefix = True
    has_heads = False
    rule = "V16"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        kernel: int = KERNEL,
        ratio: float = RATIO,
        gate: bool = True,
        chained: bool = False,
    ):
        super().__init__()
        self.grid, self.chained, hidden = grid, chained, int(ratio * dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.conv = nn.Conv2d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.gate: Layer = ChannelGate() if gate else Identity()

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        prefix, patches = split_prefix(memory["output"], self.grid[0] * self.grid[1])
        if self.chained:
            patches = memory.get("skipped", patches)
        hidden = F.gelu(self.fc1(patches))
        hidden = F.gelu(to_tokens(self.conv(to_map(hidden, self.grid))))
        patches = memory["skipped"] = self.gate(self.fc2(hidden))
        return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "skip_attention convolves on the grid, which a token reduction has scattered"
        return None if shape.given else "skip_attention has no block before it to take from; let another mixer begin"

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        hidden, n = int(params.get("ratio", RATIO) * shape.dim), shape.tokens
        total = costs.linear(n, shape.dim, hidden) + costs.linear(n, hidden, shape.dim)
        total += costs.depthwise(n, hidden, params.get("kernel", KERNEL))
        return total + Cost(3, 3 * shape.dim, shape.dim) if params.get("gate", True) else total


class ChannelGate(Layer):
    """Tokens (B, N, C) times sigmoid(w * mean over tokens): one filter of three taps slides over the channels
    (efficient channel attention: Wang et al., CVPR 2020, arXiv 1910.03151)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x.mean(dim=1, keepdim=True)).sigmoid()
