"""Networks from what a user has in hand: a genotype, an architecture file, a name from the zoo."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from nas.architecture import ArchitectureConfig, read_config
from nas.errors import UserError
from nas.genotype import Genotype
from search_spaces import model
from search_spaces.model import Network


def build(source: Genotype | ArchitectureConfig | str | Path, **options: Any) -> Network:
    """A network with fresh weights; maps images (B, in_chans, H, W) to logits (B, classes).

    source: a genotype (then `image_size` is needed, `in_chans` and `classes` default to 3 and 1000), or a config or the
    path of one, which say these themselves. options: also `drop_path` and `seed`. Raises UserError.
    """
    if isinstance(source, Genotype):
        return model.build(source, **options)
    config = source if isinstance(source, ArchitectureConfig) else read_config(source)
    return config.build(**options)


def load(path: str | Path) -> Network:
    """The network of an architecture file with the weights that it names. Raises UserError when it names none."""
    config = read_config(path)
    if config.weights is None:
        raise UserError(f"{path}: names no weights; search_spaces.build makes the network with fresh ones")
    weights = Path(path).parent / config.weights
    if not weights.is_file():
        raise UserError(f"{path}: weights: no such file {config.weights}")
    network = build(config)
    network.load_state_dict(load_file(weights))
    return network
