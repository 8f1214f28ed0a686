"""The contract of token mixers, and the shared projections of those that attend with queries, keys and values.

A mixer maps (B, P + N, C) to the same shape; P prefix tokens precede N = H·W patch tokens in row order. The residual,
the norm and the layer scale belong to the block. A Core is a mixer without projections: how some heads partition,
reduce and weigh. `Attention` owns W_q, W_k, W_v, W_o and hands each core its heads, so two cores may share one layer.
"""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import UserError
from nas.genotype import Atom
from nas.registry import Registry
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.layer import Layer
from search_spaces.taxonomy import About

Grid = tuple[int, int]
Memory = dict[str, Tensor]  # what blocks of a stage leave for those after them, by what it is


class Mixer(Layer):
    """Base of the token mixers. Subclasses are built as cls(dim=, num_heads=, grid=, **params).

    A constructor that names tokens, prefix, given or wanted is told them besides (see Shape), one that names layer the
    number of the block in the network, from 0. Those that recall something are called as mixer(x, memory).
    """

    about: ClassVar[About]
    search: ClassVar[dict[str, tuple[Any, ...]]] = {}  # hyper-parameter -> values worth trying
    unset: ClassVar[dict[str, str]] = {}  # in words, what a parameter stands for whose value is None
    reach: ClassVar[Literal["global", "local", "none"]] = "global"  # how far one layer carries information
    is_set: ClassVar[bool] = False  # permutation-equivariant by default: works after reduction, needs a position
    takes_prefix: ClassVar[bool] = False  # class token and registers may be present
    has_heads: ClassVar[bool] = True  # head_dim matters
    leaves: ClassVar[str] = ""  # what it can leave in memory for later blocks of its stage
    recalls: ClassVar[str] = ""  # what of it, left by an earlier block, it works on; "output": of the block before
    blind: ClassVar[bool] = False  # does not look at the tokens of its own block, which then norms nothing for it
    one_stream: ClassVar[bool] = False  # blocks of a stage pass one thing on, so they share their parameters' values
    rule: ClassVar[str] = "V13"  # number of the validity rule that check() stands for
    hidden_macs: ClassVar[bool] = False  # some products are element-wise: counted by cost, unseen by PyTorch's counter

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        """Why these parameters cannot work on this shape, or None."""
        return None

    @classmethod
    def sees_all(cls, shape: Shape, **params: Any) -> bool:
        """Whether one layer carries information across the whole map of this shape."""
        return cls.reach == "global"

    @classmethod
    def set_like(cls, **params: Any) -> bool:
        """Whether it is permutation-equivariant with these parameters."""
        return cls.is_set

    @classmethod
    def simplify(cls, shape: Shape, atom: Atom) -> Atom:
        """The canonical name of what `atom` computes on this shape, such as softmax for a window over the whole map."""
        return atom

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        """Exact cost of the whole mixer, projections included."""
        raise NotImplementedError


M = TypeVar("M", bound=Mixer)


class Core(Mixer):
    """Attention between the shared projections. Built as cls(dim=, num_heads=, head_dim=, grid=, **params).

    `dim` is the width of the layer; `num_heads` the heads that this core serves, `head_dim` channels each.
    """

    reduces: bool = False  # reduce() changes the tokens that keys and values come from
    weighs: ClassVar[bool] = False  # attend_sized() lets a token that stands for several be as many keys
    sees_pads: bool = False  # attend() gets one token more, last: what a pad of zeros is projected to

    @classmethod
    def parts(cls, heads: int, **params: Any) -> "list[tuple[type[Core], int, dict[str, Any]]]":
        """The cores this mixer is made of, with the heads and parameters of each. One, unless its heads differ."""
        return [(cls, heads, params)]

    def reduce(self, x: Tensor) -> Tensor:
        """(B, P + N, C) -> the tokens (B, M, C) that keys and values are projected from."""
        return x

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, h, L, d), k and v (B, h, M, d) -> (B, h, L, d)."""
        raise NotImplementedError

    def attend_sized(self, q: Tensor, k: Tensor, v: Tensor, sizes: Tensor) -> Tensor:
        """attend() where each token stands for some, sizes (B, L, 1)."""
        raise NotImplementedError

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """What the softmax is taken of, (B, h, L, M), for a core that leaves them to later blocks."""
        raise NotImplementedError

    @classmethod
    def keys(cls, shape: Shape, **params: Any) -> int:
        """How many tokens M keys and values are projected from."""
        return shape.length

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        """Exact cost of the core alone: its own parameters and its attention, without the shared projections."""
        raise NotImplementedError


MIXERS: Registry[type[Mixer]] = Registry("mixer")
PLACE = ("tokens", "prefix", "given", "wanted", "layer")  # what a constructor may name of where its block stands
TAKEN = {"dim", "num_heads", "head_dim", "grid", *PLACE}  # not for a config to set
SHARED = {"qkv_bias": True, "proj_bias": True}  # parameters of the projections around a core, with their defaults


class Attention(Layer):
    """Shared projections around one core, or around several that divide the heads (Σ core heads = num_heads).

    qkv: Linear C -> 3C, rows [q | k | v], heads of head_dim consecutive rows. (B, L, C) -> (B, L, C).
    remembers: the scores of the only core go to memory["scores"], for a later block.
    sized: the only core weighs keys by memory["sizes"].
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        cores: Sequence[Core],
        heads: Sequence[int],
        qkv_bias: bool = True,
        proj_bias: bool = True,
        remembers: bool = False,
        sized: bool = False,
    ):
        super().__init__()
        assert sum(heads) == num_heads
        assert dim % num_heads == 0
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.heads = tuple(heads)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.cores: Sequence[Core] = nn.ModuleList(cores)  # type: ignore[assignment]
        self.proj = nn.Linear(dim, dim, bias=proj_bias)
        self.remembers, self.sized = remembers, sized
        self.fused = not any(core.reduces for core in cores)
        self.pads = any(core.sees_pads for core in cores)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        out = self._fused(x, memory) if self.fused else self._reduced(x)
        return self.proj(out.transpose(1, 2).flatten(2))

    def _fused(self, x: Tensor, memory: Memory | None) -> Tensor:
        qkv = self._with_pad(self.qkv(x)) if self.pads else self.qkv(x)
        q, k, v = qkv.unflatten(2, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        if memory is not None and self.remembers:
            memory["scores"] = scores = self.cores[0].scores(q, k)
            return scores.softmax(dim=-1) @ v
        if memory is not None and self.sized:
            return self.cores[0].attend_sized(q, k, v, memory["sizes"])
        if len(self.heads) == 1:
            return self.cores[0].attend(q, k, v)
        parts = zip(*(t.split(self.heads, dim=1) for t in (q, k, v)), strict=True)
        return torch.cat([core.attend(*part) for core, part in zip(self.cores, parts, strict=True)], dim=1)

    def _with_pad(self, qkv: Tensor) -> Tensor:
        """(B, L, 3C) -> (B, L + 1, 3C): of zeros, the projection leaves its bias."""
        pad = torch.zeros_like(qkv[:, :1])
        return torch.cat([qkv, pad if self.qkv.bias is None else pad + self.qkv.bias.to(qkv.dtype)], dim=1)

    def _reduced(self, x: Tensor) -> Tensor:
        q = self._project(x, 0, self.num_heads)
        outs, first = [], 0
        for core, heads in zip(self.cores, self.heads, strict=True):
            reduced = core.reduce(x)
            k = self._project(reduced, self.num_heads + first, heads)
            v = self._project(reduced, 2 * self.num_heads + first, heads)
            outs.append(core.attend(q[:, first : first + heads], k, v))
            first += heads
        return outs[0] if len(outs) == 1 else torch.cat(outs, dim=1)

    def _project(self, x: Tensor, head: int, heads: int) -> Tensor:
        """(B, M, C) -> (B, heads, M, d) with the rows of qkv from `head` on."""
        rows = slice(head * self.head_dim, (head + heads) * self.head_dim)
        bias = None if self.qkv.bias is None else self.qkv.bias[rows]
        return F.linear(x, self.qkv.weight[rows], bias).unflatten(2, (heads, self.head_dim)).transpose(1, 2)


def shared_heads(atoms: tuple[Atom, ...], share: float, heads: int) -> tuple[int, ...]:
    """How many heads each of one or two cores serves."""
    if len(atoms) == 1:
        return (heads,)
    first = round(share * heads)
    return (first, heads - first)


def build_mixer(atoms: tuple[Atom, ...], share: float, shape: Shape, layer: int = 0) -> Layer:
    """One mixer, or two cores under shared projections. layer: the number of the block in the network, from 0."""
    for atom in atoms:
        _refuse_place(atom)
    kind = MIXERS[atoms[0].kind]
    if not issubclass(kind, Core):
        return _placed(kind, shape, layer, atoms[0].params)
    parts = _core_parts(atoms, share, shape.heads)
    cores = [
        _placed(core, replace(shape, heads=heads), layer, {"head_dim": shape.head_dim, **params})
        for core, heads, params in parts
    ]
    if len(cores) > 1 and any(core.sees_pads for core in cores):
        raise UserError("pads=tokens is for a mixer alone, not for one of two that share the heads")
    heads = [heads for _, heads, _ in parts]
    sized = shape.sized and len(cores) == 1 and cores[0].weighs
    return Attention(shape.dim, shape.heads, cores, heads, *_split_bias(atoms[0])[1:], shape.wanted, sized)


def remembers(atom: Atom, shape: Shape) -> bool:
    """Whether the mixer of a block reads or writes the memory of its stage."""
    kind = MIXERS[atom.kind]
    return shape.wanted or kind.recalls != "" or (shape.sized and issubclass(kind, Core) and kind.weighs)


def normed(atoms: tuple[Atom, ...], after: bool) -> bool:
    """Whether a block norms for these mixers, in front of them or after."""
    return atoms[0].kind != "none" and (after or not MIXERS[atoms[0].kind].blind)


def _placed(kind: type[M], shape: Shape, layer: int, params: dict[str, Any]) -> M:
    """Built with these parameters and, of where its block stands, with what the constructor names."""
    place = {name: layer if name == "layer" else getattr(shape, name) for name in _named(kind) if name in PLACE}
    return kind(dim=shape.dim, num_heads=shape.heads, grid=shape.grid, **place, **params)


def _named(kind: type[Mixer]) -> tuple[str, ...]:
    """The parameters of a mixer's constructor."""
    parameters = inspect.signature(kind).parameters.values()
    return tuple(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))


def _refuse_place(atom: Atom) -> None:
    """A config names a mixer's own parameters alone. Raises UserError."""
    kind = MIXERS[atom.kind]
    taken = [name for name in atom.params if name in TAKEN]
    if not taken:
        return
    shared = SHARED if issubclass(kind, Core) else {}
    own = sorted({*_named(kind), *kind.search, *shared} - TAKEN)
    choices = f"set others, such as {', '.join(own)}" if own else f"{atom.kind} has nothing to set"
    raise UserError(f"{atom}: {taken[0]} follows from the size and the place of the block; {choices}")


def mixer_cost(atoms: tuple[Atom, ...], share: float, shape: Shape) -> Cost:
    """Exact cost of what build_mixer would make, without making it."""
    kind = MIXERS[atoms[0].kind]
    if not issubclass(kind, Core):
        return kind.cost(shape, **atoms[0].params)
    _, bias, proj_bias = _split_bias(atoms[0])
    total = [costs.linear(shape.length, shape.dim, shape.dim, own) for own in (bias, proj_bias)]
    for core, heads, params in _core_parts(atoms, share, shape.heads):
        part = replace(shape, heads=heads)
        total.append(costs.linear(core.keys(part, **params), shape.dim, 2 * heads * shape.head_dim, bias))
        total.append(core.cost(part, **params))
    return Cost.total(total)


def _core_parts(atoms: tuple[Atom, ...], share: float, heads: int) -> list[tuple[type[Core], int, dict[str, Any]]]:
    found = []
    for atom, own in zip(atoms, shared_heads(atoms, share, heads), strict=True):
        kind = MIXERS[atom.kind]
        assert issubclass(kind, Core), f"{atom.kind} cannot share its heads"
        found += kind.parts(own, **_split_bias(atom)[0])
    return found


def _split_bias(atom: Atom) -> tuple[dict[str, Any], bool, bool]:
    """qkv_bias and proj_bias belong to the shared projections, everything else to the core."""
    params = atom.params
    qkv_bias, proj_bias = (bool(params.pop(name, default)) for name, default in SHARED.items())
    return params, qkv_bias, proj_bias
