"""The way back: the code of a taxonomy space that decodes to a network, or to one that is very like it.

Numbers are snapped to the nearest choice, mechanisms to the variant that costs nearest to theirs. What a space has no
dimension for, such as the kind of norms, is left out; a mechanism that it does not know leaves no code.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nas.genotype import Atom, Genotype, Stage, Value
from search_spaces.canonical import simplified
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS
from search_spaces.plan import plan

if TYPE_CHECKING:
    from search_spaces.space import Choice, Code, Space

FAR = 1.5  # a number that is off by a larger factor makes another network
Wanted = dict[str, Any]  # dimension -> what the network has there: a number, a word, an atom, or any of several


def codes_like(space: "Space", genotype: Genotype) -> Iterator["Code"]:
    """Codes of a space for a canonical genotype, valid or not; what the genotype leaves open has its first choice."""
    for wanted, shapes in _descriptions(genotype, space.image_size):
        code: Code = {}
        strange: set[str] = set()
        for d in space.dimensions:
            near = {c: _distance(c, wanted[d.name], shapes.get(d.name)) for c in d.choices} if d.name in wanted else {}
            code[d.name] = min(near, key=near.__getitem__, default=d.choices[0])
            strange |= {d.name} if math.inf == near.get(code[d.name]) else set()
        if not strange & space.active(code):
            yield code


def _distance(choice: "Choice", wanted: Any, shape: Shape | None) -> float:
    """0 for the same, infinite for what is something else. shape: of the tokens that a mixer sees."""
    if isinstance(wanted, tuple):
        return min(_distance(choice, each, shape) for each in wanted)
    if isinstance(wanted, Atom):
        return _atom_distance(Atom.parse(str(choice)), wanted, shape)
    if isinstance(wanted, str) or isinstance(choice, str):
        return 0.0 if choice == wanted else math.inf
    return _number_distance(choice, wanted)


def _number_distance(a: float, b: float) -> float:
    if min(a, b) <= 0:
        return abs(a - b)
    return abs(math.log(a / b)) if max(a, b) <= FAR * min(a, b) else math.inf


def _atom_distance(atom: Atom, wanted: Atom, shape: Shape | None) -> float:
    """Of mixers on a shape, by what they cost there; else by their parameters."""
    if atom == wanted or (shape is not None and _works(atom, shape) and simplified(atom, shape) == wanted):
        return 0.0
    if atom.kind != wanted.kind or (shape is not None and not _works(atom, shape)):
        return math.inf
    return 1.0 + _parameter_distance(atom, wanted) + (0.0 if shape is None else _cost_distance(atom, wanted, shape))


def _works(atom: Atom, shape: Shape) -> bool:
    return atom.kind in MIXERS and MIXERS[atom.kind].check(shape, **atom.params) is None


def _cost_distance(atom: Atom, wanted: Atom, shape: Shape) -> float:
    """Weighs more than all parameters: a window of 7 on 14 tokens a side is one of two divisions."""
    costs = (MIXERS[a.kind].cost(shape, **a.params) for a in (atom, wanted))
    ours, theirs = (1.0 + c.macs for c in costs)
    return 100.0 * abs(math.log(ours / theirs))


def _parameter_distance(atom: Atom, wanted: Atom) -> float:
    """Logarithms of ratios of numbers, 1 for anything else that differs."""
    ours, theirs = atom.params, wanted.params
    return sum(_value_distance(ours.get(name), theirs.get(name)) for name in ours.keys() | theirs.keys())


def _value_distance(ours: Value, theirs: Value) -> float:
    if isinstance(ours, bool | str | None) or isinstance(theirs, bool | str | None) or min(ours, theirs) <= 0:
        return float(ours != theirs)
    return abs(math.log(ours / theirs))


def _descriptions(genotype: Genotype, image_size: int) -> Iterator[tuple[Wanted, Mapping[str, Shape]]]:
    """What the dimensions should say, and the shapes that mixers see; several where two mixers may swap places."""
    shapes = [s.blocks[0].shape for s in plan(genotype, image_size=(image_size, image_size)).stages]
    if genotype.topology == "dual":
        yield _dual(genotype), {"dual.mixer_a": shapes[0], "dual.mixer_b": shapes[1]}
        return
    plain = genotype.topology == "plain"
    groups = ["plain"] if plain else [f"stage{i + 1}" for i in range(len(genotype.stages))]
    wanted = _network(genotype)
    for group, stage in zip(groups, genotype.stages, strict=True):
        wanted |= {f"{group}.{name}": value for name, value in _stage(stage).items()}
    for swapped in _orders(groups, genotype.stages):
        seen = {f"{g}.mixer_{x}": shape for g, shape in zip(groups, shapes, strict=True) for x in "ab"}
        yield wanted | swapped, seen


def _network(genotype: Genotype) -> Wanted:
    plain, reduction = genotype.topology == "plain", genotype.reduction
    wanted: Wanted = {
        "topology": genotype.topology,
        "plain.stem" if plain else "stem": genotype.stem,
        "position": genotype.position,
        "head": "cls" if genotype.cls_token else "pool",
        "registers": genotype.registers,
        "reduction": Atom(reduction.kind, **{k: v for k, v in reduction.params.items() if k != "at"}),
        "reduction_at": reduction.params.get("at", 0.5),
        "tail": genotype.stages[-1].tail,
    }
    if not plain:
        wanted |= {"stages": len(genotype.stages), "bridge": genotype.bridge}
    for stage in genotype.stages[1:]:
        wanted["down"] = stage.down
    return wanted


def _stage(stage: Stage) -> Wanted:
    ffn = stage.ffn
    return {
        "width": stage.width,
        "depth": stage.depth,
        "mixer_a": stage.a,
        "mixer_b": ("same", stage.a) if stage.b is None else stage.b,
        "mode": stage.mode,
        "share": stage.share,
        "ffn": Atom(ffn.kind, **{k: v for k, v in ffn.params.items() if k != "ratio"}),
        "ffn_ratio": ffn.params.get("ratio", 4),
        "local": stage.local,
    } | ({"head_dim": stage.head_dim} if any(MIXERS[a.kind].has_heads for b in stage.mixers() for a in b) else {})


def _orders(groups: Iterable[str], stages: Iterable[Stage]) -> Iterator[Wanted]:
    """Every way to name the two mixers that share the heads of a stage."""
    pairs = [(g, s) for g, s in zip(groups, stages, strict=True) if s.b is not None and s.mode == "headmix"]
    for bits in range(2 ** len(pairs)):
        chosen = [pair for i, pair in enumerate(pairs) if bits >> i & 1]
        found: Wanted = {}
        for group, s in chosen:
            found |= {f"{group}.mixer_a": s.b, f"{group}.mixer_b": s.a, f"{group}.share": 1 - s.share}
        yield found


def _dual(genotype: Genotype) -> Wanted:
    """stems: small and large patches in one atom."""
    small, large = genotype.stages
    name = "size" if genotype.stem.kind == "patch" else "stride"
    sizes = {"small": genotype.stem.params.get(name), "large": genotype.stem_b.params.get(name)}
    return {
        "topology": "dual",
        "position": genotype.position,
        "dual.stems": Atom(genotype.stem.kind, **sizes),
        "dual.width": large.width,
        "dual.depth": large.depth // max(small.depth, 1),
        "dual.head_dim": large.head_dim,
        "dual.mixer_a": small.a,
        "dual.mixer_b": large.a,
        "dual.ffn_ratio": large.ffn.params.get("ratio", 4),
        "dual.fusion": genotype.fusion,
    }
