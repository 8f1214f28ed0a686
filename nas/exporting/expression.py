"""A built network as the Python expression that builds it again: nested calls with plain arguments."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from torch import nn

from nas.errors import UserError
from nas.genotype import Atom
from search_spaces.layer import Layer
from search_spaces.parts import NORMS

WIDTH = 110  # columns, beyond which a call is broken into one argument a line
STEP = " " * 4

Name = Callable[[Any], str]  # a class or function -> what the file calls it


def expression(value: Any, name: Name, indent: int = 0) -> str:
    """Source of `value`; lines after the first are indented by `indent` steps. Raises UserError for what has none."""
    if isinstance(value, Layer):
        items = [f"{k}={expression(v, name, indent + 1)}" for k, v in getattr(value, "made_with", {}).items()]
        return _wrap(f"{name(type(value))}(", items, ")", indent)
    if isinstance(value, nn.Module):
        return _torch_module(value)
    if isinstance(value, Atom):
        return _norm(value, name)
    if isinstance(value, list | tuple) and any(isinstance(v, nn.Module) for v in value):
        return _modules(value, name, indent)
    if isinstance(value, list | tuple):
        inside = ", ".join(expression(v, name) for v in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, type):
        return name(value)
    if isinstance(value, bool | int | float | str | None):
        return repr(value)
    raise UserError(f"no source for an argument of type {type(value).__name__}: {value!r}")


def _modules(values: Sequence[Any], name: Name, indent: int) -> str:
    """A list in which equal neighbours become one comprehension."""
    runs = [(source, len(list(run))) for source, run in groupby(expression(v, name, indent + 1) for v in values)]
    if len(runs) == 1 and runs[0][1] > 1:
        source, times = expression(values[0], name, indent + 1), runs[0][1]
        return _wrap("[", [f"{source}\n{STEP * (indent + 1)}for _ in range({times})"], "]", indent, comma="")
    return _wrap("[", [_repeated(source, times) for source, times in runs], "]", indent)


def _repeated(source: str, times: int) -> str:
    return source if times == 1 else f"*({source} for _ in range({times}))"


def _wrap(start: str, items: list[str], end: str, indent: int, comma: str = ",") -> str:
    line = start + ", ".join(items) + end
    if "\n" not in line and len(line) + len(STEP) * indent <= WIDTH:
        return line
    pad = "\n" + STEP * (indent + 1)
    return start + pad + ("," + pad).join(items) + comma + "\n" + STEP * indent + end


def _torch_module(module: nn.Module) -> str:
    if list(module.children()) or not type(module).__module__.startswith("torch.nn."):
        raise UserError(f"no source for the module {type(module).__name__} as an argument; make it a Layer")
    return f"nn.{type(module).__name__}({module.extra_repr()})"


def _norm(atom: Atom, name: Name) -> str:
    """A norm by name becomes the function or class that makes it."""
    factory = name(NORMS[atom.kind])
    if not atom.params:
        return factory
    return f"partial({factory}, {', '.join(f'{k}={v!r}' for k, v in atom.params.items())})"
