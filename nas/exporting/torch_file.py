"""A network as one plain PyTorch file, which imports nothing of ours, with its weights in safetensors beside it."""

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.architecture import ArchitectureConfig
from nas.errors import UserError
from nas.exporting.expression import expression
from nas.exporting.extract import Extract, write_imports
from nas.exporting.needs import Needs, StandIn
from nas.exporting.source import Foreign, Symbol
from nas.genotype import Atom
from search_spaces.layer import Layer
from search_spaces.parts import NORMS

TOLERANCE = 1e-6  # between the outputs of the file and of the network

_NN = Foreign("torch", "nn", "nn")
_LAYER = '''
class Layer(nn.Module):
    """Base of the modules below."""

    def init_special(self) -> None:
        """Weights that do not start as the network's rule says; called after all others are drawn."""
'''
STAND_INS = {
    Symbol("search_spaces.layer", "Layer"): StandIn(name="Layer", source=_LAYER.strip(), imports=(_NN,)),
    Symbol("search_spaces.parts", "Identity"): StandIn(name="nn.Identity", imports=(_NN,)),
    Symbol("nas.genotype", "Atom"): StandIn(
        name="Norm",
        source="Norm = Callable[[int], nn.Module]  # makes a norm over so many channels",
        imports=(_NN, Foreign("collections.abc", "Callable", "Callable")),
    ),
    Symbol("search_spaces.parts", "make_norm"): StandIn(
        name="make_norm",
        source="def make_norm(norm: Callable[[int], nn.Module], dim: int) -> nn.Module:\n    return norm(dim)",
        imports=(_NN, Foreign("collections.abc", "Callable", "Callable")),
    ),
}  # fmt: skip
RESERVED = ("IMAGE_SIZE", "MEAN", "STD", "CLASSES", "WEIGHTS", "build_model", "read_image", "main")
_ALWAYS = (
    _NN,
    Foreign("pathlib", "Path", "Path"),
    Foreign("sys", None, "sys"),
    Foreign("torch", None, "torch"),
    Foreign("torch", "Tensor", "Tensor"),
)


def write_torch(network: nn.Module, config: ArchitectureConfig, path: Path) -> Path:
    """Write `path` (.py) after checking that it computes the same. Raises UserError when it cannot be written."""
    source = torch_source(network, config)
    difference = compare(source, network, config)
    if not difference <= TOLERANCE:  # not a number fails too
        raise UserError(f"{config.name}: the plain file differs from the network by {difference:.2g}")
    partial = path.with_suffix(".py.partial")
    partial.write_text(source, encoding="utf-8")
    return partial.replace(path)


def torch_source(network: nn.Module, config: ArchitectureConfig) -> str:
    """The file's text."""
    layers = [m for m in network.modules() if isinstance(m, Layer)]
    norms = list(_norm_atoms(layers))
    roots = [*dict.fromkeys(type(m) for m in layers), *(NORMS[a.kind] for a in norms)]
    own = {"nas", "search_spaces", *(r.__module__.partition(".")[0] for r in roots)}
    needs = Needs(roots, own, STAND_INS)
    extract = Extract(needs, RESERVED)
    build = expression(network, extract.name, indent=1)
    imports = needs.imports | set(_ALWAYS)
    if "partial(" in build:
        imports.add(Foreign("functools", "partial", "partial"))
    top = "\n\n".join([_header(config), write_imports(imports), _facts(config)])
    parts = (top, extract.render(), _BUILD.format(build=build), _MAIN)
    return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"


def compare(source: str, network: nn.Module, config: ArchitectureConfig) -> float:
    """Largest difference between outputs of the written and of the original network on random images."""
    module = types.ModuleType("exported")
    exec(compile(source, "exported.py", "exec"), module.__dict__)
    written = module.build_model()
    written.load_state_dict(network.state_dict())
    images = example_images(config, batch=2)
    training = network.training
    with torch.no_grad():
        difference = (network.eval()(images) - written.eval()(images)).abs().max()
    network.train(training)
    return float(difference)


def example_images(config: ArchitectureConfig, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, config.input.in_chans, *config.input.grid, generator=generator)


def _norm_atoms(layers: list[Layer]) -> Iterator[Atom]:
    for layer in layers:
        yield from (v for v in getattr(layer, "made_with", {}).values() if isinstance(v, Atom))


def _header(config: ArchitectureConfig) -> str:
    lines = [f"{config.name}: {config.describe()}", "", *(f"{note}" for note in config.notes), *_provenance(config)]
    return '"""' + "\n".join(line.replace("\\", "/").replace('"""', "'''") for line in lines) + '\n"""'


def _provenance(config: ArchitectureConfig) -> Iterator[str]:
    if config.notes:
        yield ""
    yield f"Written by vitnas {config.versions.get('vitnas')} (genotype {config.hash}). Needs torch alone; safetensors"
    yield "to load the weights, Pillow to classify a picture: python THIS_FILE.py PICTURE [WEIGHTS.safetensors]"
    if config.measured is not None:
        yield ""
        yield from config.measured.lines()


def _facts(config: ArchitectureConfig) -> str:
    facts: dict[str, Any] = {
        "IMAGE_SIZE": tuple(config.input.grid),  # height, width
        "MEAN": tuple(config.input.mean),
        "STD": tuple(config.input.std),
    }
    lines = [f"{k} = {v!r}" for k, v in facts.items()]
    lines[0] += "  # height, width"
    lines[1] += "  # of pixels between 0 and 1; the network expects (pixel - MEAN) / STD"
    weights = repr(config.weights) if config.weights else "None"
    return "\n".join([*lines, _names(config), f"WEIGHTS: str | None = {weights}  # beside this file"])


def _names(config: ArchitectureConfig) -> str:
    quoted = [json.dumps(name, ensure_ascii=False) for name in config.classes]
    line = f"CLASSES = ({', '.join(quoted)}{',' if len(quoted) == 1 else ''})"
    return line if len(line) <= 120 else "CLASSES = (\n" + "".join(f"    {name},\n" for name in quoted) + ")"


_BUILD = '''
def build_model(weights: str | Path | None = None) -> Network:
    """Images (B, channels, height, width), normalised, to logits (B, classes); in evaluation mode with weights."""
    model = {build}
    model.init_weights()
    if weights is not None:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(weights))
        model.eval()
    return model
'''

_MAIN = '''
def read_image(path: str | Path) -> Tensor:
    """A picture as the network expects it, (1, channels, height, width)."""
    from PIL import Image

    mode = "L" if len(MEAN) == 1 else "RGB"
    image = Image.open(path).convert(mode).resize(IMAGE_SIZE[::-1], Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).float() / 255
    pixels = pixels.unflatten(0, (*IMAGE_SIZE, len(MEAN))).permute(2, 0, 1)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return ((pixels - mean) / std)[None]


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(f"usage: python {Path(__file__).name} PICTURE [WEIGHTS.safetensors]")
    weights = sys.argv[2] if len(sys.argv) > 2 else WEIGHTS and Path(__file__).parent / WEIGHTS
    model = build_model(weights).eval()
    with torch.inference_mode():
        chances = model(read_image(sys.argv[1])).softmax(dim=1)[0]
    for chance, index in zip(*chances.topk(min(5, len(CLASSES))), strict=True):
        print(f"{chance:6.1%}  {CLASSES[index]}")


if __name__ == "__main__":
    main()
'''
