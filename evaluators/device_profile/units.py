"""The parts that a network is made of, each as words and numbers by which it can be built and measured alone.

A unit is smaller than a block: the mixer of a block with its norm and residual, or its feed-forward, or its
convolution. Few different units make up very many networks, so most of a network has been measured, or something near.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from nas.genotype import Atom, Stage
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS, Core
from search_spaces.mixers.base import shared_heads
from search_spaces.parts import LOCALS, out_norm
from search_spaces.plan import Plan, StagePlan, exchanges

SHARED_HEADS = "mixer headmix"  # the family of all pairs of mixers that share the heads
Words = tuple[tuple[str, Atom], ...]
Numbers = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """part: stem, position, tokens, down, mixer, local, ffn, reduction, norm, fusion, bridge or head.

    atoms: its components by what they are for. numbers: sizes, all that the parts need to be built.
    """

    part: str
    atoms: Words
    numbers: Numbers
    _hash: int = field(init=False, repr=False, compare=False)  # units are keys of many tables

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.part, self.atoms, self.numbers)))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Unit, (self.part, self.atoms, self.numbers)

    def to_json(self) -> dict[str, Any]:
        return {"part": self.part, "atoms": {k: str(a) for k, a in self.atoms}, "numbers": dict(self.numbers)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Unit":
        """Raises KeyError, TypeError or ValueError for what is no unit."""
        wrong = [name for name, value in data["numbers"].items() if not isinstance(value, int | float)]
        if wrong:
            raise TypeError(f"{wrong[0]}: {data['numbers'][wrong[0]]!r} is no number")
        atoms = tuple((name, Atom.parse(text)) for name, text in data["atoms"].items())
        return cls(data["part"], atoms, tuple(data["numbers"].items()))

    @property
    def family(self) -> str:
        """Units of a family differ in sizes and parameters only, such as `mixer softmax`."""
        if "mixer_b" in dict(self.atoms):
            return SHARED_HEADS
        return f"{self.part} {self.atoms[0][1].kind}" if self.atoms else self.part

    def alone(self) -> tuple[float, "Unit", "Unit"]:
        """Of two mixers that share the heads: the first one's share, and each with all heads for itself."""
        atoms, sizes = dict(self.atoms), dict(self.numbers)
        share = sizes.pop("first") / sizes["heads"]
        numbers, norm = tuple(sizes.items()), atoms["norm"]
        a, b = (Unit(self.part, (("mixer", atoms[name]), ("norm", norm)), numbers) for name in ("mixer", "mixer_b"))
        return share, a, b


class Placed(NamedTuple):
    """A unit in its network: in which stage (from 1; 0 for the stem) and how many times there."""

    stage: int
    unit: Unit
    times: int


def units(resolved: Plan) -> list[Placed]:
    """All units of a network, equal ones of a stage together."""
    found: dict[tuple[int, Unit], int] = {}
    for stage, unit, count in _walk(resolved):
        found[stage, unit] = found.get((stage, unit), 0) + count
    return [Placed(stage, unit, count) for (stage, unit), count in found.items()]


def _walk(resolved: Plan) -> Iterator[tuple[int, Unit, int]]:
    for (stem, size), stage in zip(resolved.stems, resolved.stages, strict=False):
        yield 0, _unit("stem", ("stem", stem), in_chans=resolved.in_chans, dim=stage.stage.width, **_sides(size)), 1
    for index, stage in enumerate(resolved.stages, start=1):
        for unit, count in _stage_units(stage):
            yield index, unit, count
    yield from _joining(resolved)
    stages = resolved.stages[-len(resolved.last_shapes) :]
    for index, (shape, stage) in enumerate(zip(resolved.last_shapes, stages, strict=True)):
        unit = _unit(
            "head", ("head", resolved.genotype.head), ("norm", stage.stage.norm), dim=shape.dim, tokens=shape.tokens,
            prefix=shape.prefix, classes=resolved.classes,
        )  # fmt: skip
        yield len(resolved.stages) - len(stages) + 1 + index, unit, 1


def _joining(resolved: Plan) -> Iterator[tuple[int, Unit, int]]:
    genotype, stages = resolved.genotype, resolved.stages
    if genotype.fusion.kind != "none":
        times, fusion = exchanges(genotype)
        yield 0, _unit("fusion", ("fusion", fusion), **_by_stage(stages)), times
    if genotype.bridge.kind != "none":
        yield len(stages), _unit("bridge", ("bridge", genotype.bridge), **_by_stage(stages)), 1


def _by_stage(stages: tuple[StagePlan, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for i, s in enumerate(stages):
        found |= {f"dim{i}": s.stage.width, f"heads{i}": s.stage.heads, f"height{i}": s.grid[0], f"width{i}": s.grid[1]}
    return found


def _stage_units(resolved: StagePlan) -> Iterator[tuple[Unit, int]]:
    stage, grid = resolved.stage, _sides(resolved.grid)
    if stage.down.kind != "none":
        sides = _sides(resolved.in_grid)
        yield _unit("down", ("down", stage.down), in_dim=resolved.in_dim, dim=stage.width, **sides), 1
    if resolved.prefix:
        tokens = resolved.grid[0] * resolved.grid[1]
        yield _unit("tokens", dim=stage.width, tokens=tokens, prefix=resolved.prefix), 1
    for atom in filter(None, (resolved.position, resolved.position_after)):
        yield _unit("position", ("position", atom), dim=stage.width, prefix=int(resolved.cls_token), **grid), 1
    for (mixers, shape), count in Counter((block.mixers, block.shape) for block in resolved.blocks).items():
        yield from ((unit, count) for unit in _block_units(stage, mixers, shape))
    if resolved.reduction is not None:
        yield _reduction(resolved), 1
    if stage.norm_out:
        shape = resolved.blocks[-1].shape
        yield _unit("norm", ("norm", out_norm(stage.norm)), dim=stage.width, tokens=shape.length), 1


def _reduction(resolved: StagePlan) -> Unit:
    assert resolved.reduction is not None
    tokens = resolved.grid[0] * resolved.grid[1]
    dim, prefix = resolved.stage.width, resolved.prefix
    return _unit("reduction", ("reduction", resolved.reduction[1]), dim=dim, tokens=tokens, prefix=prefix)


@lru_cache(maxsize=65536)
def _block_units(stage: Stage, mixers: tuple[Atom, ...], shape: Shape) -> tuple[Unit, ...]:
    around = ("norm", _without(stage.norm, "out"))
    sizes = _sizes(shape) | {"scaled": float(stage.layer_scale is not None)}
    found = []
    if mixers[0].kind != "none":
        found.append(_mixer(mixers, stage.share, shape, sizes, around))
    if stage.local.kind != "none":
        local = _unit("local", ("local", stage.local), around, **_plain(sizes))
        found += [local] * (2 if _twice(stage.local) else 1)
    if stage.ffn.kind != "none":
        found.append(_unit("ffn", ("ffn", stage.ffn), around, **_plain(sizes)))
    return tuple(found)


def _mixer(
    mixers: tuple[Atom, ...], share: float, shape: Shape, sizes: dict[str, float], around: tuple[str, Atom]
) -> Unit:
    """heads matter to all mixers but those without; two cores share them, `first` of them for the first."""
    if len(mixers) > 1:
        sizes = sizes | {"first": shared_heads(mixers, share, shape.heads)[0]}
    elif not issubclass(MIXERS[mixers[0].kind], Core) and not MIXERS[mixers[0].kind].has_heads:
        sizes = sizes | {"heads": 1, "head_dim": shape.dim}
    return _unit("mixer", *zip(("mixer", "mixer_b"), mixers, strict=False), around, **sizes)


def _sizes(shape: Shape) -> dict[str, float]:
    height, width = shape.grid or (0, 0)
    return {
        "dim": shape.dim, "heads": shape.heads, "head_dim": shape.head_dim, "height": height, "width": width,
        "tokens": shape.tokens, "prefix": shape.prefix, "given": int(shape.given), "wanted": int(shape.wanted),
        "sized": int(shape.sized),
    }  # fmt: skip


def _plain(sizes: dict[str, float]) -> dict[str, float]:
    """What matters to a part that knows no heads and no memory."""
    return {k: v for k, v in sizes.items() if k in ("dim", "height", "width", "tokens", "prefix", "scaled")}


def _twice(local: Atom) -> bool:
    return LOCALS[local.kind].place == "before both"


def _without(atom: Atom, name: str) -> Atom:
    params = atom.params
    params.pop(name, None)
    return Atom(atom.kind, **params)


def _sides(grid: tuple[int, int]) -> dict[str, float]:
    return {"height": grid[0], "width": grid[1]}


@lru_cache(maxsize=65536)
def _unit(part: str, *atoms: tuple[str, Atom], **numbers: float) -> Unit:
    return Unit(part, atoms, tuple(numbers.items()))
