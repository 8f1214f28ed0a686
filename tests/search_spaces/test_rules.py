"""Each validity rule has an example that breaks it, and its message says what, where and what would work."""

from dataclasses import fields, replace
from typing import Any

import pytest

from nas.genotype import Atom, Genotype, Stage
from search_spaces import vit  # noqa: F401  registers every component
from search_spaces.mixers import MIXERS
from search_spaces.rules import find_problems

SOFTMAX, CONVOLUTION = Atom("softmax"), Atom("overlap", stride=4)
STAGE = {f.name for f in fields(Stage)}
TOME = Atom("tome", keep=0.5, at=0.5)


def plain(**changes: Any) -> Genotype:
    """A valid network of one stage with some fields of the stage or of the network changed."""
    stage = {k: changes.pop(k) for k in STAGE & set(changes)}
    base = Genotype(topology="plain", stem=CONVOLUTION, stages=(Stage(width=64, depth=2, head_dim=32),))
    return replace(base, **changes).with_stage(0, **stage)


def pyramid(*stages: dict, stem: Atom = CONVOLUTION) -> Genotype:
    fields = [{"width": 64, "depth": 2, **({"down": Atom("patch")} if i else {}), **s} for i, s in enumerate(stages)]
    return Genotype(topology="pyramid", stem=stem, stages=tuple(Stage(**f) for f in fields))


def problems(genotype: Genotype, image_size: int = 32, **options: object) -> list[str]:
    return [str(p) for p in find_problems(genotype, image_size=image_size, **options)]  # type: ignore[arg-type]


BROKEN = [
    (plain(head_dim=48), "V1: heads of 48 channels do not divide the 64 of stage 1"),
    (plain(head_dim=128), "V1: heads of 128 channels do not divide the 64 of stage 1"),
    (
        plain(b=Atom("efficient"), mode="headmix", share=0.25),
        "V1: 0.25 of 2 heads in stage 1 is not a whole number of heads",
    ),
    (
        plain(b=Atom("pooling"), mode="headmix"),
        "V1: pooling in stage 1 has no heads to share out; headmix takes two attention mechanisms",
    ),
    (
        plain(a=SOFTMAX, b=Atom("window", divisions=8)),
        "V2: groups of 1x1 tokens on a map of 8x8 in stage 1; at least 2x2",
    ),
    (
        pyramid({}, {"a": Atom("spatial_reduction", reduction=4)}),
        "V3: reduction 4 leaves 1x1 of 4x4 tokens in stage 2; at least 2x2",
    ),
    (plain(a=Atom("pooling"), tail=1, registers=1), "V7: pooling in stage 1 takes no class token and no registers"),
    (plain(a=Atom("window"), b=SOFTMAX, cls_token=True), "V7: window in stage 1 takes no class token and no registers"),
    (plain(b=Atom("window"), reduction=TOME), "V8: window in stage 1 needs the grid that tome has dissolved"),
    (plain(ffn=Atom("mix"), reduction=TOME), "V8: mix in stage 1 needs the grid that tome has dissolved"),
    (plain(local=Atom("lpu"), reduction=TOME), "V8: lpu in stage 1 needs the grid that tome has dissolved"),
    (plain(depth=1, reduction=TOME), "V8: a reduction after the last block of stage 1 saves nothing"),
    (plain(head=Atom("cls")), "V9: head cls reads a class token and the network has none"),
    (plain(topology="flat"), "V10: unknown topology 'flat'; known: plain, pyramid, dual"),
    (plain(topology="pyramid"), "V10: a pyramid has at least two stages, this has 1"),
    (plain(down=Atom("patch")), "V10: the first stage follows the stem and takes no down-sampling"),
    (pyramid({}, {"down": Atom("none")}), "V10: every stage of a pyramid but the first begins with a down-sampling"),
    (
        plain(stem=Atom("patch", size=4)),
        "V11: nothing tells positions apart; add a position, a convolution or a mixer that works on the grid",
    ),
    (plain(a=Atom("pooling")), "V12: no layer sees the whole map: only pooling"),
    (plain(a=Atom("pooling", kernel=9), b=SOFTMAX), "V13: pooling with a kernel of 9 on a map of 8x8 in stage 1"),
    (pyramid({}, {}, {}, {}), "V13: stage 4 is left with 1x1 tokens; at least 2x2"),
    (plain(stem=Atom("patch", size=64)), "V13: an image of 32x32 leaves no token in stage 1 (patch(size=64))"),
]


@pytest.mark.parametrize(("genotype", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_a_broken_rule_says_so(genotype: Genotype, message: str) -> None:
    assert problems(genotype) == [message]


def test_softmax_over_too_many_tokens_breaks_v6() -> None:
    genotype = pyramid({"a": SOFTMAX}, {}, stem=Atom("patch", size=4, norm=True))
    found = problems(genotype, image_size=224)
    assert found[0] == "V6: softmax attention over 3136 tokens in stage 1; at most 1024"


def test_networks_that_fit_break_nothing() -> None:
    assert problems(plain()) == []
    assert problems(plain(cls_token=True, head=Atom("cls"), registers=4, reduction=TOME)) == []
    assert problems(pyramid({"a": Atom("window"), "b": Atom("shifted_window")}, {})) == []


def test_only_blocks_behind_a_reduction_have_to_be_set_mixers() -> None:
    before = plain(depth=4, a=Atom("window"), tail=2, reduction=TOME)
    assert problems(before) == []
    assert problems(plain(depth=4, a=Atom("window"), tail=1, reduction=TOME)) != []


CURES = [
    {"position": Atom("learned")},
    {"ffn": Atom("mix")},
    {"local": Atom("cpe")},
    {"a": Atom("window", divisions=1)},
]


@pytest.mark.parametrize("cure", CURES, ids=lambda c: next(iter(c)))
def test_anything_that_tells_positions_apart_satisfies_v11(cure: dict) -> None:
    assert problems(plain(stem=Atom("patch", size=4), **cure)) == []


def test_a_window_over_the_whole_map_satisfies_v12() -> None:
    local = {"a": Atom("window", divisions=2)}
    assert problems(pyramid(local, local))[0].startswith("V12: no layer sees the whole map: only window")
    assert problems(pyramid(local, {"a": Atom("window", divisions=1)})) == []


def test_purely_local_networks_are_valid_where_they_are_allowed() -> None:
    assert problems(plain(a=Atom("pooling")), local_only=True) == []


def test_v14_caps_what_one_image_may_hold() -> None:
    genotype = plain(stem=Atom("patch", size=1), width=16384, head_dim=64, a=Atom("pooling"), ffn=Atom("mlp", ratio=2))
    found = [p for p in problems(genotype) if p.startswith("V14")]
    assert found == ["V14: a block of stage 1 holds 83886080 activations for one image; at most 67108864"]


def test_v15_repeats_the_rules_at_further_sizes() -> None:
    genotype = plain(stem=Atom("overlap", stride=2), a=SOFTMAX)
    assert problems(genotype, resolutions=(48,)) == []
    expected = "V15: at 96 px V6: softmax attention over 2304 tokens in stage 1; at most 1024"
    assert problems(genotype, resolutions=(96,)) == [expected]


def test_every_mechanism_names_the_rule_behind_its_check() -> None:
    assert {mixer.rule for _, mixer in MIXERS.items()} >= {"V2", "V3", "V6", "V13"}
