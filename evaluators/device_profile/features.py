"""What a unit's cost depends on, in numbers: exact costs and sizes as logarithms, parameters of its components."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from evaluators.device_profile.units import Unit
from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import mixer_cost
from search_spaces.parts import DOWNSAMPLERS, FFNS, HEADS, LOCALS, POSITIONS, REDUCERS, STEMS
from search_spaces.structures import BRIDGES, FUSIONS

FLAGS = ("given", "wanted", "sized", "scaled")
GENERAL = ("macs", "params", "activations", "tokens", "dim", "length")  # known of every unit, in this order


@lru_cache(maxsize=65536)
def features(unit: Unit) -> dict[str, float]:
    """By name. Sizes and costs are base-2 logarithms of 1 + x; a word is a name of its own with value 1."""
    found = {name: value if name in FLAGS else float(np.log2(1 + value)) for name, value in unit.numbers}
    found |= {name: found.get(name, 0.0) for name in ("tokens", "dim")}
    if found.get("height") == 0.0:  # tokens without a grid, after a reduction: as many as on a square one
        side = float(np.log2(1 + np.sqrt(dict(unit.numbers)["tokens"])))
        found |= {"height": side, "width": side, "scattered": 1.0}
    cost = unit_cost(unit)
    for name, value in zip(("params", "macs", "activations"), cost, strict=True):
        found[name] = float(np.log2(1 + value))
    found["length"] = float(np.log2(1 + _positions(dict(unit.numbers))))
    for role, atom in unit.atoms:
        found |= _words(role, atom)
    return found


@lru_cache(maxsize=65536)
def unit_cost(unit: Unit) -> Cost:
    """Parameters, MACs and activations of a unit; norms count in the parameters of whole networks only."""
    return COSTS[unit.part](dict(unit.atoms), {k: int(v) for k, v in unit.numbers})


def matrix(rows: Sequence[dict[str, float]], names: Sequence[str]) -> np.ndarray:
    """(n, len(names)); what a row does not name is 0."""
    return np.array([[row.get(name, 0.0) for name in names] for row in rows], dtype=float).reshape(
        len(rows), len(names)
    )


def _words(role: str, atom: Atom) -> dict[str, float]:
    found = {f"{role}={atom.kind}": 1.0}
    for name, value in atom.params.items():
        if isinstance(value, bool | int | float):
            found[f"{role}.{name}"] = float(value)
        else:
            found[f"{role}.{name}={value}"] = 1.0
    return found


def _positions(n: dict[str, float]) -> float:
    """Tokens it works on, however they are said."""
    if "tokens" in n:
        return n["tokens"] + n.get("prefix", 0)
    return sum(n[h] * n[h.replace("height", "width")] for h in n if h.startswith("height"))


def _shape(n: dict[str, Any]) -> Shape:
    grid = (n["height"], n["width"]) if n["height"] else None
    flags = {name: bool(n[name]) for name in ("given", "wanted", "sized")}
    return Shape(
        dim=n["dim"],
        heads=n["heads"],
        head_dim=n["head_dim"],
        grid=grid,
        tokens=n["tokens"],
        prefix=n["prefix"],
        **flags,
    )


def _mixer(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    shape = _shape(n)
    atoms = tuple(a[name] for name in ("mixer", "mixer_b") if name in a)
    return mixer_cost(atoms, n.get("first", shape.heads) / shape.heads, shape)


def _stem(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    stem, size = a["stem"], (n["height"], n["width"])
    return STEMS[stem.kind].cost(in_chans=n["in_chans"], dim=n["dim"], image_size=size, **stem.params)


def _down(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    down, grid = a["down"], (n["height"], n["width"])
    return DOWNSAMPLERS[down.kind].cost(dim=n["in_dim"], out_dim=n["dim"], grid=grid, **down.params)


def _position(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    position, grid = a["position"], (n["height"], n["width"])
    return POSITIONS[position.kind].cost(dim=n["dim"], grid=grid, prefix=n["prefix"], **position.params)


def _local(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    return LOCALS[a["local"].kind].cost(dim=n["dim"], tokens=n["tokens"], **a["local"].params)


def _ffn(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    return FFNS[a["ffn"].kind].cost(dim=n["dim"], tokens=n["tokens"], prefix=n["prefix"], **a["ffn"].params)


def _reduction(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    reducer = a["reduction"]
    return REDUCERS[reducer.kind].cost(dim=n["dim"], tokens=n["tokens"], prefix=n["prefix"], **reducer.params)


def _head(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    head = a["head"]
    return HEADS[head.kind].cost(
        dim=n["dim"], classes=n["classes"], tokens=n["tokens"], prefix=n["prefix"], **head.params
    )


def _fusion(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    dims, heads, tokens = ([n[f"dim{i}"] for i in range(2)], [n[f"heads{i}"] for i in range(2)], _by_stage(n, 2))
    return FUSIONS[a["fusion"].kind].cost(dims=dims, heads=heads, tokens=tokens, **a["fusion"].params)


def _by_stage(n: dict[str, Any], stages: int) -> list[int]:
    return [n[f"height{i}"] * n[f"width{i}"] for i in range(stages)]


def _bridge(a: dict[str, Atom], n: dict[str, Any]) -> Cost:
    stages = sum(name.startswith("dim") for name in n)
    dims, grids = [n[f"dim{i}"] for i in range(stages)], [(n[f"height{i}"], n[f"width{i}"]) for i in range(stages)]
    return BRIDGES[a["bridge"].kind].cost(dims=dims, grids=grids, **a["bridge"].params)


COSTS: dict[str, Callable[[dict[str, Atom], dict[str, Any]], Cost]] = {
    "stem": _stem, "down": _down, "position": _position, "mixer": _mixer, "local": _local, "ffn": _ffn,
    "reduction": _reduction, "head": _head, "fusion": _fusion, "bridge": _bridge,
    "tokens": lambda a, n: costs.weights(n["prefix"] * n["dim"]), "norm": lambda a, n: costs.norm(n["dim"]),
}  # fmt: skip
