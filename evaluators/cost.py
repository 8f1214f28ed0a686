"""Exact costs of a genotype, part by part, without building it: parameters, MACs, activations."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from nas.genotype import Atom, Genotype, Stage
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers import mixer_cost, normed
from search_spaces.parts import (
    DOWNSAMPLERS,
    FFNS,
    HEADS,
    LOCALS,
    POSITIONS,
    REDUCERS,
    STEMS,
    Grid,
    norm_cost,
    out_norm,
    split_norm,
)
from search_spaces.plan import Plan, StagePlan, exchanges, plan
from search_spaces.structures import BRIDGES, FUSIONS

BYTES = 4  # of a float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cost of one part. stage and block count from 1; 0 where there is none."""

    stage: int
    block: int
    part: str
    name: str
    tokens: int
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """All parts of a network; costs are per image."""

    rows: tuple[Row, ...]
    total: Cost

    def metrics(self) -> dict[str, float]:
        """In the units of objectives. memory_mb: weights and activations (see search_spaces.costs) in float32."""
        memory = BYTES * (self.total.params + self.total.activations)
        return {"params_m": self.total.params / 1e6, "macs_g": self.total.macs / 1e9, "memory_mb": memory / 1e6}


def cost_metrics(
    genotype: Genotype, *, image_size: int | Grid, in_chans: int = 3, classes: int = 1000
) -> dict[str, float]:
    """params_m, macs_g and memory_mb of a genotype."""
    resolved = plan(genotype, image_size=image_size, in_chans=in_chans, classes=classes)
    return CostReport(rows=(), total=Cost.total([part.cost for part in _parts(resolved)])).metrics()


def least_training_mb(metrics: dict[str, float], batch: int, *, mixed: bool = False) -> float:
    """MB that no training step can do without, from the metrics of a genotype.

    Weights, gradients and Adam's two moments in float32, and what the layers write for a batch. mixed: that in two
    bytes instead of four.
    """
    weights = BYTES * metrics["params_m"]
    return 4 * weights + batch * (metrics["memory_mb"] - weights) * (0.5 if mixed else 1.0)


def count(genotype: Genotype, *, image_size: int | Grid, in_chans: int = 3, classes: int = 1000) -> CostReport:
    """Walk the plan as search_spaces.model does and add up the closed forms of every part."""
    resolved = plan(genotype, image_size=image_size, in_chans=in_chans, classes=classes)
    rows = tuple(Row(**{**part._asdict(), "name": _name(part.name)}) for part in _parts(resolved))
    return CostReport(rows=rows, total=Cost.total([r.cost for r in rows]))


class Part(NamedTuple):
    """A row whose name is not spelt out yet: what a search counts of thousands of candidates."""

    stage: int
    block: int
    part: str
    name: str | tuple[Atom, ...]
    tokens: int
    cost: Cost


def _name(name: str | tuple[Atom, ...]) -> str:
    return name if isinstance(name, str) else " | ".join(map(str, name))


def _parts(resolved: Plan) -> Iterator[Part]:
    head = resolved.genotype.head
    for (stem, size), stage in zip(resolved.stems, resolved.stages, strict=False):
        cost = STEMS[stem.kind].cost(in_chans=resolved.in_chans, dim=stage.stage.width, image_size=size, **stem.params)
        yield Part(0, 0, "stem", (stem,), stage.in_grid[0] * stage.in_grid[1], cost)
    for index, stage in enumerate(resolved.stages, start=1):
        yield from _stage_parts(index, stage)
    yield from _joining_parts(resolved)
    shapes = resolved.last_shapes
    for index, shape in enumerate(shapes, start=len(resolved.stages) + 1 - len(shapes)):
        cost = HEADS[head.kind].cost(
            dim=shape.dim, classes=resolved.classes, tokens=shape.tokens, prefix=shape.prefix, **head.params
        )
        yield Part(index, 0, "head", (head,), shape.length, cost)


def _joining_parts(resolved: Plan) -> Iterator[Part]:
    """What joins whole stages or branches; the exchanges of all times in one part."""
    genotype, stages = resolved.genotype, resolved.stages
    if genotype.fusion.kind == "none" and genotype.bridge.kind == "none":
        return
    dims, tokens = [s.stage.width for s in stages], [s.grid[0] * s.grid[1] for s in stages]
    if genotype.fusion.kind != "none":
        times, fusion = exchanges(genotype)
        heads = [s.stage.heads for s in stages]
        cost = FUSIONS[fusion.kind].cost(dims=dims, heads=heads, tokens=tokens, **fusion.params) * times
        yield Part(0, 0, "fusion", (genotype.fusion,), sum(tokens) + 2, cost)
    if genotype.bridge.kind != "none":
        bridge, grids = genotype.bridge, [s.grid for s in stages]
        cost = BRIDGES[bridge.kind].cost(dims=dims, grids=grids, **bridge.params)
        yield Part(len(stages), 0, "bridge", (bridge,), sum(tokens), cost)


def _stage_parts(index: int, resolved: StagePlan) -> Iterator[Part]:
    stage, tokens = resolved.stage, resolved.grid[0] * resolved.grid[1]
    if stage.down.kind != "none":
        cost = DOWNSAMPLERS[stage.down.kind].cost(
            dim=resolved.in_dim, out_dim=stage.width, grid=resolved.in_grid, **stage.down.params
        )
        yield Part(index, 0, "down", (stage.down,), tokens, cost)
    if resolved.prefix:
        cost = costs.weights(resolved.prefix * stage.width)
        yield Part(index, 0, "prefix", f"{resolved.prefix} tokens", tokens, cost)
    for atom in filter(None, (resolved.position, resolved.position_after)):
        cost = POSITIONS[atom.kind].cost(
            dim=stage.width, grid=resolved.grid, prefix=int(resolved.cls_token), **atom.params
        )
        yield Part(index, 0, "position", (atom,), tokens, cost)
    found: dict[tuple[tuple[Atom, ...], Shape], list[BlockPart]] = {}
    for number, block in enumerate(resolved.blocks, start=1):
        key = block.mixers, block.shape
        if key not in found:
            found[key] = _block_parts(stage, *key)
        for part, name, cost in found[key]:
            yield Part(index, number, part, name, block.shape.length, cost)
        if resolved.reduction is not None and resolved.reduction[0] == number:
            reducer = resolved.reduction[1]
            cost = REDUCERS[reducer.kind].cost(dim=stage.width, tokens=tokens, prefix=resolved.prefix, **reducer.params)
            yield Part(index, number, "reduction", (reducer,), tokens, cost)
    if stage.norm_out:
        yield Part(index, 0, "norm", "norm", tokens, norm_cost(out_norm(stage.norm), stage.width))


BlockPart = tuple[str, tuple[Atom, ...], Cost]


@lru_cache(maxsize=65536)
def _block_parts(stage: Stage, mixers: tuple[Atom, ...], shape: Shape) -> list[BlockPart]:
    scales = (stage.layer_scale is not None) + (stage.norm.params.get("residual") is not None)
    scale = costs.weights(shape.dim * scales)
    extra = norm_cost(stage.norm, shape.dim) + scale
    found: list[BlockPart] = []
    if mixers[0].kind != "none":
        around = extra if normed(mixers, split_norm(stage.norm)[1]["norm_after"]) else scale
        found.append(("mixer", mixers, mixer_cost(mixers, stage.share, shape) + around))
    if stage.local.kind != "none":
        local = LOCALS[stage.local.kind]
        cost = local.cost(dim=shape.dim, tokens=shape.tokens, **stage.local.params)
        times = 2 if local.place == "before both" else 1
        found.append(("local", (stage.local,), cost * times + (extra if local.place == "between" else Cost())))
    if stage.ffn.kind != "none":
        cost = FFNS[stage.ffn.kind].cost(dim=shape.dim, tokens=shape.tokens, prefix=shape.prefix, **stage.ffn.params)
        found.append(("ffn", (stage.ffn,), cost + extra))
    return found
