"""A unit as a network of its own, to be measured: what the measuring process builds from words and numbers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.device_profile.units import Unit
from nas.genotype import NONE, Atom, Stage
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS, Memory
from search_spaces.model import ExtraTokens, Network, build_block
from search_spaces.parts import DOWNSAMPLERS, HEADS, POSITIONS, REDUCERS, STEMS, head_norm, make_norm
from search_spaces.plan import BlockPlan
from search_spaces.structures import BRIDGES, FUSIONS

Sizes = dict[str, Any]


def unit_network(unit: dict[str, Any]) -> nn.Module:
    """The network of a unit in JSON. Takes images (B, *input_size(unit)), which hold the unit's tokens."""
    parsed = Unit.from_json(unit)
    atoms, sizes = dict(parsed.atoms), dict(parsed.numbers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = BUILD[parsed.part](atoms, sizes)
        Network.init_weights(network)  # type: ignore[arg-type]  # memory left as found holds numbers that are slow
    return network


def input_size(unit: Unit) -> tuple[int, int, int]:
    """(channels, height, width) of the images that a unit's network takes: of a stem's input, else tokens by channels.

    A tensor (B, L, C, 1) is read as tokens (B, L, C) without a copy.
    """
    n = {k: int(v) for k, v in unit.numbers}
    if unit.part == "stem":
        return n["in_chans"], n["height"], n["width"]
    if unit.part in ("fusion", "bridge"):
        return 1, sum(length * dim for length, dim in _lengths(unit.part, n)), 1
    tokens = n["tokens"] if "tokens" in n else n["height"] * n["width"]
    prefix = 0 if unit.part == "tokens" else n.get("prefix", 0)
    return tokens + prefix, n["in_dim"] if "in_dim" in n else n["dim"], 1


class UnitNetwork(nn.Module):
    """Calls a part with tokens (B, L, C), which come as images (B, L, C, 1)."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Any:
        return self.part(x.squeeze(-1))


class Recalling(nn.Module):
    """A block that works on what earlier ones left: computed once by `writers`, and the same in every later call."""

    def __init__(self, block: nn.Module, writers: list[nn.Module], sized: bool) -> None:
        super().__init__()
        self.block, self.writers, self.sized = block, nn.ModuleList(writers), sized
        self.memory: Memory | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.memory is None:
            self.memory = self._written(x)
        out: Tensor = self.block(x, dict(self.memory))
        return out

    def _written(self, x: Tensor) -> Memory:
        memory: Memory = {"sizes": torch.ones_like(x[..., :1])} if self.sized else {}
        with torch.no_grad():
            for writer in self.writers:
                writer(x, memory)
        return {name: tensor.detach() for name, tensor in memory.items()}


class Joined(nn.Module):
    """Calls a part with the tokens of several stages, which lie end to end in x: (B, 1, sum of L_i C_i, 1)."""

    def __init__(self, part: nn.Module, shapes: list[tuple[int, int]], apart: bool) -> None:
        super().__init__()
        self.part, self.shapes, self.apart = part, shapes, apart

    def forward(self, x: Tensor) -> Any:
        pieces = x.flatten(1).split([length * dim for length, dim in self.shapes], dim=1)
        tokens = [p.unflatten(1, shape) for p, shape in zip(pieces, self.shapes, strict=True)]
        return self.part(*tokens) if self.apart else self.part(tokens)


def _block(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    """A block with a mixer alone, a feed-forward alone or a convolution alone."""
    shape = _shape(n)
    stage = Stage(
        width=shape.dim, depth=1, head_dim=shape.head_dim, a=atoms.get("mixer", NONE), b=atoms.get("mixer_b"),
        mode="headmix" if "mixer_b" in atoms else "alternate", share=n.get("first", shape.heads) / shape.heads,
        ffn=atoms.get("ffn", NONE), local=atoms.get("local", NONE), norm=atoms["norm"],
        layer_scale=1e-5 if n["scaled"] else None,
    )  # fmt: skip
    block = build_block(stage, BlockPlan(mixers=stage.mixers()[0], shape=shape, number=0), 0.0)
    if "local" in atoms and block.before_ffn is not None:
        block.before_ffn = None  # a unit is one of the two
    if "mixer" not in atoms or not block.remembers:
        return UnitNetwork(block)
    return UnitNetwork(Recalling(block, _writers(stage, shape), shape.sized))


def _writers(stage: Stage, shape: Shape) -> list[nn.Module]:
    """Blocks that leave what this one recalls: one of its own kind, or one with plain attention."""
    if not shape.given:
        return []
    kind = MIXERS[stage.a.kind]
    first = replace(shape, given=False, wanted=kind.recalls != "output")
    own = kind.leaves != "" and kind.check(first, **stage.a.params) is None
    return [build_block(stage, BlockPlan(mixers=(stage.a if own else Atom("softmax"),), shape=first, number=0), 0.0)]


def _shape(n: Sizes) -> Shape:
    dim = int(n["dim"])
    return Shape(
        dim=dim, heads=int(n.get("heads", 1)), head_dim=int(n.get("head_dim", dim)), grid=_grid(n),
        tokens=int(n["tokens"]), prefix=int(n["prefix"]), given=bool(n.get("given")), wanted=bool(n.get("wanted")),
        sized=bool(n.get("sized")),
    )  # fmt: skip


def _grid(n: Sizes) -> tuple[int, int] | None:
    return (int(n["height"]), int(n["width"])) if n["height"] else None


def _stem(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    stem = atoms["stem"]
    return STEMS[stem.kind](in_chans=n["in_chans"], dim=n["dim"], image_size=_grid(n), **stem.params)


def _down(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    down = atoms["down"]
    return UnitNetwork(DOWNSAMPLERS[down.kind](dim=n["in_dim"], out_dim=n["dim"], grid=_grid(n), **down.params))


def _position(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    position = atoms["position"]
    return UnitNetwork(POSITIONS[position.kind](dim=n["dim"], grid=_grid(n), prefix=n["prefix"], **position.params))


def _tokens(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    return UnitNetwork(ExtraTokens(n["dim"], n["prefix"]))


def _reduction(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    reducer = atoms["reduction"]
    return UnitNetwork(REDUCERS[reducer.kind](dim=n["dim"], tokens=n["tokens"], prefix=n["prefix"], **reducer.params))


def _norm(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    return UnitNetwork(make_norm(atoms["norm"], n["dim"]))


def _head(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    head, norm = atoms["head"], head_norm(atoms["norm"])
    return UnitNetwork(
        HEADS[head.kind](dim=n["dim"], classes=n["classes"], prefix=n["prefix"], norm=norm, **head.params)
    )


def _fusion(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    dims, heads = ([int(n[f"{name}{i}"]) for i in range(2)] for name in ("dim", "heads"))
    fusion = FUSIONS[atoms["fusion"].kind](dims=dims, heads=heads, **atoms["fusion"].params)
    return Joined(fusion, _lengths("fusion", n), apart=True)


def _bridge(atoms: dict[str, Atom], n: Sizes) -> nn.Module:
    shapes = _lengths("bridge", n)
    grids = [(int(n[f"height{i}"]), int(n[f"width{i}"])) for i in range(len(shapes))]
    bridge = BRIDGES[atoms["bridge"].kind](dims=[dim for _, dim in shapes], grids=grids, **atoms["bridge"].params)
    return Joined(bridge, shapes, apart=False)


def _lengths(part: str, n: Sizes) -> list[tuple[int, int]]:
    """(tokens, channels) of every stage; branches have a class token besides."""
    stages = sum(name.startswith("dim") for name in n)
    extra = int(part == "fusion")
    return [(int(n[f"height{i}"] * n[f"width{i}"]) + extra, int(n[f"dim{i}"])) for i in range(stages)]


BUILD: dict[str, Callable[[dict[str, Atom], Sizes], nn.Module]] = {
    "stem": _stem, "down": _down, "position": _position, "tokens": _tokens, "mixer": _block, "local": _block,
    "ffn": _block, "reduction": _reduction, "norm": _norm, "head": _head, "fusion": _fusion, "bridge": _bridge,
}  # fmt: skip
