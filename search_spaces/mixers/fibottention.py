"""Fibottention: sparse attention along Fibonacci offsets (Rahimian et al., 2024, arXiv 2406.19391).

Two semantics are published. "masked" removes pairs outside the support from the softmax, as the paper defines it and as
its authors' later benchmarks do. "background" leaves them in with a logit of zero, as the code of the published results
does: every token then also sees the mean of all values. Both are computed on the support alone, since
softmax(s·M) v = (Σ_all v + Σ_support (eˢ - 1) v) / (L + Σ_support (eˢ - 1)) over L tokens.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, SHARED, Core, Grid
from search_spaces.mixers.diagonals import count_slots, diagonal_scores, diagonal_values
from search_spaces.mixers.fibonacci import dealt, head_offsets, head_steps, pair_map, pairs, support
from search_spaces.taxonomy import About

DENSE_TOKENS = 100  # up to here one masked dense product is quicker than a dozen slices
SETTINGS = {
    "semantics": ("masked", "background"),
    "order": ("raster", "column", "alternate"),
    "variant": ("standard", "modified"),
    "shuffle": ("none", "roll", "random"),
}


@MIXERS.register("fibottention")
class Fibottention(Core):
    """Patch tokens p and q of head i attend to each other where |p - q| is an offset of head i.

    semantics: what becomes of the other pairs; see the file. variant: "modified" starts each sequence two terms
    earlier, so that neighbouring heads overlap. include_self: every token attends to itself. w_min, w_max: the widest
    offset of the first head, and of the last as a share of the tokens. order: tokens are counted along rows, along
    columns, or along columns in every other layer; along rows alone, vertical neighbours may be many layers apart.
    shuffle: the sets go to other heads in each layer; not searched, since exchanging the heads' weights undoes it.

    Prefix tokens attend to everything and everything to them. Masked, a token that every offset leads outside from
    attends to itself.
    """

    about = About(
        taxonomy="complexity reduction",
        group="sparsity",
        paper="Rahimian et al., 2024",
        arxiv="2406.19391",
        complexity="4NC² + 2NC·log N",
    )
    search = {
        "semantics": SETTINGS["semantics"],
        "order": ("raster", "alternate"),
        "variant": SETTINGS["variant"],
    }
    reach = "global"  # by the background; masked, it reaches as far as the support
    takes_prefix = True
    hidden_macs = True
    inside: Tensor
    allowed: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        w_min: int = 5,
        w_max: float = 1 / 3,
        variant: Literal["standard", "modified"] = "standard",
        semantics: Literal["masked", "background"] = "masked",
        order: Literal["raster", "column", "alternate"] = "raster",
        shuffle: Literal["none", "roll", "random"] = "none",
        include_self: bool = False,
        layer: int = 0,
    ):
        super().__init__()
        assert grid is not None
        self.grid, self.tokens = grid, grid[0] * grid[1]
        self.masked = semantics == "masked"
        self.by_columns = order == "column" or (order == "alternate" and layer % 2 == 1)
        offsets = dealt(head_offsets(self.tokens, num_heads, w_min, w_max, variant, include_self), shuffle, layer)
        self.steps = [head_steps(own, self.tokens, keep_lonely=self.masked) for own in offsets]
        self.dense = self.tokens <= DENSE_TOKENS
        slots = count_slots(self.steps)
        with torch.device("cpu"):  # the map of pairs is looked up, which takes real values even for weights without any
            found = [support(*own, self.tokens, slots) for own in zip(self.steps, offsets, strict=True)]
            inside = torch.stack(found)
            allowed = self._row_order(pair_map(self.steps, inside)) if self.dense else torch.empty(0)
        self.register_buffer("inside", inside, persistent=False)
        self.register_buffer("allowed", allowed, persistent=False)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        prefix = q.shape[2] - self.tokens
        if self.dense:
            return self._attend_all(q, k, v, F.pad(self.allowed, (prefix, 0, prefix, 0), value=True))
        patches = self._attend_near(q, k, v, prefix).to(v.dtype)
        if prefix == 0:
            return patches
        return torch.cat([F.scaled_dot_product_attention(q[:, :, :prefix], k, v), patches], dim=2)

    def _attend_all(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        """By the map of all pairs."""
        if self.masked:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
        return (scores * allowed).softmax(dim=3).to(v.dtype) @ v

    def _attend_near(self, q: Tensor, k: Tensor, v: Tensor, prefix: int) -> Tensor:
        """Patch queries -> (B, h, N, d), by slots: the prefix tokens first, then the diagonals of each head."""
        q_T, k_T, v_T = (self._in_order(t[:, :, prefix:]) for t in (q, k, v))  # (B, h, d, N)
        k_first, v_first = (t[:, :, :prefix].to(q_T.dtype) for t in (k, v))
        scores = diagonal_scores(q_T, k_T, self.steps)
        if self.masked:
            scores = scores.masked_fill(~self.inside, float("-inf"))
        if prefix:
            scores = torch.cat([k_first @ q_T, scores], dim=2)
        weights, rest = self._weigh(scores * q.shape[-1] ** -0.5, q.shape[2])
        out = diagonal_values(weights[:, :, prefix:], v_T, self.steps)
        if prefix:
            out = out + v_first.transpose(2, 3) @ weights[:, :, :prefix]
        if rest is not None:
            out = out + rest * (v_T.sum(dim=3) + v_first.sum(dim=2)).unsqueeze(3)
        return self._as_rows(out)

    def _weigh(self, scores: Tensor, length: int) -> tuple[Tensor, Tensor | None]:
        """(B, h, S, N) -> the weight of each slot, and what every token has beside it, (B, h, 1, N)."""
        if self.masked:
            return scores.softmax(dim=2), None
        highest = scores.detach().amax(dim=2, keepdim=True).clamp_min(0)  # no exponential overflows
        rest = (-highest).exp()
        above = (scores - highest).exp() - rest
        total = length * rest + above.sum(dim=2, keepdim=True)
        return above / total, rest / total

    def _in_order(self, x: Tensor) -> Tensor:
        """Patches (B, h, N, d) -> (B, h, d, N) in the order that offsets count, at least in single precision."""
        if self.by_columns:
            x = x.unflatten(2, self.grid).transpose(2, 3).flatten(2, 3)
        return x.transpose(2, 3).to(torch.promote_types(x.dtype, torch.float32))

    def _as_rows(self, x: Tensor) -> Tensor:
        """Back from _in_order."""
        if self.by_columns:
            x = x.unflatten(3, (self.grid[1], self.grid[0])).transpose(3, 4).flatten(3)
        return x.transpose(2, 3)

    def _row_order(self, pairs: Tensor) -> Tensor:
        """(h, N, N) between tokens in the order that offsets count -> the same between tokens in row order."""
        if not self.by_columns:
            return pairs
        place = torch.arange(self.tokens).unflatten(0, (self.grid[1], self.grid[0])).T.flatten()
        return pairs[:, place][:, :, place]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        for name, choices in SETTINGS.items():
            if params.get(name, choices[0]) not in choices:
                return f"{name} is {params[name]!r}; it can be {', '.join(choices)}"
        if shape.grid is None:
            return "Fibottention needs the order of the tokens, which a token reduction has scattered"
        return None

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        return params.get("semantics") == "background"

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """Softmax attention where the offsets reach every pair; one order where the map is a single row or column."""
        if shape.grid is None:
            return atom
        params = atom.params
        if all(scored == shape.tokens**2 for scored in scored_pairs(shape, params)):
            return Atom("softmax", **{k: v for k, v in params.items() if k in SHARED})
        return Atom(atom.kind, **{**params, "order": "raster"}) if min(shape.grid) == 1 else atom

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        """Every scored pair costs its head channels twice, for q · k and for the values.

        Element-wise products are counted, against the rule of costs.py, because they replace matrix products. The dense
        form for few tokens scores all pairs.
        """
        h, n, d = shape.heads, shape.length, shape.head_dim
        if shape.tokens <= DENSE_TOKENS:
            masked = params.get("semantics", "masked") == "masked"
            return costs.attention(h, n, n, d) if masked else costs.matmul(h, n, d, n) + costs.matmul(h, n, n, d)
        scored = sum(scored_pairs(shape, params)) + shape.heads * shape.prefix * (shape.length + shape.tokens)
        return Cost(0, 2 * scored * d, h * n * d)


def scored_pairs(shape: Shape, params: dict[str, Any]) -> list[int]:
    """Pairs of patch tokens that each head scores, in closed form."""
    own = {k: v for k, v in params.items() if k in ("w_min", "w_max", "variant", "include_self")}
    masked = params.get("semantics", "masked") == "masked"
    return [pairs(o, shape.tokens, masked) for o in head_offsets(shape.tokens, shape.heads, **own)]
