"""The canonical form: one genotype for all that compute the same at an image size, so that equal ones hash equal."""

import inspect
from dataclasses import replace
from functools import lru_cache
from typing import Any

from nas.genotype import NONE, Atom, Genotype, Stage, Value
from nas.registry import Registry
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS
from search_spaces.mixers.base import SHARED
from search_spaces.parts import DOWNSAMPLERS, FFNS, HEADS, LOCALS, NORMS, POSITIONS, REDUCERS, STEMS, Grid
from search_spaces.plan import branch_stem, exchanges, plan, reduction_point, square
from search_spaces.structures import BRIDGES, FUSIONS


def canonical(genotype: Genotype, *, image_size: int | Grid) -> Genotype:
    """Defaults out, limits named for what they are, settings without effect reset. Idempotent.

    Raises UserError where the image is too small to leave a token.
    """
    tidy = _tidy(genotype, square(image_size))
    resolved = plan(tidy, image_size=square(image_size))
    stages = tuple(_stage(s.stage, s.blocks[0].shape) for s in resolved.stages)
    return _without_idle_reduction(replace(tidy, stages=stages), resolved.stages[-1].blocks[0].shape)


def _tidy(genotype: Genotype, image: Grid) -> Genotype:
    return replace(
        genotype,
        stem=_stem(genotype.stem, image),
        stem_b=_stem(genotype.stem_b, image),
        fusion=_fusion(genotype),
        bridge=NONE if genotype.bridge.params.get("depth") == 0 else _atom(BRIDGES, genotype.bridge),
        position=_atom(POSITIONS, genotype.position),
        reduction=_atom(REDUCERS, genotype.reduction),
        head=_atom(HEADS, genotype.head),
        stages=tuple(_tidy_stage(s) for s in genotype.stages),
    )


def _stem(stem: Atom, image: Grid) -> Atom:
    """Without a scale that leaves the image as it is."""
    if branch_stem(stem, image)[1] == image:
        stem = Atom(stem.kind, **{k: v for k, v in stem.params.items() if k != "scale"})
    return _atom(STEMS, stem)


def _fusion(genotype: Genotype) -> Atom:
    """With its number written out."""
    if genotype.fusion == NONE:
        return NONE
    times, fusion = exchanges(genotype)
    return Atom(fusion.kind, **_atom(FUSIONS, fusion).params, times=times)


@lru_cache(maxsize=65536)
def _tidy_stage(stage: Stage) -> Stage:
    return replace(
        stage,
        a=_atom(MIXERS, stage.a),
        b=None if stage.b is None else _atom(MIXERS, stage.b),
        ffn=_atom(FFNS, stage.ffn),
        local=_atom(LOCALS, stage.local),
        down=_atom(DOWNSAMPLERS, stage.down),
        norm=_atom(NORMS, stage.norm),
        share=float(stage.share),
        layer_scale=None if stage.layer_scale is None else float(stage.layer_scale),
    )


@lru_cache(maxsize=65536)
def _stage(stage: Stage, shape: Shape) -> Stage:
    stage = _clip_tail(stage)
    stage = _pattern(_simplify_mixers(stage, shape))
    if any(MIXERS[atom.kind].has_heads for block in stage.mixers() for atom in block):
        return stage
    return replace(stage, head_dim=stage.width)


def _simplify_mixers(stage: Stage, shape: Shape) -> Stage:
    """What each mixer is on the map and the heads that it gets, which are fewer where two share them."""
    if stage.b is None:
        return replace(stage, a=simplified(stage.a, shape))
    heads = (shape.heads, shape.heads)
    if stage.mode == "headmix":
        heads = (round(stage.share * shape.heads), shape.heads - round(stage.share * shape.heads))
    a, b = (simplified(m, replace(shape, heads=h)) for m, h in zip((stage.a, stage.b), heads, strict=True))
    return replace(stage, a=a, b=b)


def _clip_tail(stage: Stage) -> Stage:
    if stage.tail >= stage.depth:
        return replace(stage, a=Atom("softmax"), b=None, tail=0)
    return stage


def _pattern(stage: Stage) -> Stage:
    """Which of mode, b, share and tail have an effect. A mechanism that shares heads with itself is just itself."""
    a, b = stage.a, stage.b
    if b is not None and stage.mode == "headmix" and a != b:
        # heads are interchangeable: (A, B, 1/4) and (B, A, 3/4) are one network
        swap = str(b) < str(a)
        return replace(stage, a=b, b=a, share=1 - stage.share) if swap else stage
    if b == a or stage.depth - stage.tail < 2:
        b = None
    if b is not None and stage.mode == "then":
        stage = _followed(stage)
        a, b = stage.a, stage.b
    if b is None or stage.mode != "then":
        stage = replace(stage, b=b, mode="alternate", share=0.5)
    return replace(stage, tail=0) if b is None and a == Atom("softmax") else stage


def _followed(stage: Stage) -> Stage:
    """The share that the turn comes to; taking turns where that is the same; one mixer where `b` never comes."""
    blocks = stage.mixers()[: stage.depth - stage.tail]
    if (stage.b,) not in blocks:
        return replace(stage, b=None, mode="alternate")
    if len(blocks) == 2:
        return replace(stage, mode="alternate")
    return replace(stage, share=round(stage.turn / stage.depth, 4))


def simplified(atom: Atom, shape: Shape) -> Atom:
    simple = MIXERS[atom.kind].simplify(shape, atom)
    return atom if simple == atom else _atom(MIXERS, simple)


def _without_idle_reduction(genotype: Genotype, shape: Shape) -> Genotype:
    """The place as the share of blocks that it comes to; no reduction where nothing is left out."""
    point = reduction_point(genotype)
    if point is None:
        return replace(genotype, reduction=NONE)
    after, reducer = point
    if REDUCERS[reducer.kind].kept(shape.tokens, **reducer.params) >= shape.tokens:
        return replace(genotype, reduction=NONE)
    at = round(after / genotype.stages[-1].depth, 2)
    return replace(genotype, reduction=Atom(reducer.kind, **{**reducer.params, "at": at}))


def _atom(registry: Registry[Any], atom: Atom) -> Atom:
    return atom if atom == NONE else with_defaults(registry[atom.kind], atom)


@lru_cache(maxsize=65536)
def with_defaults(component: Any, atom: Atom) -> Atom:
    """Searched parameters are written out unless they are None by default, others only where they differ from it.

    A parameter whose default is None replaces searched ones when it is given (window=7 instead of divisions=2).
    """
    defaults, search = {**SHARED, **_defaults(component)}, getattr(component, "search", {})
    named = {k for k in search if defaults.get(k) is not None}
    given = {k: v for k, v in atom.params.items() if k in named or v != defaults.get(k)}
    if not any(defaults.get(k, False) is None for k in given):
        given = {**{k: defaults[k] for k in named}, **given}
    return Atom(atom.kind, **{k: _number(v) for k, v in given.items()})


def _defaults(component: Any) -> dict[str, Value]:
    parameters = inspect.signature(component).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def _number(value: Value) -> Value:
    """4.0 and 4 are the same ratio but not the same JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
