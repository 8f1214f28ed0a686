"""The contracts of everything around the mixers: feed-forward, stem, position, down-sampling, token reduction, head.

Each is a Layer with class-level facts and a closed-form `cost` that takes the same numbers as the constructor.
"""

from typing import Any, ClassVar, Literal

from torch import nn

from nas.genotype import Atom
from nas.registry import Registry
from search_spaces.costs import Cost, norm, weights
from search_spaces.layer import Layer

Grid = tuple[int, int]


class FeedForward(Layer):
    """(B, P + N, C) -> the same. Built as cls(dim=, grid=, **params)."""

    search: ClassVar[dict[str, tuple[Any, ...]]] = {}
    positional: ClassVar[bool] = False  # holds a convolution: needs the grid and tells positions apart

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        raise NotImplementedError


class Stem(Layer):
    """Images (B, in_chans, H, W) -> tokens (B, N, C). Built as cls(in_chans=, dim=, image_size=, **params)."""

    positional: ClassVar[bool] = False  # overlapping windows or several convolutions

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        raise NotImplementedError

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        raise NotImplementedError


class Position(Layer):
    """Tokens (B, P + N, C) -> the same, told apart. Built as cls(dim=, grid=, prefix=, **params).

    `place` says where it acts: at the start of the first stage, of every stage, or after the first block of each stage.
    `prefix` counts the class token only; registers enter later and carry no position.
    """

    @classmethod
    def place(cls, **params: Any) -> Literal["first stage", "every stage", "after first block"]:
        raise NotImplementedError

    @classmethod
    def cost(cls, *, dim: int, grid: Grid, prefix: int, **params: Any) -> Cost:
        raise NotImplementedError


class DownSampler(Layer):
    """Tokens (B, N, C) on `grid` -> (B, N', C') on half the sides. Built as cls(dim=, out_dim=, grid=, **params)."""

    @classmethod
    def grid(cls, grid: Grid, **params: Any) -> Grid:
        """Odd sides are padded, so they round up."""
        return (grid[0] + 1) // 2, (grid[1] + 1) // 2

    @classmethod
    def cost(cls, *, dim: int, out_dim: int, grid: Grid, **params: Any) -> Cost:
        raise NotImplementedError


class Reducer(Layer):
    """Tokens (B, P + N, C) -> (B, P + M, C): a data-dependent choice or merge that keeps the prefix as it is.

    Built as cls(dim=, tokens=N, prefix=P, **params); `search` holds keep ratios. Afterwards there is no grid.
    One that `restores` returns (tokens, what it laid aside) and brings N tokens back at the end of the stage by
    restore(tokens (B, P + M, C), aside) -> (B, P + N, C); its cost holds both.
    """

    search: ClassVar[dict[str, tuple[Any, ...]]] = {}
    restores: ClassVar[bool] = False
    averages: ClassVar[bool] = True  # kept tokens are weighted means of patch tokens: equal ones stay what they are

    @classmethod
    def sizes(cls, **params: Any) -> bool:
        """Whether it returns (tokens, how many tokens each of them stands for, (B, P + M, 1)) instead."""
        return False

    @classmethod
    def kept(cls, tokens: int, **params: Any) -> int:
        """M of N patch tokens."""
        raise NotImplementedError

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        raise NotImplementedError


class Local(Layer):
    """A convolution beside the mixer, with its own residual. Built as cls(dim=, grid=, **params).

    `place`: "before mixer", "before both" (one before the mixer, one before the feed-forward), "between" (with its own
    norm and layer scale).
    """

    place: ClassVar[Literal["before mixer", "before both", "between"]]

    @classmethod
    def cost(cls, *, dim: int, tokens: int, **params: Any) -> Cost:
        """Of one instance."""
        raise NotImplementedError


class Head(Layer):
    """Tokens (B, P + N, C) -> logits (B, classes). Built as cls(dim=, classes=, prefix=, norm=Atom, **params)."""

    needs_cls: ClassVar[bool] = False

    @classmethod
    def cost(cls, *, dim: int, classes: int, tokens: int, prefix: int, **params: Any) -> Cost:
        raise NotImplementedError


FFNS: Registry[type[FeedForward]] = Registry("ffn")
STEMS: Registry[type[Stem]] = Registry("stem")
POSITIONS: Registry[type[Position]] = Registry("position")
DOWNSAMPLERS: Registry[type[DownSampler]] = Registry("downsampler")
REDUCERS: Registry[type[Reducer]] = Registry("reducer")
LOCALS: Registry[type[Local]] = Registry("local")
HEADS: Registry[type[Head]] = Registry("head")
NORMS: Registry[Any] = Registry("norm")


class Identity(Layer):
    """Passes tokens through, for absent parts."""

    def forward(self, x: Any) -> Any:
        return x


def make_norm(atom: Atom, dim: int) -> nn.Module:
    """The norm named by `atom` over `dim` channels of tokens (B, L, dim)."""
    return NORMS[atom.kind](dim, **atom.params)


def split_norm(atom: Atom) -> tuple[Atom, dict[str, Any]]:
    """A stage's norm alone, and what else it says of the blocks around it.

    after: it follows each branch. residual: each branch is added to x times a learned factor per channel, which starts
    there (MetaFormer baselines, arXiv 2210.13452). out: see out_norm.
    """
    params = atom.params
    params.pop("out", None)
    place = {"norm_after": bool(params.pop("after", False)), "residual": params.pop("residual", None)}
    return Atom(atom.kind, **params), place


def out_norm(atom: Atom) -> Atom:
    """The norm behind a stage's last block: that of the blocks, or of the kind that it names as `out` (VAN)."""
    named = atom.params.get("out")
    return split_norm(atom)[0] if named is None else Atom(named)


def head_norm(atom: Atom) -> Atom:
    """A head norms, with a bias, even where blocks do not."""
    kept = {key: value for key, value in split_norm(atom)[0].params.items() if key != "bias"}
    return Atom("layer") if atom.kind == "none" else Atom(atom.kind, **kept)


def norm_cost(atom: Atom, dim: int) -> Cost:
    if atom.kind == "none":
        return Cost()
    return norm(dim) if atom.params.get("bias", True) else weights(dim)
