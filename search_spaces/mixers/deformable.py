"""Deformable attention (Xia et al., DAT, CVPR 2022, arXiv 2201.00520; DAT++, arXiv 2309.01430)."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer, read_at, split_heads, to_map, to_tokens
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.mixers.softmax import LONGEST
from search_spaces.taxonomy import About

REDUCTION, GROUPS, KERNEL, BIAS = 2, 1, 5, "table"
Reference = Literal["centred", "published"]
Bias = Literal["table", "convolution", "none"]


@MIXERS.register("deformable")
class DeformableAttention(Mixer):
    """Softmax attention over tokens read between the grid points, at places that the queries move.

    reduction: distance of the points in tokens before they move. groups: of channels and heads, each with points of
    its own. kernel: of the depth-wise convolution that reads the offsets. bias: a table of relative positions, read
    between its entries; a depth-wise convolution of the queries, added to the result; or none.
    offset_range and reference: see SamplingPoints.
    """

    about = About(
        taxonomy="other",
        group="deformable sampling",
        paper="Xia et al., CVPR 2022",
        arxiv="2201.00520",
        complexity="2NC² + 2(N/r²)C² + 2N²C/r² + k²NC/r²",
    )
    search = {"reduction": (2, 4), "groups": (1, 2)}
    rule = "V4"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        reduction: int = REDUCTION,
        groups: int = GROUPS,
        kernel: int = KERNEL,
        offset_range: float = 1.0,
        bias: Bias = "table",
        reference: Reference = "centred",
    ):
        super().__init__()
        if bias not in ("table", "convolution", "none"):
            raise ValueError(f"bias of deformable is table, convolution or none, found {bias!r}")
        self.num_heads, self.grid = num_heads, grid
        self.q = nn.Linear(dim, dim)
        self.points = SamplingPoints(dim, grid, reduction, groups, kernel, offset_range, reference)
        self.kv = nn.Linear(dim, 2 * dim)
        self.table = SampledTable(num_heads, grid, groups, reference) if bias == "table" else None
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim) if bias == "convolution" else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)
        points = self.points(to_map(q, self.grid))
        kv = self.kv(to_tokens(self.points.sample(to_map(x, self.grid), points)))
        bias = None if self.table is None else self.table(points).to(q.dtype)
        k, v = kv.unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        heads = split_heads(q, self.num_heads)
        out = F.scaled_dot_product_attention(heads, k, v, attn_mask=bias)
        out = torch.cat(out.unbind(1), dim=2)  # no view: its layout differs between attention kernels, also in ONNX
        if self.local is not None:
            out = out + to_tokens(self.local(to_map(q, self.grid)))
        return self.proj(out)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "deformable attention needs a grid of tokens"
        groups, (rows, columns) = params.get("groups", GROUPS), _points(shape, params)
        if shape.heads % groups:
            return f"{groups} groups for {shape.heads} heads; choose a number that divides the heads"
        if rows * columns > LONGEST:
            return f"deformable attention over {rows * columns} points; at most {LONGEST}"
        if min(rows, columns) < 2:
            return f"{rows}x{columns} points on a map of {shape.grid[0]}x{shape.grid[1]} tokens; at least 2x2"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        assert shape.grid is not None
        (rows, columns), groups, bias = _points(shape, params), params.get("groups", GROUPS), params.get("bias", BIAS)
        n, m, dim, width = shape.tokens, rows * columns, shape.dim, shape.dim // groups
        moved = costs.depthwise(m, width, params.get("kernel", KERNEL)) + costs.linear(m, width, 2, bias=False)
        total = Cost(moved.params, groups * moved.macs, groups * moved.activations) + costs.norm(width)
        total += costs.linear(n, dim, dim) * 2 + costs.linear(m, dim, 2 * dim)
        total += costs.attention(shape.heads, n, m, shape.head_dim)
        if bias == "table":
            total += costs.weights(shape.heads * (2 * shape.grid[0] - 1) * (2 * shape.grid[1] - 1))
        return total + costs.depthwise(n, dim, 3) if bias == "convolution" else total


class SamplingPoints(Layer):
    """Queries (B, C, H, W) -> points (B·G, H', W', 2), each (x, y) from -1 to 1 across the map.

    Offsets are 1×1(GELU(norm(DW_k(q)))), one set for each group of channels, with shared weights. They go at most
    offset_range half steps of the points' grid; below 0 they are free and the points are clamped to the map.
    reference: where the points start. centred: in the middle of their cells, so that without offsets a reduction of 1
    gives back the map and one of 2 is 2×2 average pooling. published: half a token off and partly outside the map.
    """

    start: Tensor
    step: Tensor

    def __init__(
        self,
        dim: int,
        grid: Grid,
        reduction: int,
        groups: int,
        kernel: int,
        offset_range: float,
        reference: Reference,
    ):
        super().__init__()
        if reference not in ("centred", "published"):
            raise ValueError(f"reference of deformable is centred or published, found {reference!r}")
        width, coarse = dim // groups, point_grid(grid, reduction, kernel)
        self.groups, self.free, self.published = groups, offset_range < 0, reference == "published"
        padding = padding_of(reduction, kernel)
        self.depthwise = nn.Conv2d(width, width, kernel, stride=reduction, padding=padding, groups=width)
        self.norm = nn.LayerNorm(width)
        self.offset = nn.Linear(width, 2, bias=False)  # (dy, dx)
        spans = torch.tensor([side - self.published for side in reversed(coarse)])  # steps across the map
        places = [(2 * torch.arange(side) + 1) / span - 1 for side, span in zip(reversed(coarse), spans, strict=True)]
        self.register_buffer("start", torch.stack(torch.meshgrid(*places, indexing="xy"), dim=-1), persistent=False)
        self.register_buffer("step", offset_range / spans, persistent=False)

    def init_special(self) -> None:
        """Training starts from a regular grid."""
        nn.init.zeros_(self.offset.weight)

    def forward(self, q: Tensor) -> Tensor:
        local = self.depthwise(self._grouped(q)).permute(0, 2, 3, 1)  # (B·G, H', W', C/G)
        offsets = self.offset(F.gelu(self.norm(local))).float().flip(-1)
        if self.free:
            return (self.start + offsets).clamp(-1, 1)
        return self.start + offsets.tanh() * self.step

    def sample(self, x: Tensor, points: Tensor) -> Tensor:
        """(B, C, H, W) read bilinearly at the points -> (B, C, H', W')."""
        read = read_at(self._grouped(x).float(), points, **sampling(self.published))
        return read.unflatten(0, (-1, self.groups)).flatten(1, 2).to(x.dtype)

    def _grouped(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B·G, C/G, H, W)."""
        return x.unflatten(1, (self.groups, -1)).flatten(0, 1)


class SampledTable(Layer):
    """Points (B·G, H', W', 2) -> a bias (B, h, N, M) for each head, token and point, by the displacement between them.

    It is read from a table with an entry for each displacement in whole tokens, (2H - 1) × (2W - 1) a head.
    """

    queries: Tensor
    factor: Tensor

    def __init__(self, num_heads: int, grid: Grid, groups: int, reference: Reference):
        super().__init__()
        self.groups, self.published = groups, reference == "published"
        self.weight = nn.Parameter(torch.empty(num_heads, 2 * grid[0] - 1, 2 * grid[1] - 1))
        nn.init.trunc_normal_(self.weight, std=0.02)
        places, factors = zip(*(self._axis(side) for side in reversed(grid)), strict=True)
        queries = torch.stack(torch.meshgrid(*places, indexing="xy"), dim=-1).flatten(0, 1)
        self.register_buffer("factor", torch.tensor(factors), persistent=False)
        self.register_buffer("queries", queries, persistent=False)

    def _axis(self, side: int) -> tuple[Tensor, float]:
        """Where the tokens of one axis lie, and what makes a displacement a place in the table."""
        if self.published:
            return torch.arange(side) * 2 / (side - 1) - 1, 0.5
        return (2 * torch.arange(side) + 1) / side - 1, side / (2 * side - 1)

    def forward(self, points: Tensor) -> Tensor:
        points = (points * self.factor).flatten(1, 2)
        places = (self.queries * self.factor).unsqueeze(1) - points.unsqueeze(1)  # (B·G, N, M, 2)
        table = self.weight.float().unflatten(0, (self.groups, -1)).repeat(points.shape[0] // self.groups, 1, 1, 1)
        bias = read_at(table, places, **sampling(self.published))
        return bias.unflatten(0, (-1, self.groups)).flatten(1, 2)


def sampling(published: bool) -> dict[str, Any]:
    """How grid_sample reads: ends of the axes at the outer tokens' centres as published, or at their edges."""
    return {"align_corners": published, "padding_mode": "zeros" if published else "border"}


def point_grid(grid: Grid, reduction: int, kernel: int) -> Grid:
    """Rows and columns of points: what a convolution of this kernel and stride leaves of the map."""
    rows, columns = ((side + 2 * padding_of(reduction, kernel) - kernel) // reduction + 1 for side in grid)
    return rows, columns


def padding_of(reduction: int, kernel: int) -> int:
    """None where the kernels tile the map."""
    return 0 if kernel == reduction else kernel // 2


def _points(shape: Shape, params: dict[str, Any]) -> Grid:
    assert shape.grid is not None
    return point_grid(shape.grid, params.get("reduction", REDUCTION), params.get("kernel", KERNEL))
