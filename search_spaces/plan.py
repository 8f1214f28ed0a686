"""Genotype + input size -> Plan: every grid, width and token count of a network, before anything is built."""

from dataclasses import dataclass, replace

import search_spaces.downsamplers
import search_spaces.ffn
import search_spaces.heads
import search_spaces.locals
import search_spaces.norms
import search_spaces.positions
import search_spaces.reducers
import search_spaces.stems  # noqa: F401  every family registers its members
from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from search_spaces.costs import Shape
from search_spaces.parts import DOWNSAMPLERS, POSITIONS, REDUCERS, STEMS, Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    mixers: tuple[Atom, ...]  # one, or two that share the heads
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage on `grid`. `prefix` counts class token and registers inside the stage."""

    stage: Stage
    in_dim: int
    in_grid: Grid
    grid: Grid
    cls_token: bool
    registers: int
    position: Atom | None  # added at the start of the stage
    position_after: Atom | None  # applied after the first block
    blocks: tuple[BlockPlan, ...]
    reduction: tuple[int, Atom] | None  # (blocks before it, reducer); None where it would keep all tokens

    @property
    def prefix(self) -> int:
        return self.cls_token + self.registers


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    genotype: Genotype
    image_size: Grid
    in_chans: int
    classes: int
    stages: tuple[StagePlan, ...]

    @property
    def last_shape(self) -> Shape:
        """Of what the head receives."""
        stage = self.stages[-1]
        last = stage.blocks[-1].shape
        if stage.reduction is not None and stage.reduction[0] == len(stage.blocks):
            return _reduced(last, stage.reduction[1])
        return last


def square(image_size: int | Grid) -> Grid:
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def plan(genotype: Genotype, *, image_size: int | Grid, in_chans: int = 3, classes: int = 1000) -> Plan:
    """Resolve all sizes. Raises UserError when the image is too small to leave a token."""
    image = square(image_size)
    stem = genotype.stem
    grid = STEMS[stem.kind].grid(image, **stem.params)
    width = genotype.stages[0].width
    stages = []
    for index, stage in enumerate(genotype.stages):
        in_grid = grid
        if stage.down.kind != "none":
            grid = DOWNSAMPLERS[stage.down.kind].grid(grid, **stage.down.params)
        if min(grid) < 1:
            raise UserError(f"an image of {image[0]}x{image[1]} leaves no token in stage {index + 1} ({stem})")
        stages.append(_plan_stage(genotype, index, width, in_grid, grid))
        width = stage.width
    return Plan(genotype=genotype, image_size=image, in_chans=in_chans, classes=classes, stages=tuple(stages))


def _plan_stage(genotype: Genotype, index: int, in_dim: int, in_grid: Grid, grid: Grid) -> StagePlan:
    stage, last = genotype.stages[index], index == len(genotype.stages) - 1
    cls_token, registers = last and genotype.cls_token, genotype.registers if last else 0
    shape = Shape(
        dim=stage.width, heads=stage.heads, head_dim=stage.head_dim,
        grid=grid, tokens=grid[0] * grid[1], prefix=cls_token + registers,
    )  # fmt: skip
    reduction = reduction_point(genotype) if last else None
    if reduction is not None and _reduced(shape, reduction[1]).tokens >= shape.tokens:
        reduction = None  # nothing to leave out
    blocks = []
    for i, mixers in enumerate(stage.mixers()):
        if reduction is not None and reduction[0] == i:
            shape = _reduced(shape, reduction[1])
        blocks.append(BlockPlan(mixers=mixers, shape=shape))
    start, after = _positions(genotype.position, index)
    return StagePlan(
        stage=stage, in_dim=in_dim, in_grid=in_grid, grid=grid, cls_token=cls_token, registers=registers,
        position=start, position_after=after, blocks=tuple(blocks), reduction=reduction,
    )  # fmt: skip


def reduction_point(genotype: Genotype) -> tuple[int, Atom] | None:
    """(blocks of the last stage before the reduction, reducer without its place), or None."""
    if genotype.reduction.kind == "none":
        return None
    params = genotype.reduction.params
    place = max(1, round(params.pop("at", 0.5) * genotype.stages[-1].depth))
    return place, Atom(genotype.reduction.kind, **params)


def _reduced(shape: Shape, reducer: Atom) -> Shape:
    kept = REDUCERS[reducer.kind].kept(shape.tokens, **reducer.params)
    return replace(shape, tokens=kept, grid=None)


def _positions(position: Atom, index: int) -> tuple[Atom | None, Atom | None]:
    if position.kind == "none":
        return None, None
    place = POSITIONS[position.kind].place(**position.params)
    start = position if place == "every stage" or (place == "first stage" and index == 0) else None
    return start, position if place == "after first block" else None
