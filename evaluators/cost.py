"""Exact costs of a genotype, part by part, without building it: parameters, MACs, activations."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from nas.genotype import Atom, Genotype, Stage
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers import mixer_cost
from search_spaces.parts import DOWNSAMPLERS, FFNS, HEADS, LOCALS, POSITIONS, REDUCERS, STEMS, Grid, norm_cost
from search_spaces.plan import Plan, StagePlan, plan

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
    return count(genotype, image_size=image_size, in_chans=in_chans, classes=classes).metrics()


def count(genotype: Genotype, *, image_size: int | Grid, in_chans: int = 3, classes: int = 1000) -> CostReport:
    """Walk the plan as search_spaces.model does and add up the closed forms of every part."""
    resolved = plan(genotype, image_size=image_size, in_chans=in_chans, classes=classes)
    rows = tuple(_rows(resolved))
    return CostReport(rows=rows, total=Cost.total([r.cost for r in rows]))


def _rows(resolved: Plan) -> Iterator[Row]:
    genotype, first = resolved.genotype, resolved.stages[0]
    stem = STEMS[genotype.stem.kind].cost(
        in_chans=resolved.in_chans, dim=first.stage.width, image_size=resolved.image_size, **genotype.stem.params
    )
    yield Row(
        stage=0, block=0, part="stem", name=str(genotype.stem), tokens=first.in_grid[0] * first.in_grid[1], cost=stem
    )
    for index, stage in enumerate(resolved.stages, start=1):
        yield from _stage_rows(index, stage)
    shape = resolved.last_shape
    head = HEADS[genotype.head.kind].cost(
        dim=shape.dim, classes=resolved.classes, tokens=shape.tokens, prefix=shape.prefix, **genotype.head.params
    )
    yield Row(stage=len(resolved.stages), block=0, part="head", name=str(genotype.head), tokens=shape.length, cost=head)


def _stage_rows(index: int, resolved: StagePlan) -> Iterator[Row]:
    stage, tokens = resolved.stage, resolved.grid[0] * resolved.grid[1]

    def row(part: str, name: str, cost: Cost, block: int = 0, tokens: int = tokens) -> Row:
        return Row(stage=index, block=block, part=part, name=name, tokens=tokens, cost=cost)

    if stage.down.kind != "none":
        cost = DOWNSAMPLERS[stage.down.kind].cost(
            dim=resolved.in_dim, out_dim=stage.width, grid=resolved.in_grid, **stage.down.params
        )
        yield row("down", str(stage.down), cost)
    if resolved.prefix:
        yield row("prefix", f"{resolved.prefix} tokens", costs.weights(resolved.prefix * stage.width))
    for atom in filter(None, (resolved.position, resolved.position_after)):
        cost = POSITIONS[atom.kind].cost(
            dim=stage.width, grid=resolved.grid, prefix=int(resolved.cls_token), **atom.params
        )
        yield row("position", str(atom), cost)
    for number, block in enumerate(resolved.blocks, start=1):
        for part, name, cost in _block_costs(stage, block.mixers, block.shape):
            yield row(part, name, cost, block=number, tokens=block.shape.length)
        if resolved.reduction is not None and resolved.reduction[0] == number:
            reducer = resolved.reduction[1]
            cost = REDUCERS[reducer.kind].cost(dim=stage.width, tokens=tokens, prefix=resolved.prefix, **reducer.params)
            yield row("reduction", str(reducer), cost, block=number)
    if stage.norm_out:
        yield row("norm", "norm", norm_cost(stage.norm, stage.width))


@lru_cache(maxsize=65536)
def _block_costs(stage: Stage, mixers: tuple[Atom, ...], shape: Shape) -> tuple[tuple[str, str, Cost], ...]:
    scales = (stage.layer_scale is not None) + (stage.norm.params.get("residual") is not None)
    scale = costs.weights(shape.dim) * scales
    extra = norm_cost(stage.norm, shape.dim) + scale
    found = []
    if mixers[0].kind != "none":
        name = " | ".join(str(a) for a in mixers)
        found.append(("mixer", name, mixer_cost(mixers, stage.share, shape) + extra))
    if stage.local.kind != "none":
        local = LOCALS[stage.local.kind]
        cost = local.cost(dim=shape.dim, tokens=shape.tokens, **stage.local.params)
        times = 2 if local.place == "before both" else 1
        found.append(("local", str(stage.local), cost * times + (extra if local.place == "between" else Cost())))
    if stage.ffn.kind != "none":
        cost = FFNS[stage.ffn.kind].cost(dim=shape.dim, tokens=shape.tokens, prefix=shape.prefix, **stage.ffn.params)
        found.append(("ffn", str(stage.ffn), cost + extra))
    return tuple(found)
