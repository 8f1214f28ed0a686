"""Cross-shaped window attention (Dong et al., CSWin Transformer, CVPR 2022, arXiv 2107.00652)."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from nas.errors import UserError
from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.mixers.softmax import LONGEST
from search_spaces.mixers.windows import MOST_PADDING, GroupAttention, group_count
from search_spaces.score_positions import ScorePosition, score_position, with_position
from search_spaces.taxonomy import About

STRIPES = 2


class StripeAttention(GroupAttention):
    """Some heads inside stripes over the full height of the map, or over its full width where `across` is true.

    A depth-wise 3 x 3 convolution of the values, with zeros around each stripe, is added to the output.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        across: bool,
        stripes: int = STRIPES,
        stripe: int | None = None,
        position: type[ScorePosition] | None = None,
    ):
        assert grid is not None
        size = stripe_size(grid, across, stripes, stripe)
        super().__init__(dim, num_heads, head_dim, grid, window=size, position_bias=False, position=position)
        self.local = nn.Conv2d(num_heads * head_dim, num_heads * head_dim, 3, padding=1, groups=num_heads * head_dim)

    def _inside(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super()._inside(q, k, v) + self._local(v)

    def _local(self, v: Tensor) -> Tensor:
        """(B, G, h, S, d) -> the same."""
        stripes = v.transpose(3, 4).flatten(2, 3).unflatten(3, self.size).flatten(0, 1)
        return self.local(stripes).unflatten(0, v.shape[:2]).flatten(3).unflatten(2, v.shape[2:5:2]).transpose(3, 4)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        assert shape.grid is not None
        position = params.pop("position", None)
        size = stripe_size(shape.grid, **params)
        rows, columns = group_count(shape.grid, size)
        inside = super().cost(shape, window=size, position_bias=False, position=position)
        return inside + costs.depthwise(rows * columns * size[0] * size[1], shape.heads * shape.head_dim, 3)


@MIXERS.register("cross_shaped_window")
class CrossShapedWindow(Core):
    """Half of the heads attend inside vertical stripes, half inside horizontal ones: two layers reach the whole map.

    stripes: how many lie side by side, so they are ceil(W / stripes) wide and ceil(H / stripes) high; with 1 all heads
    see the whole map. stripe: an absolute width instead, clipped to the map. position: one of `score_positions`.
    """

    about = About(
        taxonomy="complexity reduction",
        group="windowing",
        paper="Dong et al., CVPR 2022",
        arxiv="2107.00652",
        complexity="4NC² + NCw(H+W) + 9NC",
    )
    search = {"stripes": (2, 4, 8)}
    reach = "local"
    rule = "V2"

    @classmethod
    def parts(cls, heads: int, **params: Any) -> list[tuple[type[Core], int, dict[str, Any]]]:
        params = with_position(params)
        if params.get("stripe") is None and params.get("stripes", STRIPES) == 1:
            return [(StripeAttention, heads, {"across": False, **params})]
        return [(StripeAttention, heads // 2, {"across": across, **params}) for across in (False, True)]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "stripes of tokens need the grid, which a token reduction has scattered"
        if "stripes" in params and params.get("stripe") is not None:
            return "give stripes or stripe, not both"
        position = score_position(params.get("position"))
        if position is not None and position.alone:
            return f"position={params['position']} in stripes of tokens; it is for softmax alone"
        if len(cls.parts(shape.heads, **params)) > 1 and shape.heads % 2:
            return f"cross-shaped windows divide the heads in two; {shape.heads} is odd"
        try:
            sizes = _sizes(shape.grid, params)
        except UserError as error:
            return str(error)
        reasons = [_check_stripe(shape.grid, size) for size in sizes]
        return reasons[0] or reasons[1] or (None if position is None else position.check(shape))

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        return shape.grid is not None and shape.grid in _sizes(shape.grid, params)

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """Stripes as wide as the map are one; of two numbers with the same widths, the lesser."""
        if shape.grid is None:
            return atom
        params = atom.params if atom.params.get("stripe") is not None else {"stripes": STRIPES, **atom.params}
        sizes = _sizes(shape.grid, params)
        if set(sizes) == {shape.grid}:
            params = {**params, "stripes": 1, "stripe": None}
        elif "stripes" in params:
            same = [n for n in cls.search["stripes"] if _sizes(shape.grid, {"stripes": n}) == sizes]
            params = {**params, "stripes": min([params["stripes"], *same])}
        return Atom(atom.kind, **{k: v for k, v in params.items() if v is not None})

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        parts = cls.parts(shape.heads, **params)
        return Cost.total([core.cost(replace(shape, heads=heads), **own) for core, heads, own in parts])


def stripe_size(grid: Grid, across: bool, stripes: int = STRIPES, stripe: int | None = None) -> Grid:
    """Height and width of a stripe; `stripe` wins over `stripes` and never exceeds the map.

    Raises UserError where a stripe would have no width.
    """
    if (stripes if stripe is None else stripe) < 1:
        wrong = f"stripes={stripes}" if stripe is None else f"stripe={stripe}"
        raise UserError(f"{wrong}: at least one stripe, at least one token wide")
    side = grid[0] if across else grid[1]
    width = -(-side // stripes) if stripe is None else min(stripe, side)
    return (width, grid[1]) if across else (grid[0], width)


def _sizes(grid: Grid, params: dict[str, Any]) -> list[Grid]:
    """Of the vertical stripes, then of the horizontal ones."""
    own = {k: v for k, v in params.items() if k in ("stripes", "stripe")}
    return [stripe_size(grid, across, **own) for across in (False, True)]


def _check_stripe(grid: Grid, size: Grid) -> str | None:
    tokens, (rows, columns) = size[0] * size[1], group_count(grid, size)
    if tokens > LONGEST:
        return f"stripes of {tokens} tokens; at most {LONGEST}"
    ratio = tokens * rows * columns / (grid[0] * grid[1])
    if ratio > MOST_PADDING:
        return f"padding to stripes of {size[0]}x{size[1]} makes {ratio:.2f} times the tokens; at most {MOST_PADDING}"
    return None
