"""Windows with a messenger each, that exchange what they carry (MSG-Transformer: Fang et al., CVPR 2022,
arXiv 2105.15168)."""

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Grid, Memory, Mixer
from search_spaces.mixers.led_windows import LedAttention, LedWindows, led_cost
from search_spaces.mixers.windows import DIVISIONS, GroupAttention, group_layout, one_group
from search_spaces.score_positions.table import TablePosition
from search_spaces.taxonomy import About

REGIONS = 1


@MIXERS.register("messenger")
class MessengerAttention(Mixer):
    """Softmax attention inside windows of patch tokens and one messenger; messengers go on from block to block.

    The first block of a stage brings one learned messenger for all windows. In each but the last, messengers attend
    like the tokens of their window, then those of a region exchange slices of their channels: what the attention of
    the next block finds there comes from all windows of the region. divisions: windows along each side of the map.
    window: an absolute side instead. regions: regions along each side.
    """

    about = About(
        taxonomy="tokenization",
        group="messenger tokens",
        paper="Fang et al., CVPR 2022",
        arxiv="2105.15168",
        complexity="4(N + N/w²)C² + 2N(w² + 2)C",
    )
    search = {"divisions": (2, 4), "regions": (1, 2)}
    recalls = leaves = "messengers"
    one_stream = True
    reach = "local"
    rule = "V2"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        given: bool = False,
        wanted: bool = False,
        divisions: int = DIVISIONS,
        window: int | None = None,
        regions: int = REGIONS,
    ):
        super().__init__()
        self.given, self.wanted, self.regions = given, wanted, regions
        windows = MessengerWindows(dim, num_heads, dim // num_heads, grid, divisions, window)
        self.count, self.messengers = windows.count, windows.count[0] * windows.count[1]
        if not given:
            self.messenger = nn.Parameter(torch.empty(1, 1, dim))
            nn.init.trunc_normal_(self.messenger, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.attention = LedAttention(dim, num_heads, windows, answered=wanted)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        messengers = memory["messengers"] if self.given else self.messenger.repeat(x.shape[0], self.messengers, 1)
        for_messengers, for_tokens = self.attention(x, self.norm(messengers).unsqueeze(2))
        if self.wanted:
            memory["messengers"] = exchange(messengers + for_messengers.squeeze(2), self.count, self.regions)
        return for_tokens

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        problem = GroupAttention.check(shape, **{k: v for k, v in params.items() if k != "regions"})
        if problem is not None:
            return problem
        if not shape.given and not shape.wanted:
            return "messengers carry nothing to a later block; let a stage have at least two of it"
        (_, (rows, columns)), regions = group_layout(shape, params), params.get("regions", REGIONS)
        if regions < 1 or rows % regions or columns % regions:
            return f"{rows}x{columns} windows do not fall into {regions}x{regions} regions"
        windows = rows * columns // regions**2
        if shape.dim % windows:
            return f"messengers of {shape.dim} channels cannot be shared out among {windows} windows"
        return None

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        """With what the block before has put into the messengers."""
        return one_group(shape, params) or (shape.given and params.get("regions", REGIONS) == 1)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        led = led_cost(shape, group_layout(shape, params)[0], 1, TablePosition)
        total = costs.norm(shape.dim) + led + costs.weights(shape.heads)
        return total if shape.given else total + costs.weights(shape.dim)


class MessengerWindows(LedWindows):
    """The bias of a relative position among tokens, and one number a head for the messenger as a key of theirs.

    The authors have one for the messenger's own row besides, which the softmax cancels.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int, grid: Grid, divisions: int, window: int | None):
        super().__init__(dim, num_heads, head_dim, grid, divisions, window)
        self.towards = nn.Parameter(torch.empty(num_heads))
        nn.init.trunc_normal_(self.towards, std=0.02)

    def towards_leaders(self, among: Tensor) -> Tensor:
        return self.towards.to(among.dtype).view(1, -1, 1, 1).expand(-1, -1, among.shape[2], -1)


def exchange(messengers: Tensor, count: Grid, regions: int) -> Tensor:
    """(B, W, C) of windows in row order: in regions of G windows, slice j of window i goes to slice i of window j."""
    (rows, columns), channels = count, messengers.shape[2]
    high, wide = rows // regions, columns // regions
    x = messengers.unflatten(1, (regions, high, regions, wide)).transpose(2, 3).flatten(3, 4)  # (B, R, R, G, C)
    x = x.unflatten(4, (high * wide, -1)).transpose(3, 4).flatten(4)
    return x.unflatten(3, (high, wide)).transpose(2, 3).reshape(-1, rows * columns, channels)
