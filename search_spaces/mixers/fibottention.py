"""Fibottention: sparse attention along Fibonacci offsets (Rahimian et al., 2024, arXiv 2406.19391), with a true mask.

Pairs outside the support are removed from the softmax, as the paper defines it; the first release of its authors leaves
them in with a logit of zero. Row i of the Wythoff array gives head i its offsets.
"""

from math import floor, sqrt
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, SHARED, Core, Grid
from search_spaces.taxonomy import About

GOLDEN = (1 + sqrt(5)) / 2
DENSE_TOKENS = 100  # up to here one masked dense product is quicker than a dozen slices (one core, 49 to 784 tokens)
Variant = Literal["standard", "modified"]


@MIXERS.register("fibottention")
class Fibottention(Core):
    """Patch tokens p and q of head i attend to each other where |p - q| is an offset of head i.

    w_min, w_max: the widest offset of the first head, and of the last as a share of the tokens.
    variant: "modified" starts each sequence two terms earlier, so that neighbouring heads overlap.
    Prefix tokens attend to everything and everything to them. A token from which every offset leads outside attends
    to itself.
    """

    about = About(
        taxonomy="complexity reduction",
        group="sparsity",
        paper="Rahimian et al., 2024",
        arxiv="2406.19391",
        complexity="4NC² + 2NC·log N",
    )
    search = {"w_max": (1 / 8, 1 / 4, 1 / 3), "variant": ("standard", "modified")}
    reach = "local"
    takes_prefix = True
    hidden_macs = True
    allowed: Tensor
    inside: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        grid: Grid | None,
        w_min: int = 5,
        w_max: float = 1 / 3,
        variant: Variant = "standard",
    ):
        super().__init__()
        assert grid is not None
        self.tokens = grid[0] * grid[1]
        offsets = head_offsets(self.tokens, num_heads, w_min, w_max, variant)
        self.dense = self.tokens <= DENSE_TOKENS
        with torch.device("cpu"):  # these values decide shapes: they must be real even where weights are not (meta)
            found = [support(o, self.tokens) for o in offsets]
            self.steps = [steps for steps, _ in found]
            self.width = max(abs(step) for steps in self.steps for step in steps)
            if self.dense:
                self.register_buffer("allowed", torch.stack([dense_mask(*pair) for pair in found]), persistent=False)
            else:  # one row of slots for all heads, cut apart where they are used
                self.register_buffer("inside", torch.cat([inside for _, inside in found], dim=1), persistent=False)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        prefix = q.shape[2] - self.tokens
        if self.dense:
            allowed = F.pad(self.allowed, (prefix, 0, prefix, 0), value=True)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        patches = self._attend_slices(q[:, :, prefix:] * q.shape[-1] ** -0.5, k, v, prefix)
        if prefix == 0:
            return patches
        return torch.cat([F.scaled_dot_product_attention(q[:, :, :prefix], k, v), patches], dim=2)

    def _attend_slices(self, q: Tensor, k: Tensor, v: Tensor, prefix: int) -> Tensor:
        """Patch queries (B, h, N, d), already scaled -> (B, h, N, d), one head after the other."""
        around = (0, 0, self.width, self.width)
        near_k, near_v = F.pad(k[:, :, prefix:], around), F.pad(v[:, :, prefix:], around)
        inside = self.inside.split([len(steps) for steps in self.steps], dim=1)
        outs = []
        for head, steps in enumerate(self.steps):
            scores = self._near_scores(q[:, head], near_k[:, head], steps).masked_fill(~inside[head], float("-inf"))
            if prefix:
                scores = torch.cat([q[:, head] @ k[:, head, :prefix].transpose(1, 2), scores], dim=2)
            weights = scores.softmax(dim=2).to(v.dtype)
            out = self._near_values(weights[:, :, prefix:], near_v[:, head], steps)
            outs.append(out + weights[:, :, :prefix] @ v[:, head, :prefix] if prefix else out)
        return torch.stack(outs, dim=1)

    def _near_scores(self, q: Tensor, near_k: Tensor, steps: list[int]) -> Tensor:
        """(B, N, S): q · k at each step of one head."""
        return torch.stack([(q * self._shifted(near_k, step)).sum(dim=2) for step in steps], dim=2)

    def _near_values(self, weights: Tensor, near_v: Tensor, steps: list[int]) -> Tensor:
        """(B, N, d): the values at each step of one head, weighted."""
        out = weights[:, :, :1] * self._shifted(near_v, steps[0])
        for slot, step in enumerate(steps[1:], start=1):
            out = torch.addcmul(out, weights[:, :, slot : slot + 1], self._shifted(near_v, step))
        return out

    def _shifted(self, near: Tensor, step: int) -> Tensor:
        """Padded (B, N + 2w, d) -> the view (B, N, d) of the tokens `step` further on."""
        return near[:, self.width + step : self.width + step + self.tokens]

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "Fibottention needs the order of the tokens, which a token reduction has scattered"
        return None

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """The least share of tokens with the same offsets; softmax attention where they reach every pair."""
        if shape.grid is None:
            return atom
        params = {"variant": "standard", "w_max": 1 / 3, **atom.params}
        if all(pairs == shape.tokens**2 for pairs in scored_pairs(shape, params)):
            return Atom("softmax", **{k: v for k, v in params.items() if k in SHARED})
        offsets = _offsets(shape, params)
        same = [w for w in cls.search["w_max"] if _offsets(shape, {**params, "w_max": w}) == offsets]
        return Atom(atom.kind, **{**params, "w_max": min([params["w_max"], *same])})

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        """Every scored pair costs its head channels twice, for q · k and for the values.

        Element-wise products are counted, against the rule of costs.py, because they replace matrix products. Pairs
        that the dense form for few tokens computes only to mask them are not.
        """
        pairs = sum(scored_pairs(shape, params))
        pairs += shape.heads * shape.prefix * (shape.length + shape.tokens)
        return Cost(0, 2 * pairs * shape.head_dim, shape.heads * shape.length * shape.head_dim)


def head_offsets(tokens: int, heads: int, w_min: int, w_max: float, variant: Variant) -> list[list[int]]:
    """The offsets of each head, sorted, without those that leave the sequence."""
    widest = floor(tokens * w_max + 1e-9)  # 1/3 of a multiple of 3 is whole
    found = []
    for head in range(1, heads + 1):
        window = w_min + (max(widest, w_min) - w_min) * (head - 1) // max(1, heads - 1)
        offsets = wythoff_row(head, window)
        if variant == "modified":
            offsets |= {head - 1, floor(head * GOLDEN)}
        found.append(sorted(o for o in offsets if o < tokens))
    return found


def wythoff_row(row: int, window: int) -> set[int]:
    """Terms of one row of the Wythoff array up to `window`; the first belongs to it in any case."""
    step = floor(row * GOLDEN)
    now, after = floor(step * GOLDEN), floor(step * GOLDEN) + step
    terms = {now}
    while after <= window:
        terms.add(after)
        now, after = after, now + after
    return terms


def support(offsets: list[int], tokens: int) -> tuple[list[int], Tensor]:
    """Signed steps S of one head, and (N, S) whether each stays inside. A token left with none may take step 0."""
    steps = sorted({sign * o for o in offsets for sign in (-1, 1)})
    target = torch.arange(tokens)[:, None] + torch.tensor(steps, dtype=torch.long)
    inside = (target >= 0) & (target < tokens)
    lonely = ~inside.any(dim=1, keepdim=True)
    return ([*steps, 0], torch.cat([inside, lonely], dim=1)) if lonely.any() else (steps, inside)


def dense_mask(steps: list[int], inside: Tensor) -> Tensor:
    """(N, N): which pairs of one head may meet."""
    mask = torch.zeros(len(inside), len(inside), dtype=torch.bool)
    token, slot = inside.nonzero(as_tuple=True)
    mask[token, token + torch.tensor(steps)[slot]] = True
    return mask


def scored_pairs(shape: Shape, params: dict[str, Any]) -> list[int]:
    """Pairs of patch tokens that each head scores, in closed form."""
    return [_pairs(o, shape.tokens) for o in _offsets(shape, params)]


def _offsets(shape: Shape, params: dict[str, Any]) -> list[list[int]]:
    w_min, w_max = params.get("w_min", 5), params.get("w_max", 1 / 3)
    return head_offsets(shape.tokens, shape.heads, w_min, w_max, params.get("variant", "standard"))


def _pairs(offsets: list[int], tokens: int) -> int:
    if not offsets:
        return tokens
    lonely = max(0, 2 * min(offsets) - tokens)  # in the middle, too far from either end
    return lonely + sum(2 * (tokens - o) if o else tokens for o in offsets)
