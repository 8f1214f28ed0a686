"""Validity rules V1 to V16: each is one predicate over a planned network and yields its own messages.

V2 to V6 and V13 are properties of mechanisms and live in `Mixer.check`; `Mixer.rule` says under which number.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from nas.errors import UserError
from nas.genotype import NONE, Atom, Genotype
from search_spaces.canonical import SHARED
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS, Core
from search_spaces.parts import FFNS, HEADS, STEMS, Grid
from search_spaces.plan import Plan, StagePlan, exchanges, plan
from search_spaces.structures import BRIDGES

SMALLEST_MAP = 2  # tokens a side; below it nothing is left to mix
LARGEST_ACTIVATION = 2**26  # elements alive in one block for one image: 256 MiB in float32
TOPOLOGIES = ("plain", "pyramid", "dual")
DUAL_MIXERS = ("softmax", "efficient", "cross_covariance")  # of the branches: they work on a class token as on patches


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken rule. stage counts from 0, None for the network; parts: the dimensions whose change may help."""

    rule: str
    text: str
    parts: tuple[str, ...]
    stage: int | None = None

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def find_problems(
    genotype: Genotype, *, image_size: int | Grid, resolutions: tuple[int, ...] = (), local_only: bool = False
) -> list[Problem]:
    """All broken rules of a genotype at one image size and, where it is valid there, at further ones (V15)."""
    found = [*topology(genotype), *head(genotype)]
    if found:
        return found
    try:
        resolved = plan(genotype, image_size=image_size)
    except UserError as error:
        return [Problem("V13", str(error), ("stem", "stages"))]
    rules = RULES if local_only else (*RULES, global_mixing)
    found = [problem for rule in rules for problem in rule(resolved)]
    return found or [p for size in resolutions for p in _at_another_size(genotype, size, local_only)]


def heads_divide(resolved: Plan) -> Iterator[Problem]:
    """V1: whole heads, and whole heads for each of two mixers that share them."""
    for index, stage in enumerate(resolved.stages):
        yield from _heads_divide(index, stage)


def _heads_divide(index: int, resolved: StagePlan) -> Iterator[Problem]:
    stage = resolved.stage
    kinds = [MIXERS[a.kind] for block in resolved.blocks for a in block.mixers]
    if any(kind.has_heads for kind in kinds) and (stage.width % stage.head_dim or not stage.heads):
        text = f"heads of {stage.head_dim} channels do not divide the {stage.width} of stage {index + 1}"
        yield Problem("V1", text, ("width", "head_dim"), index)
    elif stage.b is not None and stage.mode == "headmix":
        bare = [a.kind for a in (stage.a, stage.b) if not issubclass(MIXERS[a.kind], Core)]
        first = stage.share * stage.heads
        if bare:
            text = f"{bare[0]} in stage {index + 1} has no heads to share out; headmix takes two attention mechanisms"
            yield Problem("V1", text, ("mode", "mixer_a", "mixer_b"), index)
        elif first != round(first) or not 0 < first < stage.heads:
            text = f"{stage.share:g} of {stage.heads} heads in stage {index + 1} is not a whole number of heads"
            yield Problem("V1", text, ("width", "head_dim", "share", "mode"), index)


def mixers_fit(resolved: Plan) -> Iterator[Problem]:
    """V2 to V6, V13: every mechanism works on the map, the tokens and the heads that it gets."""
    for index, stage in enumerate(resolved.stages):
        if any(_heads_divide(index, stage)):
            continue
        for atom, shape in dict.fromkeys(_parts(stage)):
            reason = MIXERS[atom.kind].check(shape, **_own(atom))
            if reason is not None:
                yield Problem(MIXERS[atom.kind].rule, _placed(reason, index), ("mixer_a", "mixer_b"), index)


def _parts(resolved: StagePlan) -> Iterator[tuple[Atom, Shape]]:
    """Each mixer with the shape that it sees, which holds only its own heads where two share them."""
    for block in resolved.blocks:
        shape = block.shape
        if shape.grid is None and not all(_is_set(a) for a in block.mixers):
            continue  # V8 says what is wrong
        if len(block.mixers) == 1:
            yield block.mixers[0], shape
            continue
        first = round(resolved.stage.share * shape.heads)
        for atom, heads in zip(block.mixers, (first, shape.heads - first), strict=True):
            yield atom, replace(shape, heads=heads)


def _is_set(atom: Atom) -> bool:
    return MIXERS[atom.kind].set_like(**atom.params)


def _own(atom: Atom) -> dict[str, Any]:
    """Parameters without those of the shared projections."""
    return {k: v for k, v in atom.params.items() if k not in SHARED}


def _placed(reason: str, index: int) -> str:
    """Names the stage before the remedy, which follows the semicolon."""
    fact, semicolon, remedy = reason.partition(";")
    return f"{fact} in stage {index + 1}{semicolon}{remedy}"


def streams(resolved: Plan) -> Iterator[Problem]:
    """V16: two mixers that pass one thing from block to block agree on it. (Mixer.check says who lacks a source.)"""
    for index, stage in enumerate(resolved.stages):
        a, b = stage.stage.a, stage.stage.b
        if b is not None and a.kind == b.kind and a != b and MIXERS[a.kind].one_stream:
            text = f"blocks of {a.kind} in stage {index + 1} pass one thing on, and {a} differs from {b}"
            yield Problem("V16", text, ("mixer_a", "mixer_b"), index)


def prefix_tokens(resolved: Plan) -> Iterator[Problem]:
    """V7: class token and registers only among mixers that let them take part."""
    for number, stage in enumerate(resolved.stages, start=1):
        if not stage.prefix:
            continue
        deaf = {a.kind: None for block in stage.blocks for a in block.mixers if not MIXERS[a.kind].takes_prefix}
        for kind in deaf:
            text = f"{kind} in stage {number} takes no class token and no registers"
            yield Problem("V7", text, ("registers", "head"))


def reduction(resolved: Plan) -> Iterator[Problem]:
    """V8: after a data-dependent reduction there is no grid, so only mixers of sets, plain MLPs and no convolutions."""
    stage, number = resolved.stages[-1], len(resolved.stages)
    if stage.reduction is None:
        return
    after = stage.reduction[0]
    if after >= len(stage.blocks):
        yield Problem("V8", f"a reduction after the last block of stage {number} saves nothing", ("reduction",))
    needs = [a.kind for block in stage.blocks[after:] for a in block.mixers if not _is_set(a)]
    needs += [stage.stage.ffn.kind] if FFNS[stage.stage.ffn.kind].positional else []
    needs += [stage.stage.local.kind] if stage.stage.local != NONE else []
    for kind in dict.fromkeys(needs):
        text = f"{kind} in stage {number} needs the grid that {stage.reduction[1].kind} has dissolved"
        yield Problem("V8", text, ("reduction",))


def head(genotype: Genotype) -> Iterator[Problem]:
    """V9: what the head reads exists. (Dense heads, once there are any: no map that a reduction has scattered.)"""
    needs_cls = HEADS[genotype.head.kind].needs_cls
    if needs_cls and not genotype.cls_token:
        yield Problem("V9", f"head {genotype.head.kind} reads a class token and the network has none", ("head",))
    if needs_cls and genotype.head.params.get("distilled") and not genotype.registers:
        text = "a distilled head reads the first register as distillation token and the network has none"
        yield Problem("V9", text, ("head", "registers"))


def topology(genotype: Genotype) -> Iterator[Problem]:
    """V10: plain is one stage; a pyramid has several, each but the first behind a down-sampling; dual has two."""
    parts, stages = ("topology",), genotype.stages
    if genotype.topology == "dual":
        yield from _dual(genotype)
        return
    if genotype.stem_b != NONE or genotype.fusion != NONE:
        yield Problem("V10", "a second stem and a fusion are for the two branches of a dual network", parts)
    if genotype.bridge != NONE and genotype.topology != "pyramid":
        yield Problem("V10", f"a bridge joins the stages of a pyramid, this network is {genotype.topology}", parts)
    if genotype.topology not in TOPOLOGIES:
        yield Problem("V10", f"unknown topology {genotype.topology!r}; known: {', '.join(TOPOLOGIES)}", parts)
    elif genotype.topology == "plain" and len(stages) != 1:
        yield Problem("V10", f"a plain network has one stage, this has {len(stages)}", parts)
    elif genotype.topology == "pyramid" and len(stages) < 2:
        yield Problem("V10", "a pyramid has at least two stages, this has 1", parts)
    if stages[0].down != NONE:
        yield Problem("V10", "the first stage follows the stem and takes no down-sampling", parts)
    if NONE in [s.down for s in stages[1:]] and genotype.topology == "pyramid":
        yield Problem("V10", "every stage of a pyramid but the first begins with a down-sampling", parts)


def _dual(genotype: Genotype) -> Iterator[Problem]:
    """Two plain branches with class tokens; nothing that leads from stage to stage or out of the grid."""
    stages, parts = genotype.stages, ("topology",)
    if len(stages) != 2:
        yield Problem("V10", f"a dual network has two stages, one for each branch, this has {len(stages)}", parts)
    if NONE in (genotype.stem_b, genotype.fusion):
        yield Problem("V10", "a dual network has a second stem and a fusion of its branches", parts)
    elif min(stage.depth for stage in stages) < (times := exchanges(genotype)[0]):
        yield Problem("V10", f"a branch of fewer blocks than the {times} times that the branches meet", ("depth",))
    if not genotype.cls_token or genotype.registers or genotype.head.kind != "cls":
        yield Problem("V10", "the branches of a dual network have class tokens, no registers, and head cls", parts)
    if genotype.reduction != NONE or genotype.bridge != NONE:
        yield Problem("V10", "a dual network takes no token reduction and no bridge", parts)
    if any(stage.down != NONE or stage.norm_out for stage in stages):
        yield Problem("V10", "the branches of a dual network have no down-sampling and no norm of their own", parts)
    for kind in (kind for kind in genotype.mechanisms() if kind not in DUAL_MIXERS):
        text = f"{kind} in a branch of a dual network; these take {', '.join(DUAL_MIXERS)}"
        yield Problem("V10", text, ("mixer_a", "mixer_b"))


def bridge(resolved: Plan) -> Iterator[Problem]:
    """V10: a bridge finds whole maps, and in each position whole tokens of the first stage's width."""
    atom, last = resolved.genotype.bridge, resolved.stages[-1]
    if atom == NONE:
        return
    if last.prefix or last.reduction is not None:
        text = "a bridge works on whole maps: no class token, no registers, no token reduction"
        yield Problem("V10", text, ("bridge", "head", "registers", "reduction"))
    dims, grids = [s.stage.width for s in resolved.stages], [s.grid for s in resolved.stages]
    reason = BRIDGES[atom.kind].check(dims=dims, grids=grids, **atom.params)
    if reason is not None:
        yield Problem("V10", f"bridge {atom.kind}: {reason}", ("bridge", "width"))


def position(resolved: Plan) -> Iterator[Problem]:
    """V11: something tells positions apart where all mixers treat tokens as a set."""
    genotype = resolved.genotype
    blind = (
        genotype.position == NONE
        and genotype.bridge == NONE
        and not all(STEMS[stem.kind].positional for stem, _ in resolved.stems)
        and all(s.local == NONE and not FFNS[s.ffn.kind].positional for s in genotype.stages)
        and all(_is_set(a) for s in genotype.stages for block in s.mixers() for a in block)
    )
    if blind:
        text = "nothing tells positions apart; add a position, a convolution or a mixer that works on the grid"
        yield Problem("V11", text, ("position",))


def global_mixing(resolved: Plan) -> Iterator[Problem]:
    """V12: at least one layer carries information across the whole map."""
    if resolved.genotype.bridge != NONE:
        return
    layers = dict.fromkeys(part for stage in resolved.stages for part in _parts(stage))
    if not any(MIXERS[atom.kind].sees_all(shape, **_own(atom)) for atom, shape in layers):
        kinds = ", ".join(resolved.genotype.mechanisms())
        yield Problem("V12", f"no layer sees the whole map: only {kinds}", ("mixer_a", "mixer_b"))


def maps(resolved: Plan) -> Iterator[Problem]:
    """V13: every stage has a map worth mixing."""
    for index, stage in enumerate(resolved.stages):
        (rows, columns), least = stage.grid, SMALLEST_MAP
        if min(rows, columns) < least:
            text = f"stage {index + 1} is left with {rows}x{columns} tokens; at least {least}x{least}"
            yield Problem("V13", text, ("stem", "stages"))


def activation(resolved: Plan) -> Iterator[Problem]:
    """V14: one block of one image fits into memory. (The user's own limits are the campaign's constraints.)"""
    for index, stage in enumerate(resolved.stages):
        widening = max(3.0, stage.stage.ffn.params.get("ratio", 4))  # queries, keys and values, or the hidden layer
        alive = int(stage.blocks[0].shape.length * stage.stage.width * (2 + widening))
        if alive > LARGEST_ACTIVATION:
            text = f"a block of stage {index + 1} holds {alive} activations for one image; at most {LARGEST_ACTIVATION}"
            yield Problem("V14", text, ("width", "stem"), index)


def _at_another_size(genotype: Genotype, size: int, local_only: bool) -> list[Problem]:
    """V15: the rules at a further image size."""
    found = find_problems(genotype, image_size=size, local_only=local_only)
    return [replace(p, rule="V15", text=f"at {size} px {p}") for p in found]


RULES: tuple[Callable[[Plan], Iterator[Problem]], ...] = (
    heads_divide,
    mixers_fit,
    streams,
    prefix_tokens,
    reduction,
    bridge,
    position,
    maps,
    activation,
)
