"""The way from a genotype back to a code: exact for what a space can say, near for what it nearly can."""

from dataclasses import replace

import numpy as np
import pytest

from nas.genotype import Atom, Stage
from search_spaces.vit import SPACES, make_space
from search_spaces.zoo import ZOO
from search_spaces.zoo.expressed import expressed

SIZES = {"vit_small": (8, 32), "vit_224": (224,)}
DIGITS = {"image_size": 8, "in_chans": 1, "classes": 10}


def test_every_space_is_tried():
    assert set(SIZES) == set(SPACES)


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, sizes in SIZES.items() for size in sizes])
def test_a_code_is_found_for_whatever_a_space_can_say(name, size):
    space, rng = make_space(name, image_size=size), np.random.default_rng(5)
    for _ in range(60):
        genotype = space.decode(space.sample(rng))
        code = space.encode(genotype)
        assert code is not None, genotype
        assert space.decode(code) == genotype
        assert all(code[d.name] in d.choices for d in space.dimensions)


def test_a_narrowed_space_says_less():
    wide = make_space("vit_small", **DIGITS)
    narrow = make_space("vit_small", **DIGITS, fix={"topology": "pyramid"}, narrow={"mixers": ["softmax", "window"]})
    codes = [wide.sample(np.random.default_rng(i)) for i in range(40)]
    known = [g for g in map(wide.decode, codes) if narrow.encode(g) is not None]
    assert all(g.topology == "pyramid" and {*g.mechanisms()} <= {"softmax", "window"} for g in known)
    own = narrow.decode(narrow.sample(np.random.default_rng(0)))
    assert wide.decode(wide.encode(own)) == own


def test_numbers_are_snapped_and_what_has_no_dimension_is_left_out():
    space = make_space("vit_small", **DIGITS)
    exact = ZOO["deit_mini"].build(8)
    near = exact.with_stage(0, width=72, depth=5, norm=Atom("layer", eps=1e-5), layer_scale=1.0)
    assert space.encode(exact) is not None
    assert space.encode(near) is None
    assert space.decode(space.nearest(near)) == space.canonical(exact.with_stage(0, width=64, depth=6))


def test_a_window_of_so_many_tokens_becomes_as_many_divisions():
    space = make_space("vit_224", image_size=224)
    stages = space.decode(space.nearest(ZOO["swin_tiny"].build(224))).stages
    assert [s.a for s in stages[:3]] == [Atom("window", divisions=k) for k in (8, 4, 2)]
    assert [s.width for s in stages] == [96, 192, 384, 768]


@pytest.mark.parametrize(
    "change",
    [{"width": 640}, {"depth": 40}, {"ffn": Atom("none")}, {"a": Atom("unheard_of")}],
)
def test_another_network_is_not_called_near(change):
    space = make_space("vit_small", **DIGITS)
    stage = Stage(width=64, depth=4, head_dim=16)
    network = replace(ZOO["deit_mini"].build(8), stages=(replace(stage, **change),))
    assert space.nearest(network) is None


def test_zoo_networks_of_small_images_are_valid_codes_of_the_small_space():
    space = make_space("vit_small", **DIGITS)
    found = expressed(space)
    assert {"deit_mini", "swin_mini", "pvt_mini", "twins_mini", "davit_mini"} <= set(found)
    assert {"vit_base", "maxvit_tiny", "xcit_mini"}.isdisjoint(found)
    for name, code in found.items():
        assert not space.problems(space.decode(code)), name


def test_published_networks_are_points_of_the_large_space():
    space = make_space("vit_224", image_size=224)
    found = expressed(space)
    assert len(found) >= 18
    exact = {n for n, code in found.items() if space.decode(code) == space.canonical(ZOO[n].build(224))}
    assert {"deit_tiny", "deit_small"} <= exact
