"""Windows led by carriers, which attend to each other across the map (hierarchical attention of FasterViT:
Hatamizadeh et al., ICLR 2024, arXiv 2306.06189)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import Layer, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Attention, Grid, Memory, Mixer, mixer_cost
from search_spaces.mixers.led_windows import LedAttention, LedWindows, led_cost
from search_spaces.mixers.softmax import LONGEST, PositionedAttention
from search_spaces.mixers.windows import DIVISIONS, GroupAttention, group_layout
from search_spaces.score_positions.log_cpb import LogContinuousBias
from search_spaces.taxonomy import About

CARRIERS, RATIO, HIDDEN = 1, 4, 512


@MIXERS.register("carrier")
class CarrierAttention(Mixer):
    """Carriers, `carriers` x `carriers` a window, attend among themselves, then with the tokens of their window.

    The first block of a stage pools them from its tokens behind a depth-wise convolution, later ones take them over.
    Both attentions have a log-spaced bias; pairs with a carrier and a token have none. divisions: windows along each
    side. window: an absolute side instead. ratio: of the carriers' MLP. The tokens' own MLP passes carriers by.
    """

    about = About(
        taxonomy="tokenization",
        group="carrier tokens",
        paper="Hatamizadeh et al., ICLR 2024",
        arxiv="2306.06189",
        complexity="4NC² + 2N(w² + c²)C + (8 + 2r)MC² + 2M²C for M = Nc²/w² carriers",
    )
    search = {"divisions": (2, 4), "carriers": (1, 2)}
    recalls = leaves = "carriers"
    one_stream = True
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
        carriers: int = CARRIERS,
        ratio: float = RATIO,
    ):
        super().__init__()
        windows = LedWindows(
            dim, num_heads, dim // num_heads, grid, divisions, window, carriers**2, position=LogContinuousBias
        )
        self.given, self.wanted, self.count, self.side = given, wanted, windows.count, carriers
        across = windows.count[0] * carriers, windows.count[1] * carriers
        self.initial = None if given else PooledCarriers(dim, grid, across)
        self.stream = CarrierStream(dim, num_heads, across, ratio)
        self.norm = nn.LayerNorm(dim)
        self.attention = LedAttention(dim, num_heads, windows, answered=wanted)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        carriers = memory["carriers"] if self.initial is None else self.initial(x)
        carriers = self.stream(carriers)
        for_carriers, for_tokens = self.attention(x, self.to_windows(self.norm(carriers)))
        if self.wanted:
            memory["carriers"] = carriers + self.to_rows(for_carriers)
        return for_tokens

    def to_windows(self, carriers: Tensor) -> Tensor:
        """Carriers (B, M, C) in row order -> (B, W, c², C)."""
        (rows, columns), side = self.count, self.side
        x = carriers.unflatten(1, (rows, side, columns, side)).transpose(2, 3)
        return x.flatten(3, 4).flatten(1, 2)

    def to_rows(self, carriers: Tensor) -> Tensor:
        """Back again."""
        x = carriers.unflatten(2, (self.side, self.side)).unflatten(1, self.count).transpose(2, 3)
        return x.flatten(1, 4)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        problem = GroupAttention.check(shape, **{k: v for k, v in params.items() if k in ("divisions", "window")})
        if problem is not None:
            return problem
        (high, wide), (rows, columns) = group_layout(shape, params)
        side = params.get("carriers", CARRIERS)
        if not 1 <= side < min(high, wide):
            return f"{side}x{side} carriers in windows of {high}x{wide}; choose between 1 and {min(high, wide) - 1}"
        count = rows * columns * side**2
        return f"{count} carriers attend to each other; at most {LONGEST}" if count > LONGEST else None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        size, (rows, columns) = group_layout(shape, params)
        side = params.get("carriers", CARRIERS)
        total = costs.norm(shape.dim) + led_cost(shape, size, side**2, LogContinuousBias)
        total += _stream_cost(shape, (rows * side, columns * side), params.get("ratio", RATIO))
        return total if shape.given else total + costs.depthwise(shape.tokens, shape.dim, 3)


class PooledCarriers(Layer):
    """Tokens (B, N, C) -> carriers (B, M, C): a 3×3 depth-wise convolution, then means over their parts of the map."""

    def __init__(self, dim: int, grid: Grid, across: Grid):
        super().__init__()
        self.grid, self.across = grid, across
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return to_tokens(F.adaptive_avg_pool2d(self.conv(to_map(x, self.grid)), self.across))


class CarrierStream(Layer):
    """Carriers (B, M, C) on a grid of their own: their places are added, then attention among them and an MLP."""

    def __init__(self, dim: int, num_heads: int, grid: Grid, ratio: float, qkv_bias: bool = True):
        super().__init__()
        core = PositionedAttention(dim, num_heads, dim // num_heads, grid, LogContinuousBias)
        self.place = PlaceEmbedding(dim, grid)
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, num_heads, [core], [num_heads], qkv_bias)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, None, ratio)

    def forward(self, carriers: Tensor) -> Tensor:
        carriers = self.place(carriers)
        carriers = carriers + self.attention(self.norm1(carriers))
        return carriers + self.mlp(self.norm2(carriers))


class PlaceEmbedding(Layer):
    """Tokens (B, N, C) plus an MLP 2 -> 512 -> C of row and column, counted from the middle in halves of a side."""

    places: Tensor

    def __init__(self, dim: int, grid: Grid):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, HIDDEN), nn.Linear(HIDDEN, dim, bias=False)
        axes = [(torch.arange(side) - side // 2) / max(1, side // 2) for side in grid]
        self.register_buffer(
            "places", torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=2).flatten(0, 1), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(F.relu(self.fc1(self.places)))


def _stream_cost(shape: Shape, across: Grid, ratio: float) -> Cost:
    count, dim = across[0] * across[1], shape.dim
    carriers = Shape(dim=dim, heads=shape.heads, head_dim=shape.head_dim, grid=across, tokens=count)
    place = costs.linear(count, 2, HIDDEN) + costs.linear(count, HIDDEN, dim, bias=False)
    among = mixer_cost((Atom("softmax", position="log_cpb"),), 1.0, carriers)
    return place + costs.norm(dim) * 2 + among + Mlp.cost(dim=dim, tokens=count, prefix=0, ratio=ratio)
