"""Exact costs of the primitives that every mechanism is made of: parameters, multiply-accumulates, activations.

MACs count matrix products and convolutions (one multiply-add is 1), as the papers' "FLOPs" do; norms, softmax, biases
and element-wise products are not counted. Activations are the elements that matrix products, convolutions and fused
attention write for one image, the convention of fvcore and timm's benchmark tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Cost(NamedTuple):
    """Adds up part by part. A tuple, since a search makes a hundred of them for every candidate."""

    params: int = 0
    macs: int = 0
    activations: int = 0

    def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
        return Cost(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def __mul__(self, times: int) -> "Cost":  # type: ignore[override]
        return Cost(self[0] * times, self[1] * times, self[2] * times)

    @classmethod
    def total(cls, costs: "Iterable[Cost]") -> "Cost":
        params = macs = activations = 0
        for cost in costs:
            params, macs, activations = params + cost[0], macs + cost[1], activations + cost[2]
        return cls(params, macs, activations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a block works on: `tokens` patch tokens of `dim` channels behind `prefix` extra tokens.

    grid: (height, width) of the patch tokens, or None once a data-dependent reduction has scattered them.
    heads: of this mixer, or of this mixer's part where two share the heads. head_dim: channels of one head.
    given: an earlier block of the stage leaves what this mixer recalls. wanted: a later one recalls what it leaves.
    sized: the token reduction before it has said how many tokens each stands for.
    """

    dim: int
    heads: int
    head_dim: int
    grid: tuple[int, int] | None
    tokens: int
    prefix: int = 0
    given: bool = False
    wanted: bool = False
    sized: bool = False

    @property
    def length(self) -> int:
        return self.prefix + self.tokens


def linear(tokens: int, c_in: int, c_out: int, bias: bool = True) -> Cost:
    return Cost(c_in * c_out + bias * c_out, tokens * c_in * c_out, tokens * c_out)


def conv(positions: int, c_in: int, c_out: int, kernel: int, groups: int = 1, bias: bool = True) -> Cost:
    """A convolution with a square kernel that writes `positions` output positions."""
    weights = kernel * kernel * c_in // groups * c_out
    return Cost(weights + bias * c_out, positions * weights, positions * c_out)


def depthwise(positions: int, channels: int, kernel: int, bias: bool = True) -> Cost:
    return conv(positions, channels, channels, kernel, groups=channels, bias=bias)


def norm(channels: int) -> Cost:
    """Layer, group or batch norm with scale and shift."""
    return Cost(params=2 * channels)


def weights(count: int) -> Cost:
    """Free parameters: tables, tokens, temperatures, layer scales."""
    return Cost(params=count)


def matmul(batch: int, rows: int, inner: int, columns: int) -> Cost:
    return Cost(0, batch * rows * inner * columns, batch * rows * columns)


def attention(heads: int, queries: int, keys: int, d_qk: int, d_v: int | None = None) -> Cost:
    """softmax(q k^T) v by a fused kernel: both products count, only the result is written."""
    d_v = d_qk if d_v is None else d_v
    return Cost(0, heads * queries * keys * (d_qk + d_v), heads * queries * d_v)
