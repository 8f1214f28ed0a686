"""Whole networks drawn from the registries: what is built weighs and computes exactly what the cost model says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from evaluators.cost import count
from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS, Core
from search_spaces.model import build
from search_spaces.parts import DOWNSAMPLERS, LOCALS, REDUCERS
from search_spaces.plan import plan
from tests.search_spaces.counting import measured

SIZES = {"image_size": (30, 36), "in_chans": 3, "classes": 7}
STEMS = [
    Atom("patch", size=3), Atom("overlap", stride=3, norm=False), Atom("convstack", stride=4),
    Atom("tokens_to_token", stride=4, token_dim=16),
]  # fmt: skip
FFNS = [
    Atom("mlp", ratio=2), Atom("mix", ratio=3), Atom("mix", ratio=2, skip=True), Atom("inverted_residual", ratio=2),
    Atom("mixture", top_k=2), NONE,
]  # fmt: skip
POSITIONS = [NONE, Atom("learned"), Atom("learned", every_stage=True), Atom("fourier", bands=8), Atom("conditional")]


def draw(seed: int) -> Genotype:
    """Parts at random, mixers that fit the map of their stage. Odd seeds end with extra tokens and a reduction."""
    rng, sets = np.random.default_rng(seed), bool(seed % 2)
    depth = int(rng.integers(1, 4))
    heads = [Atom("cls"), Atom("class_attention", num_heads=4)] if sets else [Atom("pool"), Atom("pool", place="none")]
    stages = tuple(draw_stage(rng, first=i == 0) for i in range(depth))
    genotype = Genotype(
        topology="pyramid" if depth > 1 else "plain", stem=one(rng, STEMS), stages=stages,
        position=one(rng, POSITIONS), cls_token=sets, registers=2 * sets,
        reduction=draw_reduction(rng) if sets else NONE,
        head=one(rng, heads),
    )  # fmt: skip
    for index, stage in enumerate(plan(genotype, **SIZES).stages):
        tokens_only = sets and index == depth - 1
        genotype = genotype.with_stage(index, **draw_mixers(rng, stage.blocks[0].shape, tokens_only))
    return genotype.with_stage(depth - 1, ffn=FFNS[0], local=NONE, tail=0) if sets else genotype


def draw_stage(rng: np.random.Generator, first: bool) -> Stage:
    down = NONE if first else Atom(one(rng, list(DOWNSAMPLERS)))
    return Stage(
        width=one(rng, [16, 32]), depth=one(rng, [1, 2, 3]), head_dim=8, ffn=one(rng, FFNS), down=down,
        local=one(rng, [NONE, *(Atom(kind) for kind in LOCALS)]), norm=Atom(one(rng, ["layer", "group"])),
        norm_out=one(rng, [True, False]), layer_scale=one(rng, [None, 0.5]), tail=one(rng, [0, 0, 1]),
    )  # fmt: skip


def draw_reduction(rng: np.random.Generator) -> Atom:
    kind = one(rng, list(REDUCERS))
    return Atom(kind, **{key: one(rng, values) for key, values in REDUCERS[kind].search.items()}, at=0.5)


def draw_mixers(rng: np.random.Generator, shape: Shape, tokens_only: bool) -> dict[str, Any]:
    fitting = [
        Atom(name, **{key: one(rng, values) for key, values in kind.search.items()})
        for name, kind in MIXERS.items()
        if not (kind.hidden_macs or kind.recalls) and (not tokens_only or kind.takes_prefix)
    ]
    if tokens_only:
        fitting = [atom for atom in fitting if MIXERS[atom.kind].set_like(**atom.params)]
    fitting = [atom for atom in fitting if MIXERS[atom.kind].check(shape, **atom.params) is None]
    a, b = one(rng, fitting), one(rng, fitting)
    half, kinds = replace(shape, heads=shape.heads // 2), (MIXERS[a.kind], MIXERS[b.kind])
    shared = all(issubclass(k, Core) and k.check(half, **m.params) is None for k, m in zip(kinds, (a, b), strict=True))
    return {"a": a, "b": b, "mode": "headmix" if shared and rng.random() < 0.5 else "alternate", "share": 0.5}


def one(rng: np.random.Generator, choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


@pytest.mark.parametrize("seed", range(90))
def test_built_networks_cost_what_was_counted(seed: int) -> None:
    genotype = draw(seed)
    network, said = build(genotype, **SIZES), count(genotype, **SIZES).total
    seen = measured(network, torch.randn(1, 3, *SIZES["image_size"]))
    assert seen == said, str(genotype)


def test_draws_cover_every_mixer() -> None:
    drawn = {name for seed in range(90) for name in draw(seed).mechanisms()}
    assert drawn == {name for name, kind in MIXERS.items() if not kind.hidden_macs and not kind.recalls}


@pytest.mark.parametrize("seed", range(6))
def test_networks_learn_and_survive_json(seed: int) -> None:
    genotype = draw(seed)
    assert Genotype.from_json(genotype.to_json()) == genotype
    network = build(genotype, **SIZES, drop_path=0.2).train()
    network(torch.randn(2, 3, *SIZES["image_size"])).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_seed_decides_the_weights_and_nothing_else() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (build(draw(1), **SIZES, seed=s).state_dict() for s in (5, 5, 6))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="built for images of"):
        build(draw(0), **SIZES)(torch.randn(1, 3, 32, 32))
