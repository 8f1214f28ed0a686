"""Published networks at small sizes: built from a genotype, with the recorded parameters, they give the same logits.

VITNAS_ORACLES names the folder of the pack, by default ../shared/oracles; without it these tests are skipped.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from evaluators.cost import count
from search_spaces.mixers.windows import group_size
from search_spaces.model import Network
from search_spaces.plan import Plan, plan
from search_spaces.zoo.checkpoints import load_checkpoint
from tests.oracles.zoo_genotypes import GENOTYPES

FOLDER = Path(os.environ.get("VITNAS_ORACLES", Path(__file__).parents[2].parent / "shared" / "oracles")) / "zoo"


def cases() -> list[Any]:
    index = FOLDER / "index.json"
    if not index.exists():
        return [pytest.param("", {}, marks=pytest.mark.skip(reason=f"no oracles in {FOLDER}"))]
    return [pytest.param(c["file"], c["meta"], id=c["file"]) for c in json.loads(index.read_text())["cases"]]


@pytest.mark.parametrize(("file", "meta"), cases())
def test_a_published_network_computes_the_same(file: str, meta: dict[str, Any], tmp_path: Path) -> None:
    recorded = load(FOLDER / file)
    network, x = built(meta, recorded, tmp_path), recorded["input.x"].requires_grad_()
    logits = network(x)
    torch.testing.assert_close(logits, recorded["output"], rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad((logits * recorded["loss_weight"]).sum(), x)
    wanted = recorded["grad_input.x"]
    assert (gradient - wanted).abs().max() <= 1e-3 * wanted.abs().max()


@pytest.mark.parametrize(("file", "meta"), cases())
def test_its_size_is_the_published_one(file: str, meta: dict[str, Any]) -> None:
    genotype = GENOTYPES[meta["network"]](meta["ctor"])
    cost = count(genotype, **sizes(meta)).total
    assert cost.params + folded(meta) == meta["n_params"]
    projections = 3 if meta["network"] == "twins_svt" else 4  # Twins crops in front of the last one
    assert cost.macs + projections * pad_macs(plan(genotype, **sizes(meta))) == meta["macs_per_image"]


def test_every_recorded_network_is_built() -> None:
    networks = {case.values[1].get("network") for case in cases()}
    assert networks == {None} or networks <= GENOTYPES.keys()


def built(meta: dict[str, Any], recorded: dict[str, Tensor], folder: Path) -> Network:
    """The network with the recorded parameters, read as a checkpoint of the reference."""
    state = {key.removeprefix("param."): tensor for key, tensor in recorded.items() if key.startswith("param.")}
    save_file(state, folder / "reference.safetensors")
    genotype, size = GENOTYPES[meta["network"]](meta["ctor"]), tuple(meta["inputs"]["x"][2:])
    return load_checkpoint(genotype, folder / "reference.safetensors", image_size=size).eval()


def sizes(meta: dict[str, Any]) -> dict[str, Any]:
    return {"image_size": tuple(meta["inputs"]["x"][2:]), "in_chans": 3, "classes": meta["ctor"]["num_classes"]}


def folded(meta: dict[str, Any]) -> int:
    """Parameters that ours hold once: the position of a distillation token is part of that token."""
    return meta["ctor"]["embed_dim"] if meta["network"] == "deit_distilled" else 0


def pad_macs(resolved: Plan) -> int:
    """Of one projection of all pads, which ours leave out: of zeros, a projection leaves its bias."""
    total = 0
    for shape, atom in ((b.shape, b.mixers[0]) for stage in resolved.stages for b in stage.blocks):
        if atom.params.get("pads") == "tokens":
            size = group_size(shape.grid, 1, atom.params["window"], clip=False)
            high, wide = (-(-side // own) * own for side, own in zip(shape.grid, size, strict=True))
            total += shape.dim**2 * (high * wide - shape.tokens)
    return total


def load(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
