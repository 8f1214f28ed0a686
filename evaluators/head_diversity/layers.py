"""The layers of a network that have heads, and what their heads put out in front of the projection that mixes them."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.mixers import MIXERS, Attention, Core, Mixer

Hear = Callable[[int, Tensor], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLayer:
    """One layer. name: "2.1" is the first block of the second stage, "2a.1" that of its branch a. path: of the module
    in the network. ends: each projection behind heads, with their number, in the order of the modules."""

    name: str
    path: str
    mechanism: str
    module: nn.Module
    ends: tuple[tuple[nn.Linear, int], ...]

    @property
    def cores(self) -> tuple[Core, ...]:
        return tuple(m for m in self.module.modules() if isinstance(m, Core))


def head_layers(network: nn.Module) -> list[HeadLayer]:
    """Every token mixer that projects heads lying side by side: a child `proj...` beside `num_heads` or `heads`."""
    mixers = {p: m for p, m in network.named_modules() if isinstance(m, Attention | Mixer) and not isinstance(m, Core)}
    found = []
    for path, module in mixers.items():
        ends = tuple(_ends(module))
        if ends and not any(path.startswith(f"{other}.") for other in mixers):
            found.append(HeadLayer(name=_name(path), path=path, mechanism=_mechanism(module), module=module, ends=ends))
    return found


@contextmanager
def listening(layers: list[HeadLayer], hear: Hear) -> Iterator[None]:
    """While open, each pass through layers[i] calls hear(i, outputs) with (B, h, L, d), h heads of d channels.

    Heads that answer for other tokens than the layer does, such as those that gather into latents, are left out.
    """
    with ExitStack() as hooks:
        for index, layer in enumerate(layers):
            _listen(hooks, index, layer, hear)
        yield


def _listen(hooks: ExitStack, index: int, layer: HeadLayer, hear: Hear) -> None:
    pieces: list[Tensor] = []

    def take(_: nn.Module, args: tuple[Tensor, ...], heads: int) -> None:
        if args[0].dim() == 3:
            pieces.append(args[0].unflatten(2, (heads, -1)).transpose(1, 2))

    def join(_: nn.Module, _args: Any, output: Tensor) -> None:
        own = [p for p in pieces if p.shape[2] == output.shape[1]]
        pieces.clear()
        if own:
            hear(index, torch.cat([p for p in own if p.shape[3] == own[0].shape[3]], dim=1))

    for end, heads in layer.ends:
        hook = end.register_forward_pre_hook(lambda module, args, heads=heads: take(module, args, heads))
        hooks.callback(hook.remove)
    hooks.callback(layer.module.register_forward_hook(join).remove)


def _ends(module: nn.Module) -> Iterator[tuple[nn.Linear, int]]:
    for part in module.modules():
        heads = getattr(part, "num_heads", getattr(part, "heads", None))
        for name, end in part.named_children():
            if name.startswith("proj") and isinstance(end, nn.Linear) and isinstance(heads, int):
                yield end, heads


def _name(path: str) -> str:
    match = re.match(r"stages\.(\d+)\.(?:(\w+)\.)?blocks\.(\d+)\.mixer\.?(.*)", path)
    if match is None:
        return path
    stage, branch, block, inside = match.groups(default="")
    return f"{int(stage) + 1}{branch}.{int(block) + 1} {inside}".rstrip()


def _mechanism(module: nn.Module) -> str:
    """Names as they are registered; a part of a mechanism goes by its file, which has the mechanism's name."""
    parts = module.cores if isinstance(module, Attention) else [module]
    names: dict[type[nn.Module], str] = {kind: name for name, kind in MIXERS.items()}
    return " | ".join(dict.fromkeys(names.get(type(p), type(p).__module__.rpartition(".")[2]) for p in parts))
