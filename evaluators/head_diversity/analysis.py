"""measure_heads: all measures of all layers of a network, on a data set."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evaluators.data.dataset import Dataset
from evaluators.head_diversity.layers import HeadLayer, head_layers, listening
from evaluators.head_diversity.maps import Asked, Grid, asking, attention_map
from evaluators.head_diversity.measures import (
    attention_distance,
    disagreement,
    effective_heads,
    entropy,
    mean_cosine,
    output_cosines,
)
from evaluators.head_diversity.specialisation import THRESHOLD, Specialisation, specialisation
from search_spaces.mixers import Core


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Where heads look. heads: those that have a map. distances: per head, in patches; None without a grid."""

    heads: int
    disagreement: float | None
    entropy: float
    distances: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerHeads:
    """One layer. effective: heads that differ, from 1 to `heads`; cosine: between the outputs of two heads.

    look: None where no head has an attention map. specialisation: None for data with fewer than two labels.
    """

    layer: str
    path: str
    mechanism: str
    heads: int
    effective: float
    cosine: float | None
    look: Look | None
    specialisation: Specialisation | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """How many images each measure takes: outputs, maps (with `queries` each), the probe on training and held-out."""

    outputs: int = 64
    maps: int = 4
    queries: int = 32
    probe: int = 1024
    held_out: int = 512


def measure_heads(
    network: nn.Module,
    data: Dataset,
    *,
    device: torch.device | str = "cpu",
    samples: Samples = Samples(),
    threshold: float = THRESHOLD,
    seed: int = 0,
) -> list[LayerHeads]:
    """Every layer with heads, in order; empty if there is none. threshold: of the clusters, see `specialisation`.

    Measures are taken on the validation split; the probe learns on the training split.
    """
    layers, generator = head_layers(network), torch.Generator().manual_seed(seed)
    train = _balanced(data.train_y, samples.probe, generator)
    held = _balanced(data.val_y, samples.held_out, generator)
    with _measuring(network, device):
        images = _normalised(data.val_x[held[: samples.outputs]], data).to(device)
        outputs = _outputs(network, layers, images)
        layers = [layer for i, layer in enumerate(layers) if i in outputs]
        lengths = [length for _, length in outputs.values()]
        looks = _looks(network, layers, lengths, images[: samples.maps], samples.queries, generator)
        nodes = [_nodes(network, layers, x[rows], data) for x, rows in ((data.train_x, train), (data.val_x, held))]
    on_train, on_held = data.train_y[train], data.val_y[held]
    special = [
        specialisation((x, on_train), (y, on_held), len(cosines), threshold=threshold)
        for x, y, (cosines, _) in zip(*nodes, outputs.values(), strict=True)
    ]
    cosines = [cosines for cosines, _ in outputs.values()]
    return [_summary(*facts) for facts in zip(layers, cosines, looks, special, strict=True)]


def _summary(layer: HeadLayer, cosines: Tensor, look: Look | None, special: Specialisation | None) -> LayerHeads:
    return LayerHeads(
        layer=layer.name,
        path=layer.path,
        mechanism=layer.mechanism,
        heads=len(cosines),
        effective=effective_heads(cosines),
        cosine=mean_cosine(cosines) if len(cosines) > 1 else None,
        look=look,
        specialisation=special,
    )


def _outputs(network: nn.Module, layers: list[HeadLayer], images: Tensor) -> dict[int, tuple[Tensor, int]]:
    """Cosines of the heads, and number of tokens, of every layer that was heard."""
    found: dict[int, tuple[Tensor, int]] = {}

    def hear(index: int, outputs: Tensor) -> None:
        found[index] = output_cosines(outputs).cpu(), outputs.shape[2]

    with listening(layers, hear):
        network(images)
    return dict(sorted(found.items()))


def _nodes(network: nn.Module, layers: list[HeadLayer], images: Tensor, data: Dataset) -> list[Tensor]:
    """Head outputs averaged over the tokens, (n, heads · d) for each layer."""
    found: list[list[Tensor]] = [[] for _ in layers]
    device = next(network.parameters()).device
    with listening(layers, lambda i, outputs: found[i].append(outputs.mean(dim=2).flatten(1).cpu())):
        for batch in images.split(64):
            network(_normalised(batch, data).to(device))
    return [torch.cat(parts) for parts in found]


def _looks(
    network: nn.Module,
    layers: list[HeadLayer],
    lengths: list[int],
    images: Tensor,
    queries: int,
    generator: torch.Generator,
) -> list[Look | None]:
    with asking([core for layer in layers for core in layer.cores]) as asked:
        network(images)
    looking = [
        [core for core in layer.cores if core in asked and _tokens(core, asked) == length]
        for layer, length in zip(layers, lengths, strict=True)
    ]
    return [_look(cores, asked, queries, generator) for cores in looking]


def _tokens(core: Core, asked: Asked) -> int:
    """That ask, without a pad."""
    return asked[core][0].shape[2] - int(core.sees_pads)


def _look(cores: list[Core], asked: Asked, queries: int, generator: torch.Generator) -> Look | None:
    if not cores:
        return None
    grid: Grid | None = cores[0].made_with.get("grid")
    batch, tokens = len(asked[cores[0]][0]), _tokens(cores[0], asked)
    prefix = tokens - grid[0] * grid[1] if grid else 0
    rows = torch.rand(batch, tokens - prefix, generator=generator).argsort(dim=1)[:, :queries] + prefix
    rows = rows.to(asked[cores[0]][0].device)
    maps = [m for core in cores if (m := attention_map(core, *asked[core], rows)) is not None]
    if not maps:
        return None
    joined = torch.cat(maps, dim=1)  # (B, h, R, P + N)
    return Look(
        heads=joined.shape[1],
        disagreement=disagreement(joined) if joined.shape[1] > 1 else None,
        entropy=entropy(joined).mean().item(),
        distances=None if grid is None else _distances(joined[..., prefix:], rows - prefix, grid),
    )


def _distances(patches: Tensor, rows: Tensor, grid: Grid) -> tuple[float, ...]:
    """Among patches alone: what goes to prefix tokens, which have no place, is left out."""
    shares = patches / patches.sum(dim=3, keepdim=True).clamp_min(1e-9)
    return tuple(attention_distance(shares, rows, grid).tolist())


def _balanced(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` rows in random order, as many of each label as there are."""
    order = torch.randperm(len(labels), generator=generator)
    turns = torch.empty(len(labels), dtype=torch.long)  # the how-manieth of its label each row is
    for label in torch.unique(labels):
        own = (labels[order] == label).nonzero().flatten()
        turns[own] = torch.arange(len(own))
    return order[turns.argsort(stable=True)][:count]


def _normalised(images: Tensor, data: Dataset) -> Tensor:
    mean, std = torch.tensor((data.mean, data.std))[:, None, :, None, None]
    return (images / 255 - mean) / std


@contextmanager
def _measuring(network: nn.Module, device: torch.device | str) -> Iterator[None]:
    """On the device, in evaluation mode, without gradients; afterwards in the mode it was."""
    was_training = network.training
    network.to(device).eval()
    with ExitStack() as stack:
        stack.callback(network.train, was_training)
        stack.enter_context(torch.no_grad())
        yield
