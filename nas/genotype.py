"""The words of an architecture: an Atom names a component, a Stage repeats a block, a Genotype is a whole network.

Nothing here knows how to build or to measure. A genotype is data: it becomes JSON and comes back unchanged.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from nas.errors import UserError, unknown

Value = bool | int | float | str | None


class Atom:
    """A component by name with its parameters, such as window(divisions=2). Immutable, hashable, ordered by key."""

    __slots__ = ("_hash", "_items", "kind")

    kind: str
    _hash: int  # atoms are keys of many caches
    _items: tuple[tuple[str, Any], ...]

    def __init__(self, kind: str, /, **params: Value) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "_items", tuple(sorted(params.items())))
        object.__setattr__(self, "_hash", hash((kind, self._items)))

    @property
    def params(self) -> dict[str, Any]:
        return dict(self._items)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("an Atom cannot be changed; make another one")

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_atom, (self.kind, self.params)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Atom) and (self.kind, self._items) == (other.kind, other._items)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Atom({self})"

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={_plain(v)}" for k, v in self._items)
        return f"{self.kind}({inside})" if inside else self.kind

    @classmethod
    def parse(cls, text: str) -> "Atom":
        """The inverse of str(): `window(divisions=2)` or `softmax`."""
        name, _, rest = text.strip().partition("(")
        if not name.isidentifier() or (rest and not rest.endswith(")")):
            raise UserError(f"cannot read component {text!r}; write it as name or name(key=value, ...)")
        params = {}
        for item in filter(None, (part.strip() for part in rest[:-1].split(","))):
            key, equals, value = item.partition("=")
            if not equals:
                raise UserError(f"cannot read {item!r} in {text!r}; write key=value")
            params[key.strip()] = _read(value.strip())
        return cls(name, **params)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.params}

    @classmethod
    def from_json(cls, data: object, where: str = "component") -> "Atom":
        if isinstance(data, str):
            return cls.parse(data)
        if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
            raise UserError(f"{where}: expected a component such as {{kind: softmax}}, found {data!r}")
        params = {str(k): v for k, v in data.items() if k != "kind"}
        wrong = [k for k, v in params.items() if not isinstance(v, bool | int | float | str | None)]
        if wrong:
            raise UserError(f"{where}.{wrong[0]}: expected a number or a word, found {params[wrong[0]]!r}")
        return cls(data["kind"], **params)


def _make_atom(kind: str, params: dict[str, Value]) -> Atom:
    return Atom(kind, **params)


def _plain(value: Value) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _read(text: str) -> Value:
    words: dict[str, Value] = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


NONE = Atom("none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`depth` equal blocks on one grid, or two mixers taking turns, following each other or sharing the heads.

    mode "alternate": block i uses `a` for even i and `b` for odd i (`b` None means `a` throughout).
    mode "then": the first `share` of the blocks, at least one, use `a`, the rest `b`.
    mode "headmix": in every block the first `share` of the heads uses `a`, the rest `b`, under shared projections.
    tail: the last `tail` blocks use softmax attention instead (the EfficientFormer schedule).
    """

    width: int
    depth: int
    head_dim: int = 32
    a: Atom = Atom("softmax")
    b: Atom | None = None
    mode: str = "alternate"
    share: float = 0.5
    tail: int = 0
    ffn: Atom = Atom("mlp", ratio=4)
    local: Atom = NONE  # a convolution beside the mixer: none, cpe, lpu, lpi
    down: Atom = NONE  # how the stage before is brought to this grid; "none" for the first stage
    norm: Atom = Atom("layer")
    norm_out: bool = False  # a norm after the last block (PVTv2)
    layer_scale: float | None = None

    @property
    def heads(self) -> int:
        return self.width // self.head_dim

    @property
    def turn(self) -> int:
        """Blocks of `a` before `b` takes over, in mode "then"."""
        return max(1, round(self.share * self.depth))

    def mixers(self) -> list[tuple[Atom, ...]]:
        """The mixer of each block: one atom, or two where the heads are shared out."""
        pair: tuple[Atom, ...] = (self.a,) if self.b is None else (self.a, self.b)
        if self.b is not None and self.mode == "headmix":
            blocks = [pair] * self.depth
        elif self.b is not None and self.mode == "then":
            blocks = [(pair[int(i >= self.turn)],) for i in range(self.depth)]
        else:
            blocks = [(pair[i % len(pair)],) for i in range(self.depth)]
        cut = self.depth - min(self.tail, self.depth)
        return blocks[:cut] + [(Atom("softmax"),)] * (self.depth - cut)


@dataclass(frozen=True, slots=True, kw_only=True)
class Genotype:
    """A whole network without its input size, its classes and its weights."""

    topology: str  # "plain" (one grid throughout), "pyramid", or "dual": its two stages are branches
    stem: Atom
    stages: tuple[Stage, ...]
    position: Atom = NONE
    cls_token: bool = False  # enters with the last stage
    registers: int = 0  # learned extra tokens, enter with the last stage
    reduction: Atom = NONE  # token reduction inside the last stage
    head: Atom = Atom("pool")
    stem_b: Atom = NONE  # of the second branch of a dual network
    fusion: Atom = NONE  # how the branches of a dual network exchange what they saw, and how many times
    bridge: Atom = NONE  # over the stages of a pyramid, in front of the head

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, complete: from_json(to_json(g)) == g."""
        return _encode(self)

    @classmethod
    def from_json(cls, data: object, where: str = "genotype") -> Self:
        """Strict reading; raises UserError naming the key that is wrong and what would work."""
        if not isinstance(data, Mapping):
            raise UserError(f"{where}: expected a mapping, found {type(data).__name__}")
        stages = data.get("stages")
        if not isinstance(stages, list) or not stages:
            raise UserError(f"{where}.stages: expected a list of at least one stage, found {stages!r}")
        parsed = tuple(_decode(Stage, s, f"{where}.stages[{i}]") for i, s in enumerate(stages))
        return _decode(cls, {**data, "stages": parsed}, where)

    def hash(self) -> str:
        """ "g" and eleven hexadecimal digits of the SHA-256 of the canonical JSON; the letter keeps readers of YAML and
        CSV from taking it for a number. Canonicalise first (Space.canonical)."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return "g" + hashlib.sha256(text.encode()).hexdigest()[:11]

    def with_stage(self, index: int, **changes: Any) -> Self:
        """A copy with fields of one stage changed."""
        stages = list(self.stages)
        stages[index] = replace(stages[index], **changes)
        return replace(self, stages=tuple(stages))

    def mechanisms(self) -> list[str]:
        """Mixer names in order of first use."""
        seen = {atom.kind: None for stage in self.stages for block in stage.mixers() for atom in block}
        return list(seen)

    def __str__(self) -> str:
        """One line for tables and hover texts, such as `pyramid 32x2 window+shifted_window > 64x4 softmax`."""
        stages = (" & " if self.topology == "dual" else " > ").join(_stage_line(s) for s in self.stages)
        return f"{self.topology} {stages}" + "".join(f" > {a}" for a in (self.fusion, self.bridge) if a != NONE)


SIGNS = {"alternate": "+", "then": " then ", "headmix": "|"}  # between the mixers of a stage


def _stage_line(stage: Stage) -> str:
    mixers = stage.a.kind
    if stage.b is not None:
        mixers += SIGNS[stage.mode] + stage.b.kind
    last = f" (last {min(stage.tail, stage.depth)} softmax)" if stage.tail else ""
    return f"{stage.width}x{stage.depth} {mixers}{last}"


_LATER = {"stem_b", "fusion", "bridge"}  # written only where they are used, so that older genotypes keep their hashes


def _encode(value: Any) -> Any:
    if isinstance(value, Atom):
        return value.to_json()
    if isinstance(value, Stage | Genotype):
        named = {f.name: getattr(value, f.name) for f in fields(value)}
        return {k: _encode(v) for k, v in named.items() if k not in _LATER or v != NONE}
    if isinstance(value, tuple):
        return [_encode(v) for v in value]
    return value


_TYPES: dict[str, tuple[type, ...]] = {
    "width": (int,), "depth": (int,), "head_dim": (int,), "tail": (int,), "registers": (int,),
    "share": (int, float), "layer_scale": (int, float, type(None)),
    "norm_out": (bool,), "cls_token": (bool,), "mode": (str,), "topology": (str,), "stages": (tuple,),
}  # fmt: skip
_WORDS = {"mode": ("alternate", "then", "headmix"), "topology": ("plain", "pyramid", "dual")}


def _decode(cls: type, data: object, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: expected a mapping, found {type(data).__name__}")
    known = {f.name: f for f in fields(cls)}
    values = {}
    for key, value in data.items():
        if key not in known:
            raise unknown("key", key, known, where)
        values[key] = _decode_field(key, value, f"{where}.{key}")
    missing = [n for n, f in known.items() if n not in values and _required(f)]
    if missing:
        raise UserError(f"{where}: key {missing[0]!r} is missing")
    return cls(**values)


def _decode_field(key: str, value: Any, where: str) -> Any:
    if key not in _TYPES:
        return None if key == "b" and value is None else Atom.from_json(value, where)
    kinds = _TYPES[key]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(k.__name__ for k in kinds)
        raise UserError(f"{where}: expected {names}, found {value!r}")
    if key in _WORDS and value not in _WORDS[key]:
        raise unknown(key, value, _WORDS[key], where)
    least = 1 if key in ("width", "depth", "head_dim") else 0
    if isinstance(value, int | float) and not isinstance(value, bool) and value < least:
        raise UserError(f"{where}: {value} is too small")
    return value


def _required(f: Any) -> bool:
    return f.default is field().default and f.default_factory is field().default_factory
