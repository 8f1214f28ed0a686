"""`nas heads`: do the heads of a network differ, layer by layer, as a table and as plain data."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from evaluators.data import Dataset
from evaluators.head_diversity import LayerHeads, measure_heads
from nas.architecture import ArchitectureConfig
from nas.description import find_architecture
from nas.errors import UserError
from nas.listing import print_rows
from nas.retraining import read_option
from nas.worker import resolve_device
from search_spaces.files import load
from search_spaces.model import Network, build
from search_spaces.zoo import ZooEntry
from search_spaces.zoo.checkpoints import load_checkpoint

LEGEND = """
effective   heads that differ in what they put out, from 1 to heads; cosine: between the outputs of two heads
maps        heads with an attention map; JSD: how much the maps of the heads differ, from 0 to log heads
distance    how far heads look, in patches: mean and standard deviation over the heads
probe       accuracy of a linear probe on all heads; best alone: of the best single head; worst loss: without one
special     0 for heads that recognise all labels alike, 1 for one label each; overlap: of the labels that two heads own
coverage    share of labels that some head owns; clusters: groups of labels that excite each other in one head"""


def report_heads(config: str, *, weights: Path | None = None, data: str | None = None) -> dict[str, Any]:
    """The measures of every layer with heads of a config's or zoo network; see evaluators.head_diversity.

    weights: a file instead of the one that the config names. data: by default what the network was trained on.
    Raises UserError for what cannot be read, for a network without heads and when no data are named.
    """
    found = find_architecture(config)
    if isinstance(found, ZooEntry):
        network, pictures, used = _zoo_network(found, weights, data)
    else:
        network, pictures, used = _config_network(found, config, weights, data)
    layers = measure_heads(network, pictures, device=resolve_device("auto"))
    if not layers:
        raise UserError(f"{config}: none of its mechanisms has heads")
    fresh = () if used else (f"{config}: no weights are named, so these are the heads before any training",)
    for note in (*pictures.notes, *fresh):
        print(note, file=sys.stderr)
    rows = [asdict(layer) | _spread(layer) for layer in layers]
    return {"config": config, "weights": used, "data": pictures.name, "layers": rows}


def print_heads(report: dict[str, Any]) -> None:
    """One line per layer on stdout."""
    weights = report["weights"] or "fresh weights"
    print(f"{report['config']}: {weights}, measured on {report['data']}\n")
    print_rows([dict(_cells(layer)) for layer in report["layers"]])
    print(LEGEND)


def _config_network(
    config: ArchitectureConfig, path: str, weights: Path | None, data: str | None
) -> tuple[Network, Dataset, str | None]:
    pictures = _pictures(config, path, data)
    if weights is not None:
        return _filled(config, weights), pictures, str(weights)
    if config.weights is not None:
        return load(path), pictures, config.weights
    return config.build(), pictures, None


def _zoo_network(entry: ZooEntry, weights: Path | None, data: str | None) -> tuple[Network, Dataset, str | None]:
    pictures = read_option(_named(data, entry.name), image_size=entry.image_size, in_chans=3)
    if weights is not None:
        return load_checkpoint(entry.name, weights), pictures, str(weights)
    genotype = entry.build(entry.image_size)
    return build(genotype, image_size=entry.image_size, classes=entry.classes), pictures, None


def _pictures(config: ArchitectureConfig, path: str, data: str | None) -> Dataset:
    """At the network's input size and normalised as the network is used to; its own data split as in its training."""
    height, width = config.input.grid
    if height != width:
        raise UserError(f"{path}: built for {height}x{width} images; data are read as square ones")
    known = config.measured.conditions if config.measured is not None else None
    same = known is not None and data in (None, known.data)
    split = {"limit": known.limit, "seed": known.seed} if known is not None and same else {}
    source = known.data if known is not None and same else _named(data, path)
    found = read_option(source, image_size=height, in_chans=config.input.in_chans, **split)
    return replace(found, mean=config.input.mean, std=config.input.std)


def _named(data: str | None, config: str) -> str:
    if data is None:
        raise UserError(f"--data: {config} says nothing about its data; give a built-in data set or a path")
    return data


def _filled(config: ArchitectureConfig, path: Path) -> Network:
    if not path.is_file():
        raise UserError(f"--weights: {path}: no such file")
    network = config.build()
    try:
        network.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise UserError(f"--weights: {path}: not a safetensors file ({error})") from None
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()[:150]
        raise UserError(f"--weights: {path}: not of {config.name}: {first}") from None
    return network


def _spread(layer: LayerHeads) -> dict[str, float | None]:
    """Mean and standard deviation of the attention distance over the heads."""
    distances = None if layer.look is None else layer.look.distances
    if distances is None:
        return {"distance": None, "distance_std": None}
    return {"distance": fmean(distances), "distance_std": pstdev(distances)}


def _cells(layer: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    look, special = layer["look"], layer["specialisation"]
    yield from (("layer", layer["layer"]), ("mechanism", layer["mechanism"]), ("heads", layer["heads"]))
    yield "effective", f"{layer['effective']:.2f}"
    yield "cosine", _number(layer["cosine"])
    yield "maps", "no map" if look is None else f"{look['heads']}/{layer['heads']}"
    yield "JSD", _number(look and look["disagreement"])
    yield "entropy", _number(look and look["entropy"])
    yield "distance", "" if layer["distance"] is None else f"{layer['distance']:.2f} ± {layer['distance_std']:.2f}"
    yield "probe", _number(special and special["accuracy"])
    yield "best alone", _number(special and max(special["solo"]))
    yield "worst loss", _number(special and special["accuracy"] - min(special["without"]))
    yield "special", _number(special and fmean(special["degrees"]))
    yield "overlap", _number(special and special["overlap"])
    yield "coverage", _number(special and special["coverage"])
    yield "clusters", _number(special and fmean(special["clusters"]))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
