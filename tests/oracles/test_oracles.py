"""Every numerical oracle of the pack against our module of the same mechanism: outputs, then gradients.

VITNAS_ORACLES names the folder of the pack, by default ../shared/oracles; without it these tests are skipped.
"""

import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.func import functional_call

from tests.oracles.adapter import Tensors

FOLDER = Path(os.environ.get("VITNAS_ORACLES", Path(__file__).parents[2].parent / "shared" / "oracles"))
NAMES = sorted(path.stem for path in (Path(__file__).parent / "maps").glob("*.py"))
FILES = [importlib.import_module(f"tests.oracles.maps.{name}").MAPS for name in NAMES]
MAPS = {mechanism: adapter for maps in FILES for mechanism, adapter in maps.items()}


def cases() -> list[Any]:
    index = FOLDER / "index.json"
    if not index.exists():
        return [pytest.param("", {}, marks=pytest.mark.skip(reason=f"no oracles in {FOLDER}"))]
    return [pytest.param(c["file"], c["meta"], id=c["file"]) for c in json.loads(index.read_text())["cases"]]


@pytest.mark.parametrize(("file", "meta"), cases())
def test_our_module_equals_the_authors(file: str, meta: dict[str, Any]) -> None:
    if meta["mechanism"] not in MAPS:
        pytest.skip(f"no such mechanism yet: {meta['mechanism']}")
    adapter, recorded = MAPS[meta["mechanism"]], load(FOLDER / file)
    module = adapter.build(meta).train(meta["mode"] == "train")
    inputs, params = leaves(recorded, "input."), leaves(recorded, "param.")
    weights = adapter.rename(meta, params)
    module.load_state_dict(weights, strict=True)
    outputs = called(module, weights, lambda: adapter.call(module, meta, inputs))
    for name, tensor in outputs.items():
        torch.testing.assert_close(tensor, recorded[joined("output", name)], rtol=1e-4, atol=1e-4)
    assert_gradients(inputs, params, outputs, recorded)


def test_no_adapter_is_for_an_unknown_mechanism() -> None:
    assert sum(map(len, FILES)) == len(MAPS), "two maps for one mechanism"
    known = {case.values[1].get("mechanism") for case in cases()}
    assert known == {None} or MAPS.keys() <= known


def called(module: nn.Module, weights: Tensors, call: Callable[[], Tensors]) -> Tensors:
    """The outputs with `weights` in place of the module's own, so that gradients reach the authors' parameters."""
    caller = nn.Module()
    caller.module = module
    caller.forward = call  # type: ignore[assignment]
    return functional_call(caller, {f"module.{name}": tensor for name, tensor in weights.items()}, ())


def assert_gradients(inputs: Tensors, params: Tensors, outputs: Tensors, recorded: Tensors) -> None:
    """Of the recorded loss Σ output · loss_weight, within a thousandth of the largest entry."""
    weights = {name: recorded.get(joined("loss_weight", name)) for name in outputs}
    terms = [(outputs[name] * weight).sum() for name, weight in weights.items() if weight is not None]
    wanted = {f"grad_input.{n}": t for n, t in inputs.items()} | {f"grad_param.{n}": t for n, t in params.items()}
    wanted = {name: tensor for name, tensor in wanted.items() if name in recorded}
    if not terms or not wanted:
        return
    for name, ours in zip(wanted, torch.autograd.grad(torch.stack(terms).sum(), list(wanted.values())), strict=True):
        theirs = recorded[name]
        assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max() + 1e-5, name


def load(path: Path) -> Tensors:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping


def leaves(recorded: Tensors, prefix: str) -> Tensors:
    """The tensors under a prefix; those with a recorded gradient ask for one."""
    found = {key.removeprefix(prefix): tensor.clone() for key, tensor in recorded.items() if key.startswith(prefix)}
    return {name: tensor.requires_grad_(f"grad_{prefix}{name}" in recorded) for name, tensor in found.items()}


def joined(kind: str, name: str) -> str:
    return f"{kind}.{name}" if name else kind
