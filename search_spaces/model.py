"""Genotype -> nn.Module. The walk over a Plan here and in evaluators/cost.py is the same; tests hold them together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.genotype import Atom, Genotype, Stage
from search_spaces.dual import Branch, BranchStem, DualHead, DualStage, DualStem
from search_spaces.layer import Layer
from search_spaces.mixers import Memory, build_mixer, normed, remembers
from search_spaces.parts import (
    DOWNSAMPLERS,
    FFNS,
    HEADS,
    LOCALS,
    POSITIONS,
    REDUCERS,
    STEMS,
    Grid,
    Identity,
    head_norm,
    make_norm,
    out_norm,
    split_norm,
)
from search_spaces.plan import BlockPlan, Plan, StagePlan, exchanges, plan
from search_spaces.structures import BRIDGES, FUSIONS


def build(
    genotype: Genotype,
    *,
    image_size: int | Grid,
    in_chans: int = 3,
    classes: int = 1000,
    drop_path: float = 0.0,
    seed: int = 0,
) -> "Network":
    """The network of a genotype for one input size, with weights drawn from `seed`.

    Maps images (B, in_chans, H, W) to logits (B, classes). drop_path: the stochastic depth of the last block, rising
    linearly from 0. Raises UserError when the image leaves no token.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_plan(plan(genotype, image_size=image_size, in_chans=in_chans, classes=classes), drop_path)


def build_plan(resolved: Plan, drop_path: float = 0.0) -> "Network":
    if resolved.genotype.topology == "dual":
        return _build_dual(resolved, drop_path)
    genotype, depth, start, stages = resolved.genotype, sum(len(s.blocks) for s in resolved.stages), 0, []
    for stage in resolved.stages:
        rates = [drop_path * i / max(1, depth - 1) for i in range(start, start + len(stage.blocks))]
        stages.append(_build_stage(stage, rates))
        start += len(stage.blocks)
    bridge = None
    if genotype.bridge.kind != "none":
        dims, grids = tuple(s.stage.width for s in resolved.stages), tuple(s.grid for s in resolved.stages)
        bridge = BRIDGES[genotype.bridge.kind](dims=dims, grids=grids, **genotype.bridge.params)
    stem, head = _build_stem(resolved, 0), _build_head(resolved, resolved.stages[-1])
    network = Network(stem, stages, head, resolved.image_size, bridge)
    network.init_weights()
    return network


def _build_stem(resolved: Plan, index: int) -> Layer:
    stem, size = resolved.stems[index]
    return STEMS[stem.kind](
        in_chans=resolved.in_chans, dim=resolved.stages[index].stage.width, image_size=size, **stem.params
    )


def _build_head(resolved: Plan, last: StagePlan) -> Layer:
    head = resolved.genotype.head
    return HEADS[head.kind](
        dim=last.stage.width, classes=resolved.classes, prefix=last.prefix, norm=head_norm(last.stage.norm),
        **head.params,
    )  # fmt: skip


def _build_dual(resolved: Plan, drop_path: float) -> "Network":
    (a, b), (times, fusion) = resolved.stages, exchanges(resolved.genotype)
    dims, heads = (a.stage.width, b.stage.width), (a.stage.heads, b.stage.heads)
    stages = [
        DualStage(
            a=_build_branch(a, time, times, drop_path),
            b=_build_branch(b, time, times, drop_path),
            fusion=FUSIONS[fusion.kind](dims=dims, heads=heads, **fusion.params),
        )
        for time in range(times)
    ]
    stem = DualStem(*(_build_branch_stem(resolved, index) for index in range(2)))
    head = DualHead(*(_build_head(resolved, branch) for branch in resolved.stages))
    network = Network(stem, stages, head, resolved.image_size)
    network.init_weights()
    return network


def _build_branch_stem(resolved: Plan, index: int) -> BranchStem:
    branch, size = resolved.stages[index], resolved.stems[index][1]
    return BranchStem(
        size=None if size == resolved.image_size else size,
        stem=_build_stem(resolved, index),
        cls_token=ExtraTokens(branch.stage.width, 1),
        position=_build_position(branch.position, branch),
    )


def _build_branch(branch: StagePlan, time: int, times: int, drop_path: float) -> Branch:
    """The blocks in front of one of so many exchanges. Stochastic depth rises along each branch."""
    depth = len(branch.blocks)
    numbers = range(time * depth // times, (time + 1) * depth // times)
    return Branch(
        blocks=[build_block(branch.stage, branch.blocks[i], drop_path * i / max(1, depth - 1)) for i in numbers],
        position_after=Identity() if time else _build_position(branch.position_after, branch),
    )


def _build_stage(resolved: StagePlan, drop_path: list[float]) -> "EncoderStage":
    stage, grid = resolved.stage, resolved.grid
    down: Layer = Identity()
    if stage.down.kind != "none":
        down = DOWNSAMPLERS[stage.down.kind](
            dim=resolved.in_dim, out_dim=stage.width, grid=resolved.in_grid, **stage.down.params
        )
    blocks = [build_block(stage, b, p) for b, p in zip(resolved.blocks, drop_path, strict=True)]
    reducer: Layer = Identity()
    reduce_after, restores, sizes = 0, False, False
    if resolved.reduction is not None:
        reduce_after, atom = resolved.reduction
        restores, sizes = REDUCERS[atom.kind].restores, REDUCERS[atom.kind].sizes(**atom.params)
        reducer = REDUCERS[atom.kind](dim=stage.width, tokens=grid[0] * grid[1], prefix=resolved.prefix, **atom.params)
    return EncoderStage(
        down=down,
        cls_token=ExtraTokens(stage.width, 1) if resolved.cls_token else Identity(),
        position=_build_position(resolved.position, resolved),
        registers=ExtraTokens(stage.width, resolved.registers, after=int(resolved.cls_token))
        if resolved.registers
        else Identity(),
        blocks=blocks,
        position_after=_build_position(resolved.position_after, resolved),
        reducer=reducer,
        reduce_after=reduce_after,
        restores=restores,
        sizes=sizes,
        norm=make_norm(out_norm(stage.norm), stage.width) if stage.norm_out else Identity(),
    )


def _build_position(atom: Atom | None, resolved: StagePlan) -> Layer:
    if atom is None:
        return Identity()
    return POSITIONS[atom.kind](
        dim=resolved.stage.width, grid=resolved.grid, prefix=int(resolved.cls_token), **atom.params
    )


def build_block(stage: Stage, block: BlockPlan, drop_path: float) -> "Block":
    shape, mixing, feeding = block.shape, block.mixers[0].kind != "none", stage.ffn.kind != "none"
    local = LOCALS[stage.local.kind] if stage.local.kind != "none" else None
    norm, place = split_norm(stage.norm)

    def convolution(*places: str) -> Layer | None:
        if local is None or local.place not in places:
            return None
        return local(dim=shape.dim, grid=shape.grid, **stage.local.params)

    between = convolution("between")
    return Block(
        before=convolution("before mixer", "before both"),
        norm1=make_norm(norm, shape.dim) if normed(block.mixers, place["norm_after"]) else None,
        mixer=build_mixer(block.mixers, stage.share, shape, block.number) if mixing else None,
        norm3=make_norm(norm, shape.dim) if between is not None else None,
        between=between,
        before_ffn=convolution("before both"),
        norm2=make_norm(norm, shape.dim) if feeding else None,
        ffn=FFNS[stage.ffn.kind](dim=shape.dim, grid=shape.grid, **stage.ffn.params) if feeding else None,
        dim=shape.dim,
        layer_scale=stage.layer_scale,
        drop_path=drop_path,
        remembers=mixing and remembers(block.mixers[0], shape),
        **place,
    )


class Network(Layer):
    """Stem, stages, head. (B, in_chans, H, W) -> (B, classes). bridge: reads what every stage ends with."""

    def __init__(
        self, stem: Layer, stages: Sequence[Layer], head: Layer, image_size: Grid, bridge: Layer | None = None
    ):
        super().__init__()
        self.image_size = image_size
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.bridge = bridge
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-2:]) != tuple(self.image_size):
            raise ValueError(
                f"built for images of {self.image_size}, got {tuple(x.shape[-2:])}; build it again for that size"
            )
        return self.head(self.features(x))

    def features(self, x: Tensor) -> Any:
        """(B, in_chans, H, W) -> tokens (B, P + N, C) in front of the head; of a dual network, of both branches."""
        x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            if self.bridge is not None:
                outputs.append(x)
        return x if self.bridge is None else self.bridge(outputs)

    def init_weights(self) -> None:
        """Scaled by fan-in, since the usual deviation of 0.02 starves networks of width 16 to 64; biases zero.

        Depth-wise convolutions go by fan-out. Measured on digits and CIFAR-10; see docs/decisions.md.
        """
        for module in self.modules():
            if not isinstance(module, nn.Linear | nn.Conv2d):
                continue
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.7 * fan_in**-0.5)
            elif module.groups == 1:
                nn.init.trunc_normal_(module.weight, std=fan_in**-0.5)
            else:
                nn.init.normal_(module.weight, std=(2 / fan_in) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, Layer):
                module.init_special()


class EncoderStage(Layer):
    """Blocks on one grid. Order: down-sampling, class token, position, registers, blocks, norm."""

    def __init__(
        self,
        down: Layer,
        cls_token: Layer,
        position: Layer,
        registers: Layer,
        blocks: "Sequence[Block]",
        position_after: Layer,
        reducer: Layer,
        reduce_after: int,
        restores: bool,
        norm: nn.Module,
        sizes: bool = False,
    ):
        super().__init__()
        self.down = down
        self.cls_token = cls_token
        self.position = position
        self.registers = registers
        self.blocks = nn.ModuleList(blocks)
        self.remembers = sizes or any(block.remembers for block in blocks)
        self.position_after = position_after
        self.reducer: Any = reducer
        self.reduce_after, self.restores, self.sizes = reduce_after, restores, sizes
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.registers(self.position(self.cls_token(self.down(x))))
        memory: Memory | None = {} if self.remembers else None
        aside: Tensor | None = None
        for done, block in enumerate(self.blocks, start=1):
            x = block(x, memory)
            if done == 1:
                x = self.position_after(x)
            if done == self.reduce_after and self.sizes:
                assert memory is not None
                x, memory["sizes"] = self.reducer(x)
            elif done == self.reduce_after:
                x, aside = self.reducer(x) if self.restores else (self.reducer(x), None)
        if aside is not None:
            x = self.reducer.restore(x, aside)
        return self.norm(x)


class Block(Layer):
    """x + mixer(norm x), then x + ffn(norm x), with convolutions before or between where the genotype has them.

    Parts that are None are left out with their norm and their residual. norm_after: x + norm mixer(x) instead, the
    residual post-norm of large FocalNets and of Swin V2 (arXiv 2111.09883). residual: start of factors on x itself.
    remembers: the mixer reads or writes what blocks of the stage leave for each other.
    """

    def __init__(
        self,
        before: Layer | None,
        norm1: nn.Module | None,
        mixer: Layer | None,
        norm3: nn.Module | None,
        between: Layer | None,
        before_ffn: Layer | None,
        norm2: nn.Module | None,
        ffn: Layer | None,
        dim: int,
        layer_scale: float | None,
        drop_path: float,
        norm_after: bool = False,
        residual: float | None = None,
        remembers: bool = False,
    ):
        super().__init__()
        self.before = before
        self.norm1, self.mixer, self.ls1 = norm1 or Identity(), mixer, _scale(mixer, dim, layer_scale)
        self.norm3, self.between, self.ls3 = norm3 or Identity(), between, _scale(between, dim, layer_scale)
        self.before_ffn = before_ffn
        self.norm2, self.ffn, self.ls2 = norm2 or Identity(), ffn, _scale(ffn, dim, layer_scale)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else Identity()
        self.norm_after, self.remembers = norm_after, remembers
        self.rs1, self.rs2, self.rs3 = (_scale(branch, dim, residual) for branch in (mixer, ffn, between))

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        if self.before is not None:
            x = self.before(x)
        if self.mixer is not None:
            x = self.rs1(x) + self.drop_path(self.ls1(self._mixed(x, memory)))
        if self.between is not None:
            x = self.rs3(x) + self.drop_path(self.ls3(self._normed(self.between, self.norm3, x)))
        if self.before_ffn is not None:
            x = self.before_ffn(x)
        if self.ffn is not None:
            x = self.rs2(x) + self.drop_path(self.ls2(self._normed(self.ffn, self.norm2, x)))
        return x

    def _mixed(self, x: Tensor, memory: Memory | None) -> Tensor:
        assert self.mixer is not None
        y = x if self.norm_after else self.norm1(x)
        y = self.mixer(y, memory) if self.remembers else self.mixer(y)
        if memory is not None:
            memory["output"] = y
        return self.norm1(y) if self.norm_after else y

    def _normed(self, branch: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
        return norm(branch(x)) if self.norm_after else branch(norm(x))


def _scale(branch: Layer | None, dim: int, start: float | None) -> Layer:
    return Identity() if branch is None or start is None else LayerScale(dim, start)


class LayerScale(Layer):
    """One learned factor per channel (CaiT, arXiv 2103.17239)."""

    def __init__(self, dim: int, start: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), float(start)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DropPath(Layer):
    """Stochastic depth (Huang et al., arXiv 1603.09382): drops a branch per sample while training."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class ExtraTokens(Layer):
    """Class token or registers (Darcet et al., arXiv 2309.16588): learned tokens put in at position `after`."""

    def __init__(self, dim: int, count: int, after: int = 0):
        super().__init__()
        self.after = after
        self.tokens = nn.Parameter(torch.zeros(1, count, dim))
        nn.init.normal_(self.tokens, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens.expand(x.shape[0], -1, -1)
        return torch.cat([x[:, : self.after], tokens, x[:, self.after :]], dim=1)
