"""The space: random codes are valid, moves stay valid, equal networks hash equal, restrictions are strict."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from evaluators.cost import count
from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from search_spaces.mixers import MIXERS
from search_spaces.model import build
from search_spaces.space import Code, Space
from search_spaces.vit import SPACES, make_space

SIZES = {"vit_small": (8, 28, 32, 64), "vit_224": (224,)}
CASES = [(name, size) for name, sizes in SIZES.items() for size in sizes]


def space_of(name: str, size: int, **restrictions: dict) -> Space:
    channels, classes = (1, 10) if size < 32 else (3, 100)
    return make_space(name, image_size=size, in_chans=channels, classes=classes, **restrictions)


def codes_of(space: Space, number: int, seed: int = 0) -> list[Code]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(number)]


def assert_valid(space: Space, code: Code) -> Genotype:
    assert set(code) == {d.name for d in space.dimensions}
    assert all(code[d.name] in d.choices for d in space.dimensions)
    genotype = space.decode(code)
    assert space.problems(genotype) == []
    return genotype


def test_every_space_is_covered() -> None:
    assert set(SPACES) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_2000_random_samples_are_valid_and_come_back_from_json(name: str) -> None:
    space = space_of(name, SIZES[name][0])
    genotypes = [assert_valid(space, code) for code in codes_of(space, 2000)]
    assert all(Genotype.from_json(g.to_json()) == g for g in genotypes)
    assert len({g.hash() for g in genotypes}) > 1900


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), CASES)
def test_10000_random_samples_are_valid(name: str, size: int) -> None:
    space = space_of(name, size)
    for code in codes_of(space, 10_000, seed=1):
        assert_valid(space, code)


def same_pattern(raw: Genotype, genotype: Genotype) -> bool:
    """Not where two sharing mixers turned out to be the same one, which by convention then takes all heads."""
    pairs = zip(raw.stages, genotype.stages, strict=True)
    return all(r.mode == g.mode or r.b is None for r, g in pairs)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_canonical_form_is_idempotent_and_changes_no_cost(name: str, size: int) -> None:
    space = space_of(name, size)
    for code in codes_of(space, 150):
        raw, genotype = space.assemble(code.__getitem__), space.decode(code)
        assert space.canonical(genotype) == genotype
        assert space.canonical(genotype).hash() == genotype.hash()
        if same_pattern(raw, genotype) and not space.problems(raw):
            assert count(raw, image_size=size).total == count(genotype, image_size=size).total


def test_canonical_networks_compute_what_the_raw_ones_do() -> None:
    space, x = space_of("vit_small", 8), torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    compared = 0
    for code in codes_of(space, 120):
        raw, genotype = space.assemble(code.__getitem__), space.decode(code)
        pairs = zip(raw.stages, genotype.stages, strict=True)
        swapped = any(r.mode == "headmix" and r.a.kind != g.a.kind for r, g in pairs)  # other order of the weights
        if raw == genotype or swapped or not same_pattern(raw, genotype) or space.problems(raw):
            continue
        a, b = (build(g, image_size=8, in_chans=1, classes=10).eval() for g in (raw, genotype))
        b.load_state_dict(dict(zip(b.state_dict(), a.state_dict().values(), strict=True)))
        torch.testing.assert_close(a(x), b(x), atol=1e-5, rtol=1e-5)
        compared += 1
    assert compared > 10


@pytest.mark.parametrize(("name", "size"), CASES)
def test_inactive_dimensions_change_nothing_and_active_ones_are_enough(name: str, size: int) -> None:
    space, rng = space_of(name, size), np.random.default_rng(0)
    for code in codes_of(space, 60):
        active = space.active(code)
        other = {d.name: code[d.name] if d.name in active else d.sample(rng) for d in space.dimensions}
        assert space.decode(other).hash() == space.decode(code).hash()
        assert space.active(other) == active


@pytest.mark.parametrize(("name", "size"), CASES)
def test_mutants_are_valid_and_differ(name: str, size: int) -> None:
    space, rng = space_of(name, size), np.random.default_rng(0)
    code = space.sample(rng)
    for _ in range(150):
        child = space.mutate(code, rng)
        assert assert_valid(space, child) != space.decode(code)
        code = child


@pytest.mark.parametrize(("name", "size"), CASES)
def test_children_are_valid_and_take_after_their_parents(name: str, size: int) -> None:
    space, rng = space_of(name, size), np.random.default_rng(0)
    for a, b in zip(codes_of(space, 100), codes_of(space, 100, seed=1), strict=True):
        child = space.crossover(a, b, rng)
        assert_valid(space, child)
        assert sum(child[k] in (a[k], b[k]) for k in child) >= len(child) - 5


def test_children_inherit_whole_stages() -> None:
    space, rng = space_of("vit_small", 32, fix={"topology": "pyramid"}), np.random.default_rng(0)
    a, b = codes_of(space, 2)
    stage = [n for n in a if n.startswith("stage1.")]
    children = [space.crossover(a, b, rng) for _ in range(40)]
    assert all([c[n] for n in stage] in ([a[n] for n in stage], [b[n] for n in stage]) for c in children)
    assert len({str(c) for c in children}) > 10


def test_the_same_seed_gives_the_same_code() -> None:
    space = space_of("vit_small", 32)
    a, b = codes_of(space, 20), codes_of(space, 20)
    assert a == b
    for move in (space.mutate, partial(space.crossover, a[1])):
        moves = [[move(code, np.random.default_rng(i)) for code in a] for i in (0, 0, 1)]
        assert moves[0] == moves[1] != moves[2]


def test_mechanisms_are_drawn_equally_however_many_parameters_they_have() -> None:
    mixer, rng = space_of("vit_224", 224).by_name["stage1.mixer_a"], np.random.default_rng(0)
    drawn = Counter(Atom.parse(str(mixer.sample(rng))).kind for _ in range(6000))
    expected = 6000 / len(drawn)
    assert len(drawn) >= 10
    assert all(abs(n - expected) < 5 * expected**0.5 for n in drawn.values())


def test_every_mechanism_can_be_drawn_in_both_profiles() -> None:
    for name, size in (("vit_small", 32), ("vit_224", 224)):
        dimensions = [d for d in space_of(name, size).dimensions if d.part == "mixer_b"]
        kinds = {Atom.parse(str(choice)).kind for d in dimensions for choice in d.choices}
        assert kinds == {"same", *MIXERS}


EQUAL = [
    ("a window over the whole map", {"a": Atom("window", window=4, position_bias=False)}, {"a": Atom("softmax")}),
    ("a reduction by one", {"a": Atom("spatial_reduction", reduction=1)}, {"a": Atom("softmax")}),
    ("a pair of equals", {"a": Atom("softmax"), "b": Atom("softmax")}, {"a": Atom("softmax")}),
    ("equals that share heads", {"b": Atom("softmax"), "mode": "headmix", "share": 0.25}, {}),
    ("a pair in one block", {"depth": 1, "b": Atom("efficient")}, {"depth": 1}),
    ("a tail of all blocks", {"a": Atom("efficient"), "tail": 3}, {}),
    ("softmax behind softmax", {"tail": 1}, {}),
    ("a default written out", {"a": Atom("softmax", qkv_bias=True)}, {}),
    ("4.0 for 4", {"ffn": Atom("mlp", ratio=4.0)}, {"ffn": Atom("mlp")}),
    ("a share that nobody shares", {"share": 0.75}, {}),
    ("head sizes of pooling", {"a": Atom("pooling"), "head_dim": 8}, {"a": Atom("pooling"), "head_dim": 16}),
    (
        "interchangeable heads",
        {"a": Atom("softmax"), "b": Atom("efficient"), "mode": "headmix", "share": 0.25},
        {"a": Atom("efficient"), "b": Atom("softmax"), "mode": "headmix", "share": 0.75},
    ),
]


@pytest.mark.parametrize(("one", "other"), [e[1:] for e in EQUAL], ids=[e[0] for e in EQUAL])
def test_equal_networks_have_one_canonical_form(one: dict, other: dict) -> None:
    space, stem = space_of("vit_small", 8), Atom("patch", size=2)
    base = Genotype(topology="plain", stem=stem, stages=(Stage(width=32, depth=2, head_dim=8),))
    a, b = (space.canonical(base.with_stage(0, **changes)) for changes in (one, other))
    assert a.hash() == b.hash()


def test_60_random_networks_are_built_as_counted_and_run() -> None:
    for size in (8, 32):
        space, images = space_of("vit_small", size), torch.randn(2, 1 if size < 32 else 3, size, size)
        for code in codes_of(space, 30, seed=2):
            genotype = space.decode(code)
            network = build(genotype, image_size=size, in_chans=space.in_chans, classes=space.classes).eval()
            report = count(genotype, image_size=size, in_chans=space.in_chans, classes=space.classes)
            assert sum(p.numel() for p in network.parameters()) == report.total.params
            assert network(images).shape == (2, space.classes)


def test_a_genotype_found_at_32_px_works_at_64_px() -> None:
    space = replace(space_of("vit_small", 32), resolutions=(64,))
    for code in codes_of(space, 8):
        genotype = space.decode(code)
        assert build(genotype, image_size=64)(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


def test_fixed_and_narrowed_spaces_hold_to_it() -> None:
    narrow = {"mixers": ["window", "softmax"], "stage*.width": [32, 64]}
    space = space_of("vit_small", 32, fix={"topology": "pyramid", "stages": 3}, narrow=narrow)
    for code in codes_of(space, 50):
        genotype = assert_valid(space, code)
        assert genotype.topology == "pyramid"
        assert {s.width for s in genotype.stages} <= {32, 64}
        assert set(genotype.mechanisms()) <= {"window", "softmax"}
        assert_valid(space, space.mutate(code, np.random.default_rng(0)))


def test_exact_atoms_can_be_chosen_in_any_notation() -> None:
    for value in ("window(divisions=2)", "window( divisions = 2 )", {"kind": "window", "divisions": 2}):
        space = space_of("vit_224", 224, narrow={"stage1.mixer_a": [value]})
        assert space.by_name["stage1.mixer_a"].choices == ("window(divisions=2)",)


@pytest.mark.parametrize(
    ("fix", "narrow", "message"),
    [
        ({"topolgy": "plain"}, {}, "space.fix: unknown dimension 'topolgy'; did you mean 'topology'?"),
        ({"topology": "pyramide"}, {}, "space.fix.topology: unknown choice 'pyramide'; did you mean 'pyramid'?"),
        ({"stage1.width": 40}, {}, "space.fix.stage1.width: 40 is not a choice; choices: 16, 32, 48, 64"),
        ({"stage1.width": [16]}, {}, "space.fix.stage1.width: expected one choice, found a list"),
        ({}, {"mixers": ["windows"]}, "space.narrow.mixers: unknown choice 'windows'; did you mean 'window'?"),
        ({}, {"position": "none"}, "space.narrow.position: expected a list of choices"),
        ({}, {"position": []}, "space.narrow.position: expected a list of choices"),
        ({"topology": "plain", "tail": 0}, {"mixers": ["pooling(kernel=3)"]}, "network for 32 px; for example V12"),
    ],
)
def test_wrong_restrictions_are_one_clear_line(fix: dict, narrow: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        space_of("vit_small", 32, fix=fix, narrow=narrow)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "size"), [("vit_small", 3), ("vit_small", 600), ("vit_224", 64)])
def test_image_sizes_that_no_genotype_can_take_are_refused(name: str, size: int) -> None:
    with pytest.raises(UserError, match=r"image_size: vit_.*found \d+"):
        make_space(name, image_size=size)


def test_unknown_spaces_name_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown space 'vit_smal'; did you mean 'vit_small'"):
        make_space("vit_smal", image_size=32)


def test_a_code_without_a_dimension_is_refused() -> None:
    with pytest.raises(UserError, match="dimension 'topology' is missing"):
        space_of("vit_small", 8).decode({"stages": 2})
