"""Published weights: a checkpoint file of timm or of a network's authors into the same network of ours."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nas.errors import UserError
from nas.genotype import Genotype
from search_spaces.model import Network, build
from search_spaces.parts import Grid
from search_spaces.zoo import ZOO
from search_spaces.zoo.name_maps import find_map
from search_spaces.zoo.renaming import Tensors

PICKLED = (".pth", ".pt", ".bin", ".tar")
WRAPPERS = ("model_ema", "state_dict_ema", "model", "state_dict")  # where training scripts keep the weights
COUNTERS = "num_batches_tracked"  # of batch norms: no output depends on them
FIRST_SPLIT = "stem.layers.0.norm1.weight"  # of T2T-ViT
CLASSIFIERS = ("head.fc.", "head.fc_distilled.", "head.a.fc.", "head.b.fc.")  # a and b: of the branches


def load_checkpoint(
    network: str | Genotype,
    path: str | Path,
    *,
    image_size: int | Grid | None = None,
    classes: int | None = None,
    drop_path: float = 0.0,
) -> Network:
    """The network with published weights; channels and classes are those of the file.

    network: a name of the zoo or a genotype. image_size: by default that of the zoo, or 224. classes: another number
    gives the network a fresh classifier. Raises UserError naming the first tensor that is missing, too many or of
    another shape.
    """
    path = Path(path)
    weights = _renamed(_read(path), path)
    entry = ZOO[network] if isinstance(network, str) else None
    size = image_size or (entry.image_size if entry else 224)
    genotype = entry.build(size if isinstance(size, int) else min(size)) if entry else network
    assert isinstance(genotype, Genotype)
    published = _output(weights, path)
    made = build(
        genotype, image_size=size, in_chans=_input(weights, path), classes=classes or published, drop_path=drop_path
    )
    if classes not in (None, published):
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(CLASSIFIERS)}
        weights |= {name: tensor for name, tensor in made.state_dict().items() if name.startswith(CLASSIFIERS)}
    return _filled(made, weights, path)


def _read(path: Path) -> Tensors:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path}: not a safetensors file ({error})") from error
    if path.suffix not in PICKLED:
        raise UserError(f"{path}: expected a .safetensors or a .pth file")
    try:
        return _unwrapped(torch.load(path, map_location="cpu", weights_only=True), path)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as weights alone; save its state_dict as .safetensors") from error


def _unwrapped(saved: Any, path: Path) -> Tensors:
    """The tensors of a training script's file, without what wrappers of the module put in front of their names."""
    for key in WRAPPERS:
        if isinstance(saved, Mapping) and isinstance(saved.get(key), Mapping):
            saved = saved[key]
            break
    if not isinstance(saved, Mapping) or not all(isinstance(value, Tensor) for value in saved.values()):
        raise UserError(f"{path}: expected tensors by name, found {type(saved).__name__}")
    return {str(name).removeprefix("module."): tensor for name, tensor in saved.items()}


def _renamed(state: Tensors, path: Path) -> Tensors:
    try:
        return find_map(state).rename(state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except KeyError as error:
        raise UserError(f"{path}: tensor {error} is missing") from error


def _output(weights: Tensors, path: Path) -> int:
    found = [weights[name] for name in (f"{prefix}weight" for prefix in CLASSIFIERS) if name in weights]
    if not found:
        raise UserError(f"{path}: holds no classifier, whose rows say how many classes there are")
    return found[0].shape[0]


def _input(weights: Tensors, path: Path) -> int:
    """Channels of the images: what the first convolution of the stem reads, or a soft split lays out 7×7 times."""
    if FIRST_SPLIT in weights:
        return weights[FIRST_SPLIT].shape[0] // 49
    stem = [tensor for name, tensor in sorted(weights.items()) if name.startswith("stem.") and tensor.dim() == 4]
    if not stem:
        raise UserError(f"{path}: holds no first convolution")
    return stem[0].shape[1]


def _filled(network: Network, weights: Tensors, path: Path) -> Network:
    """Strict: every tensor of the network from the file, every tensor of the file in the network."""
    own = network.state_dict()
    weights = _placed_head_norm(weights, own)
    for name, tensor in own.items():
        if name.endswith(COUNTERS):
            weights = {name: tensor, **weights}
        elif name not in weights:
            raise UserError(f"{path}: holds no {name}, which the network has")
        elif weights[name].shape != tensor.shape:
            raise _misshapen(name, weights[name], tensor, path)
    unexpected = [name for name in weights if name not in own]
    if unexpected:
        raise UserError(f"{path}: holds {unexpected[0]}, which the network has not")
    network.load_state_dict(weights, strict=True)
    return network


def _placed_head_norm(weights: Tensors, own: Tensors) -> Tensors:
    """timm norms the mean of a PoolFormer where its authors norm the map, with the same weights."""
    if "head.norm_before.weight" not in own:
        return weights
    return {name.replace("head.norm_after.", "head.norm_before."): tensor for name, tensor in weights.items()}


def _misshapen(name: str, found: Tensor, wanted: Tensor, path: Path) -> UserError:
    if name.endswith("table") and found.shape[-1] == wanted.shape[-1]:
        rows, own = (tensor.shape[-2] for tensor in (found, wanted))
        text = f"position table {name} is of another grid: {rows} rows, found where the network needs {own}"
        return UserError(f"{path}: {text}; give the image_size of the file, positions are not resampled")
    shapes = "x".join(map(str, found.shape)), "x".join(map(str, wanted.shape))
    return UserError(f"{path}: {name} is {shapes[0]}, the network needs {shapes[1]}")
