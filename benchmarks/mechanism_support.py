"""Which mechanisms torch.compile takes as one graph, and which ONNX Runtime computes as PyTorch does.

Tried, not declared: each layer alone, on a small map and in its default setting (or the first that fits), forward
and, compiled, backward too.
"""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from mechanism_cases import make_mixer, make_reducer, placed
from torch import Tensor, nn

from nas.errors import unknown
from nas.genotype import Atom, Genotype, Stage
from nas.registry import Registry
from search_spaces.catalog import INSIDE, component_families, is_required
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS
from search_spaces.model import build

# norms are PyTorch's own
FAMILIES: dict[str, Registry[Any]] = {r.family: r for r in component_families() if r.family != "norm"}
DIM, HEADS, GRID, IMAGE, PATCH, PREFIX, CLASSES = 32, 2, (8, 8), 32, 4, 1, 10
TOLERANCE, OPSET = 1e-4, 20  # between what is computed and PyTorch, of outputs of order one


def support_rows(names: list[str], backend: str) -> Iterator[dict[str, Any]]:
    """One row per component: "yes" or the reason, under compile and onnx. All components where `names` is empty."""
    entries = [(family, kind) for family, kind in components() if not names or kind in names]
    for name in names:
        if name not in {kind for _, kind in entries}:
            raise unknown("mechanism", name, {kind for _, kind in components()}, "--mechanisms")
    for family, kind in entries:
        yield {"family": family, "mechanism": kind, **try_out(family, kind, backend)}


def components() -> list[tuple[str, str]]:
    """(family, name) of all but those that a network leaves out."""
    return [(family, kind) for family, registry in FAMILIES.items() for kind in registry if kind != "none"]


def try_out(family: str, kind: str, backend: str = "inductor") -> dict[str, str]:
    """{"compile": ..., "onnx": ...} of one component."""
    try:
        torch.manual_seed(0)
        layer, x = example(family, kind)
    except Exception as error:
        return dict.fromkeys(("compile", "onnx"), f"cannot be built: {reason(error)}")
    return {"compile": _tried(compile_it, layer, x, backend), "onnx": _tried(export_it, layer, x)}


def _tried(check: Callable[..., float], layer: nn.Module, x: Tensor, *settings: str) -> str:
    try:
        with quiet():
            difference = check(layer, x, *settings)
    except Exception as error:
        return reason(error)
    return "yes" if difference <= TOLERANCE else f"differs by {difference:.2g}"


def compile_it(layer: nn.Module, x: Tensor, backend: str) -> float:
    """Largest difference between the compiled and the plain layer, outputs and gradients of the input."""
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    differences = []
    for pair in zip(_outputs_and_gradient(layer, x), _outputs_and_gradient(compiled, x), strict=True):
        differences.append((pair[0] - pair[1]).abs().max() / pair[0].abs().max().clamp(min=1))
    return float(torch.stack(differences).max())


def _outputs_and_gradient(layer: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    if not y.requires_grad:  # nothing of it learns, and nothing of it depends on the input
        return y, torch.zeros(1)
    return y.detach(), torch.autograd.grad(y.square().sum(), x)[0]


@torch.no_grad()
def export_it(layer: nn.Module, x: Tensor) -> float:
    """Largest difference between ONNX Runtime and PyTorch, at another batch than the one it was exported with."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "layer.onnx"
        program = torch.onnx.export(
            layer, (x,), dynamo=True, opset_version=OPSET, verbose=False, input_names=["x"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
        assert program is not None
        program.save(path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        other = torch.cat([x, x[:1].flip(1)])
        found = torch.from_numpy(session.run(None, {"x": other.numpy()})[0])
    expected = layer(other)
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1))


def example(family: str, kind: str) -> tuple[nn.Module, Tensor]:
    """A component in evaluation mode and an input for it; parameters random, so that none hides a difference."""
    part, x = _example(family, kind)
    for parameter in part.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape)
    return part.eval(), x


def _example(family: str, kind: str) -> tuple[nn.Module, Tensor]:
    if family in ("bridge", "fusion"):
        return _network(family, kind), torch.randn(2, 3, IMAGE, IMAGE)
    if family == "stem":
        made = FAMILIES[family][kind]
        sizes = {key: PATCH for key in ("size", "stride") if is_required(made, key)}
        return Part(made(in_chans=3, dim=DIM, image_size=(IMAGE, IMAGE), **sizes)), torch.randn(2, 3, IMAGE, IMAGE)
    prefix = PREFIX if family in ("position", "reducer", "head") else 0
    return Part(_make(family, kind)), torch.randn(2, prefix + GRID[0] * GRID[1], DIM)


def _network(family: str, kind: str) -> nn.Module:
    """A small one with a bridge over its stages, or with a fusion of its branches."""
    stem, stage = Atom("patch", size=PATCH), Stage(width=DIM, depth=1, head_dim=DIM // HEADS)
    pyramid = Genotype(topology="pyramid", stem=stem, stages=(stage, replace(stage, down=Atom("merge"))))
    if family == "bridge":
        return build(replace(pyramid, bridge=Atom(kind)), image_size=IMAGE, classes=CLASSES)
    dual = Genotype(
        topology="dual", stem=stem, stem_b=Atom("patch", size=2 * PATCH), stages=(stage, stage),
        position=Atom("learned"), cls_token=True, head=Atom("cls"), fusion=Atom(kind),
    )  # fmt: skip
    return build(dual, image_size=IMAGE, classes=CLASSES)


class Part(nn.Module):
    """A component as a part of something: the exporter keeps some names of the whole, such as code, for itself."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)


def _make(family: str, kind: str) -> nn.Module:
    shape = Shape(dim=DIM, heads=HEADS, head_dim=DIM // HEADS, grid=GRID, tokens=GRID[0] * GRID[1])
    if family == "mixer" or family in INSIDE:
        atom = _fitting(kind, shape) if family == "mixer" else Atom.parse(INSIDE[family].format(kind))
        return make_mixer(atom, placed(atom, shape))
    if family == "reducer":
        return make_reducer(Atom(kind), dim=DIM, tokens=shape.tokens, prefix=PREFIX)
    sizes: dict[str, dict[str, Any]] = {
        "position": {"grid": GRID, "prefix": PREFIX},
        "head": {"classes": CLASSES, "prefix": PREFIX, "norm": Atom("layer")},
        "downsampler": {"out_dim": 2 * DIM, "grid": GRID},
    }
    return FAMILIES[family][kind](dim=DIM, **sizes.get(family, {"grid": GRID}))


def _fitting(kind: str, shape: Shape) -> Atom:
    search = MIXERS[kind].search
    settings = [dict(zip(search, values, strict=True)) for values in product(*search.values())]
    atoms = [Atom(kind), *(Atom(kind, **params) for params in settings)]
    fitting = [a for a in atoms if MIXERS[kind].check(placed(a, shape), **a.params) is None]
    return (fitting or atoms)[0]


def reason(error: BaseException) -> str:
    """The first line of what began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:120]}".replace("|", "/")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what exporter and compiler have to say to itself."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    sink = io.StringIO()
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
