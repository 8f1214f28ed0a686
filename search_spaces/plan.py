"""Genotype + input size -> Plan: every grid, width and token count of a network, before anything is built."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import search_spaces.bridges
import search_spaces.downsamplers
import search_spaces.ffn
import search_spaces.fusions
import search_spaces.heads
import search_spaces.locals
import search_spaces.norms
import search_spaces.positions
import search_spaces.reducers
import search_spaces.stems  # noqa: F401  every family registers its members
from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS
from search_spaces.parts import DOWNSAMPLERS, POSITIONS, REDUCERS, STEMS, Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    mixers: tuple[Atom, ...]  # one, or two that share the heads
    shape: Shape
    number: int  # of the block in the network, from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage, or one branch, on `grid`. `prefix` counts class token and registers inside the stage."""

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
    def stems(self) -> tuple[tuple[Atom, Grid], ...]:
        """(stem, size in which it sees the image), two where there are two branches."""
        if self.genotype.topology != "dual":
            return ((self.genotype.stem, self.image_size),)
        return branch_stem(self.genotype.stem, self.image_size), branch_stem(self.genotype.stem_b, self.image_size)

    @property
    def last_shapes(self) -> tuple[Shape, ...]:
        """Of what each head receives: one, or one for each branch."""
        if self.genotype.topology != "dual":
            return (self.last_shape,)
        return tuple(stage.blocks[-1].shape for stage in self.stages)

    @property
    def last_shape(self) -> Shape:
        """Of what the last stage ends with."""
        stage = self.stages[-1]
        last = stage.blocks[-1].shape
        if stage.reduction is None:
            return last
        after, reducer = stage.reduction
        if REDUCERS[reducer.kind].restores:
            return replace(last, tokens=stage.blocks[0].shape.tokens)
        return _reduced(last, reducer) if after == len(stage.blocks) else last


def square(image_size: int | Grid) -> Grid:
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def plan(genotype: Genotype, *, image_size: int | Grid, in_chans: int = 3, classes: int = 1000) -> Plan:
    """Resolve all sizes. Raises UserError when the image is too small to leave a token."""
    image = square(image_size)
    stages = _plan_branches(genotype, image) if genotype.topology == "dual" else _plan_stages(genotype, image)
    return Plan(genotype=genotype, image_size=image, in_chans=in_chans, classes=classes, stages=tuple(stages))


def _plan_stages(genotype: Genotype, image: Grid) -> Iterator[StagePlan]:
    grid = _stem_grid(genotype.stem, image)
    width = genotype.stages[0].width
    for index, stage in enumerate(genotype.stages):
        in_grid = grid
        if stage.down.kind != "none":
            grid = DOWNSAMPLERS[stage.down.kind].grid(grid, **stage.down.params)
        if min(grid) < 1:
            raise _no_token(image, index, genotype.stem)
        yield _plan_stage(genotype, index, width, in_grid, grid)
        width = stage.width


def _plan_branches(genotype: Genotype, image: Grid) -> Iterator[StagePlan]:
    for index, (stage, atom) in enumerate(zip(genotype.stages, (genotype.stem, genotype.stem_b), strict=True)):
        stem, size = branch_stem(atom, image)
        grid = _stem_grid(stem, size)
        if min(grid) < 1:
            raise _no_token(size, index, stem)
        yield _plan_stage(genotype, index, stage.width, grid, grid)


def _stem_grid(stem: Atom, image: Grid) -> Grid:
    return STEMS[stem.kind].grid(image, **stem.params)


def _no_token(image: Grid, index: int, stem: Atom) -> UserError:
    return UserError(f"an image of {image[0]}x{image[1]} leaves no token in stage {index + 1} ({stem})")


def branch_stem(atom: Atom, image: Grid) -> tuple[Atom, Grid]:
    """The stem of a branch and the size in which it sees the image, `scale` times as high and wide."""
    params = atom.params
    scale = params.pop("scale", 1)
    return Atom(atom.kind, **params), (round(image[0] * scale), round(image[1] * scale))


def exchanges(genotype: Genotype) -> tuple[int, Atom]:
    """(times that the branches of a dual network meet, fusion without its number)."""
    params = genotype.fusion.params
    times = params.pop("times", 3)
    return times, Atom(genotype.fusion.kind, **params)


def _plan_stage(genotype: Genotype, index: int, in_dim: int, in_grid: Grid, grid: Grid) -> StagePlan:
    stage, dual = genotype.stages[index], genotype.topology == "dual"
    last = dual or index == len(genotype.stages) - 1
    cls_token, registers = last and genotype.cls_token, genotype.registers if last else 0
    shape = Shape(
        dim=stage.width, heads=stage.heads, head_dim=stage.head_dim,
        grid=grid, tokens=grid[0] * grid[1], prefix=cls_token + registers,
    )  # fmt: skip
    reduction = reduction_point(genotype) if last else None
    if reduction is not None and _reduced(shape, reduction[1]).tokens >= shape.tokens:
        reduction = None  # nothing to leave out
    first = sum(s.depth for s in genotype.stages[:index])
    blocks = _plan_blocks(stage, shape, reduction, first)
    start, after = _positions(genotype.position, 0 if dual else index)
    return StagePlan(
        stage=stage, in_dim=in_dim, in_grid=in_grid, grid=grid, cls_token=cls_token, registers=registers,
        position=start, position_after=after, blocks=tuple(blocks), reduction=reduction,
    )  # fmt: skip


def _plan_blocks(stage: Stage, shape: Shape, reduction: tuple[int, Atom] | None, first: int) -> list[BlockPlan]:
    mixers, blocks = stage.mixers(), []
    memory = remembered(mixers, cut=reduction[0] if reduction is not None else None)
    for i, atoms in enumerate(mixers):
        if reduction is not None and reduction[0] == i:
            shape = _reduced(shape, reduction[1])
        given, wanted = memory.get(i, (False, False))
        own = replace(shape, given=given, wanted=wanted) if given or wanted else shape
        blocks.append(BlockPlan(mixers=atoms, shape=own, number=first + i))
    return blocks


def remembered(mixers: list[tuple[Atom, ...]], cut: int | None = None) -> dict[int, tuple[bool, bool]]:
    """Block of a stage -> (it is given what it recalls, what it leaves is wanted), where either holds.

    Nothing is remembered across the token reduction in front of block `cut`.
    """
    kinds = [MIXERS[atoms[0].kind] if len(atoms) == 1 else None for atoms in mixers]
    if not any(kind is not None and kind.recalls for kind in kinds):
        return {}
    found = [[False, False] for _ in kinds]
    writers: dict[str, int] = {}
    for i, kind in enumerate(kinds):
        writers = {} if i == cut else writers
        if kind is not None and kind.recalls in writers:
            found[i][0] = True
            found[writers[kind.recalls]][1] |= kind.recalls != "output"
        if mixers[i][0].kind != "none":
            writers["output"] = i
        if kind is not None and kind.leaves:
            writers[kind.leaves] = i
    return {i: (given, wanted) for i, (given, wanted) in enumerate(found) if given or wanted}


def reduction_point(genotype: Genotype) -> tuple[int, Atom] | None:
    """(blocks of the last stage before the reduction, reducer without its place), or None."""
    if genotype.reduction.kind == "none":
        return None
    params = genotype.reduction.params
    place = max(1, round(params.pop("at", 0.5) * genotype.stages[-1].depth))
    return place, Atom(genotype.reduction.kind, **params)


def _reduced(shape: Shape, reducer: Atom) -> Shape:
    kept = REDUCERS[reducer.kind].kept(shape.tokens, **reducer.params)
    return replace(shape, tokens=kept, grid=None, sized=REDUCERS[reducer.kind].sizes(**reducer.params))


def _positions(position: Atom, index: int) -> tuple[Atom | None, Atom | None]:
    if position.kind == "none":
        return None, None
    place = POSITIONS[position.kind].place(**position.params)
    start = position if place == "every stage" or (place == "first stage" and index == 0) else None
    return start, position if place == "after first block" else None
