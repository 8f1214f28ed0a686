"""Dual networks and networks with a bridge: built as counted, kept to their rules, part of the spaces."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from evaluators.cost import count
from nas.description import describe
from nas.genotype import NONE, Atom, Genotype, Stage
from nas.reporting.panel import network_words
from search_spaces.canonical import canonical
from search_spaces.model import build
from search_spaces.plan import plan
from search_spaces.rules import find_problems
from search_spaces.vit import make_space
from tests.search_spaces.counting import measured, randomised

DUAL = Genotype(
    topology="dual", stem=Atom("patch", size=4), stem_b=Atom("patch", size=8),
    stages=(Stage(width=16, depth=3, head_dim=8), Stage(width=32, depth=5, head_dim=16, a=Atom("efficient"))),
    position=Atom("learned"), cls_token=True, head=Atom("cls"), fusion=Atom("class_attention", times=2),
)  # fmt: skip
PYRAMID = Genotype(
    topology="pyramid", stem=Atom("patch", size=4),
    stages=(Stage(width=16, depth=1, head_dim=8), Stage(width=32, depth=2, head_dim=8, down=Atom("merge"))),
    bridge=Atom("context", depth=2, ratio=2),
)  # fmt: skip
RESIZED = replace(DUAL, stem=Atom("patch", size=4, scale=0.8), stem_b=Atom("three_convolutions", stride=8, scale=1.25))
CHANNELS = DUAL.with_stage(0, a=Atom("cross_covariance"), b=Atom("softmax"))
CASES = {
    "dual": DUAL,
    "three exchanges": replace(DUAL, fusion=Atom("class_attention", times=3, depth=2)),
    "resized": RESIZED,
    "conditional": replace(CHANNELS, position=Atom("conditional")),
    "bridge": PYRAMID,
    "bridge of three": replace(PYRAMID, stages=(*PYRAMID.stages, replace(PYRAMID.stages[1], width=48))),
    "bridge of one layer": replace(PYRAMID, bridge=Atom("context", heads=2)),
}


def problems(genotype: Genotype, image_size: int = 32) -> list[str]:
    return [str(p) for p in find_problems(genotype, image_size=image_size)]


@pytest.mark.parametrize("image", [(32, 32), (40, 56), (33, 47)])
@pytest.mark.parametrize("name", CASES)
def test_networks_cost_what_was_counted_and_learn(name: str, image: tuple[int, int]) -> None:
    sizes: dict[str, Any] = {"image_size": image, "in_chans": 3, "classes": 7}
    network = build(CASES[name], **sizes, drop_path=0.1)
    assert measured(network, torch.randn(1, 3, *image)) == count(CASES[name], **sizes).total
    network.train()(torch.randn(2, 3, *image)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", CASES)
def test_they_are_valid_come_back_from_json_and_have_one_form(name: str) -> None:
    genotype = CASES[name]
    assert problems(genotype) == []
    assert Genotype.from_json(genotype.to_json()) == genotype
    once = canonical(genotype, image_size=32)
    assert canonical(once, image_size=32) == once
    assert count(once, image_size=32) == replace(count(genotype, image_size=32), rows=count(once, image_size=32).rows)


def test_older_genotypes_keep_their_hashes() -> None:
    stage = Stage(width=32, depth=2, head_dim=8)
    old = Genotype(topology="plain", stem=Atom("patch", size=4), stages=(stage,), position=Atom("learned"))
    assert old.hash() == "g7ddb8917edf"  # as written before there were bridges and branches
    assert not {"stem_b", "fusion", "bridge"} & old.to_json().keys()


def test_exchanges_divide_each_branch_and_later_ones_get_more() -> None:
    network = build(DUAL, image_size=32)
    assert [(len(stage.a.blocks), len(stage.b.blocks)) for stage in network.stages] == [(1, 2), (2, 3)]
    assert [len(stage.blocks) for stage in plan(DUAL, image_size=32).stages] == [3, 5]


def test_logits_are_the_mean_of_both_branches() -> None:
    network, x = randomised(build(DUAL, image_size=32, classes=5)), torch.randn(2, 3, 32, 32)
    a, b = network.features(x)
    assert a.shape == (2, 65, 16)
    assert b.shape == (2, 17, 32)
    torch.testing.assert_close(network(x), (network.head.a(a) + network.head.b(b)) / 2)


def test_a_scaled_branch_sees_the_resized_image() -> None:
    network, x = randomised(build(RESIZED, image_size=40)), torch.randn(2, 3, 40, 40)
    a, b = network.stem(x)
    for branch, size, tokens in ((network.stem.a, 32, a), (network.stem.b, 50, b)):
        resized = F.interpolate(x, (size, size), mode="bicubic", align_corners=False)
        torch.testing.assert_close(branch.position(branch.cls_token(branch.stem(resized))), tokens)


def test_a_bridge_of_no_layers_is_no_bridge() -> None:
    none = replace(PYRAMID, bridge=Atom("context", depth=0))
    assert canonical(none, image_size=32) == canonical(replace(PYRAMID, bridge=NONE), image_size=32)
    x = torch.randn(2, 3, 32, 32)
    ours, plain = (build(g, image_size=32).eval() for g in (none, replace(PYRAMID, bridge=NONE)))
    ours.load_state_dict(plain.state_dict())
    assert torch.equal(ours(x), plain(x))
    assert count(none, image_size=32).total == count(replace(PYRAMID, bridge=NONE), image_size=32).total


def test_the_head_behind_a_bridge_sees_the_first_stage() -> None:
    """Which, without it, reaches the head through the second alone."""
    network, x = randomised(build(PYRAMID, image_size=32)), torch.randn(1, 3, 32, 32)
    maps = [network.stages[0](network.stem(x))]
    maps.append(network.stages[1](maps[0]))
    torch.testing.assert_close(network(x), network.head(network.bridge(maps)))
    assert not torch.allclose(network.bridge([maps[0].flip(1), maps[1]]), network.bridge(maps))


def test_a_scale_that_changes_nothing_is_left_out() -> None:
    scaled = replace(DUAL, stem_b=Atom("patch", size=8, scale=1.0), fusion=Atom("class_attention", times=3))
    plain = replace(DUAL, fusion=Atom("class_attention"))
    assert canonical(scaled, image_size=32).hash() == canonical(plain, image_size=32).hash()


BROKEN = [
    (replace(DUAL, stages=DUAL.stages[:1]), "V10: a dual network has two stages, one for each branch, this has 1"),
    (replace(DUAL, stem_b=NONE), "V10: a dual network has a second stem and a fusion of its branches"),
    (
        replace(DUAL, fusion=Atom("class_attention", times=4)),
        "V10: a branch of fewer blocks than the 4 times that the branches meet",
    ),
    (
        replace(DUAL, head=Atom("pool")),
        "V10: the branches of a dual network have class tokens, no registers, and head cls",
    ),
    (replace(DUAL, reduction=Atom("tome", keep=0.5)), "V10: a dual network takes no token reduction and no bridge"),
    (
        DUAL.with_stage(1, norm_out=True),
        "V10: the branches of a dual network have no down-sampling and no norm of their own",
    ),
    (
        DUAL.with_stage(0, a=Atom("window")),
        "V10: window in a branch of a dual network; these take softmax, efficient, cross_covariance",
    ),
    (
        replace(DUAL, topology="pyramid").with_stage(1, down=Atom("merge"), a=Atom("softmax")),
        "V10: a second stem and a fusion are for the two branches of a dual network",
    ),
    (
        replace(PYRAMID, topology="plain", stages=PYRAMID.stages[:1], position=Atom("learned")),
        "V10: a bridge joins the stages of a pyramid, this network is plain",
    ),
    (
        replace(PYRAMID, registers=1),
        "V10: a bridge works on whole maps: no class token, no registers, no token reduction",
    ),
    (
        PYRAMID.with_stage(1, width=40),
        "V10: bridge context: the 16 channels of stage 1 do not divide the 40 of a later stage",
    ),
]


@pytest.mark.parametrize(("genotype", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_a_broken_rule_says_so(genotype: Genotype, message: str) -> None:
    assert problems(genotype) == [message]


@pytest.mark.parametrize(("name", "size"), [("vit_small", 8), ("vit_small", 28), ("vit_small", 64), ("vit_224", 224)])
def test_spaces_hold_dual_networks_of_every_choice(name: str, size: int) -> None:
    space, rng = make_space(name, image_size=size, classes=10, fix={"topology": "dual"}), np.random.default_rng(0)
    code = space.sample(rng)
    for _ in range(60):
        code = space.mutate(code, rng)
        genotype = space.decode(code)
        assert genotype.topology == "dual"
        assert space.problems(genotype) == []
        for stem, side in plan(genotype, image_size=size).stems:
            step = stem.params.get("size") or stem.params["stride"]
            assert side[0] % step == 0


@pytest.mark.parametrize("topology", ["dual", "pyramid"])
def test_random_networks_cost_what_was_counted(topology: str) -> None:
    fix = {"topology": topology, **({} if topology == "dual" else {"mixers": "softmax", "bridge": "context"})}
    narrow = {"stage*.ffn": ["mlp", "mix"], "stage*.local": ["none", "lpu"]}
    space, rng = make_space("vit_small", image_size=32, classes=5, fix=fix, narrow=narrow), np.random.default_rng(1)
    for genotype in (space.decode(space.sample(rng)) for _ in range(8)):
        seen = measured(build(genotype, image_size=32, classes=5), torch.randn(1, 3, 32, 32))
        assert seen == count(genotype, image_size=32, classes=5).total, str(genotype)


def test_spaces_hold_bridges() -> None:
    fix = {"topology": "pyramid", "bridge": "context(depth=2, ratio=2)"}
    space, rng = make_space("vit_small", image_size=32, fix=fix), np.random.default_rng(0)
    for genotype in (space.decode(space.sample(rng)) for _ in range(40)):
        assert genotype.bridge == Atom("context", depth=2, ratio=2)
        assert build(genotype, image_size=32, classes=3)(torch.randn(1, 3, 32, 32)).shape == (1, 3)


def test_narrowed_mixers_that_no_branch_takes_leave_out_dual_networks() -> None:
    kept = make_space("vit_small", image_size=32, narrow={"mixers": ["window", "softmax"]}).by_name
    assert kept["topology"].choices == ("plain", "pyramid", "dual")
    assert kept["dual.mixer_a"].choices == ("softmax",)
    left = make_space("vit_small", image_size=32, narrow={"mixers": ["window"]}).by_name
    assert left["topology"].choices == ("plain", "pyramid")


def test_descriptions_name_branches_fusion_and_bridge() -> None:
    assert str(DUAL) == "dual 16x3 softmax & 32x5 efficient > class_attention(times=2)"
    assert str(PYRAMID) == "pyramid 16x1 softmax > 32x2 softmax > context(depth=2, ratio=2)"
    words = dict(network_words(DUAL))
    assert words["Second stem"] == "patch (size 8)"
    assert words["Fusion"] == "class_attention (times 2)"
    found = describe("crossvit_9")
    assert found["totals"]["params"] == 8_553_296
    assert "hierarchy" in found["taxonomy"]


@pytest.mark.parametrize("name", ["resized", "bridge"])
def test_they_compile_export_and_run_in_half_precision(name: str) -> None:
    network, x = build(CASES[name], image_size=32, classes=3).eval(), torch.randn(3, 3, 32, 32)
    expected = network(x)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(x[:2]), expected[:2], atol=1e-5, rtol=1e-5)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (network(x) - expected).abs().max() < 0.1
