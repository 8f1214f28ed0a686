"""The units of networks, against the costs and the tensors of the whole networks that they come from."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from torch import nn

from evaluators.cost import count
from evaluators.device_profile.features import features, unit_cost
from evaluators.device_profile.records import Subject
from evaluators.device_profile.unit_network import BUILD, input_size, unit_network
from evaluators.device_profile.units import Unit
from evaluators.memory import kept_memory
from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.catalog import Entry, entries
from search_spaces.mixers import MIXERS
from search_spaces.model import build
from tests.evaluators.device_profile.made_up import drawn

RANDOM = [*drawn("vit_small", 32, 16), *drawn("vit_224", 96, 4)]
STAGE = Stage(width=32, depth=4, head_dim=16)
PYRAMID = Genotype(
    topology="pyramid", stem=Atom("patch", size=2),
    stages=(STAGE, replace(STAGE, width=64, down=Atom("patch"))),
)  # fmt: skip
DUAL = Genotype(
    topology="dual", stem=Atom("patch", size=4), stem_b=Atom("patch", size=8), stages=(STAGE, STAGE), cls_token=True,
    head=Atom("cls"),
)  # fmt: skip
MADE_AS_A_STAGE = {"mixer": "a", "ffn": "ffn", "local": "local", "norm": "norm", "position in the scores": "a"}
MECHANISMS = [entry for entry in entries() if entry.name != "none"]


def own_params(network: nn.Module) -> int:
    """Without the blocks that only leave what a unit recalls."""
    return sum(p.numel() for name, p in network.named_parameters() if ".writers." not in name)


def by_part(subject: Subject) -> dict[str, tuple[int, int, int]]:
    found = defaultdict(lambda: (0, 0, 0))
    for row in count(subject.genotype, image_size=32 if subject in RANDOM[:16] else 96, in_chans=3, classes=10).rows:
        part = "tokens" if row.part == "prefix" else row.part
        found[part] = tuple(a + b for a, b in zip(found[part], row.cost, strict=True))
    return dict(found)


def holding(entry: Entry) -> Genotype:
    """A network with this mechanism in the second stage of a pyramid, or where else it belongs."""
    atom = Atom.parse(entry.example)
    if entry.family == "fusion":
        return replace(DUAL, fusion=atom)
    if entry.family == "mixer" and MIXERS[entry.name].recalls:
        return PYRAMID.with_stage(1, b=atom)
    if entry.family in MADE_AS_A_STAGE:
        return PYRAMID.with_stage(1, **{MADE_AS_A_STAGE[entry.family]: atom})
    if entry.family == "downsampler":
        return PYRAMID.with_stage(1, down=atom)
    if entry.family == "head":
        return replace(PYRAMID, head=atom, cls_token=True)
    return replace(PYRAMID, **{{"reducer": "reduction"}.get(entry.family, entry.family): atom})


@pytest.mark.parametrize("subject", RANDOM, ids=lambda s: s.genotype.hash())
def test_costs_of_units_are_those_of_the_network_part_by_part(subject):
    found = defaultdict(lambda: (0, 0, 0))
    for _, unit, times in ((p.stage, p.unit, p.times) for p in subject.units()):
        params, (_, macs, activations) = own_params(unit_network(unit.to_json())), unit_cost(unit)
        added = (params, macs, activations)
        found[unit.part] = tuple(a + times * b for a, b in zip(found[unit.part], added, strict=True))
    assert dict(found) == by_part(subject)


@pytest.mark.parametrize("subject", RANDOM, ids=lambda s: s.genotype.hash())
def test_every_unit_runs_and_comes_back_from_json(subject):
    for unit in {p.unit for p in subject.units()}:
        again = Unit.from_json(unit.to_json())
        assert (again, hash(again), features(again)) == (unit, hash(unit), features(unit))
        network = unit_network(unit.to_json()).eval()
        with torch.inference_mode():
            out = network(torch.randn(2, *input_size(unit)))
        assert all(torch.isfinite(t).all() for t in (out if isinstance(out, tuple | list) else [out]))


@pytest.mark.parametrize("entry", MECHANISMS, ids=lambda e: e.full_name)
def test_every_mechanism_is_in_a_unit_that_builds(entry):
    genotype = holding(entry)
    subject = Subject(genotype=genotype, image_size=(32, 32), in_chans=3, classes=10)
    holders = {p.unit for p in subject.units() if entry.name in str(p.unit)}
    assert holders
    for unit in holders:
        with torch.inference_mode():
            unit_network(unit.to_json()).eval()(torch.randn(1, *input_size(unit)))


def test_every_part_has_been_built_above():
    parts = {p.unit.part for subject in RANDOM for p in subject.units()}
    parts |= {"reduction" if entry.family == "reducer" else entry.family for entry in MECHANISMS}
    assert parts >= BUILD.keys()


def test_equal_units_of_different_networks_are_one():
    wide, deep = (
        Subject(genotype=g, image_size=(32, 32), in_chans=3, classes=10)
        for g in (PYRAMID, PYRAMID.with_stage(1, depth=7))
    )
    first, second = ({(p.unit, p.times) for p in s.units()} for s in (wide, deep))
    assert {unit for unit, _ in first} == {unit for unit, _ in second}
    assert {(unit.part, times) for unit, times in second - first} == {("mixer", 7), ("ffn", 7)}


def test_a_mixer_without_heads_does_not_depend_on_them():
    pooled, attending = (PYRAMID.with_stage(1, a=Atom(kind)) for kind in ("pooling", "softmax"))
    for genotype, same in ((pooled, True), (attending, False)):
        networks = [genotype, genotype.with_stage(1, head_dim=32)]
        units = [
            {p.unit for p in Subject(genotype=g, image_size=(32, 32), in_chans=3, classes=10).units()} for g in networks
        ]
        assert (units[0] == units[1]) is same


@pytest.mark.parametrize("subject", RANDOM[:10], ids=lambda s: s.genotype.hash())
def test_memory_kept_for_the_backward_pass_is_the_sum_of_its_units(subject):
    network = build(subject.genotype, image_size=32, in_chans=3, classes=10)
    image = torch.randn(2, 3, 32, 32)
    twice = sum(p.unit.part == "stem" for p in subject.units()) - 1  # two branches keep the one image
    whole = kept_memory(network, image).mb + twice * image.nbytes / 1e6
    parts = sum(
        p.times * kept_memory(unit_network(p.unit.to_json()), torch.randn(2, *input_size(p.unit)).requires_grad_()).mb
        for p in subject.units()
    )
    assert parts == pytest.approx(whole, rel=0.01)


def test_a_block_without_a_mixer_has_no_unit_for_it():
    subject = Subject(genotype=PYRAMID.with_stage(0, a=NONE), image_size=(32, 32), in_chans=3, classes=10)
    assert {p.stage for p in subject.units() if p.unit.part == "mixer"} == {2}
