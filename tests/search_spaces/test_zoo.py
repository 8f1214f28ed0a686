"""The zoo: published networks have the published sizes, small ones work at all small image sizes."""

import pytest
import torch

from evaluators.cost import count
from search_spaces.canonical import canonical
from search_spaces.model import build
from search_spaces.rules import find_problems
from search_spaces.zoo import NOT_EXPRESSED, ZOO

PUBLISHED = {  # parameters, GMACs; counted on the authors' or timm's modules with 1000 classes at 224 px or in SIZES
    "deit_tiny": (5_717_416, 1.2537),
    "deit_small": (22_050_664, 4.5989),
    "vit_base": (86_567_656, 17.5638),
    "swin_tiny": (28_288_354, 4.4906),
    "pvt_tiny": (13_229_288, 1.9329),
    "pvt_small": (24_485_864, 3.8157),
    "pvt_v2_b0": (3_666_760, 0.5661),
    "pvt_v2_b2": (25_362_856, 4.0267),
    "pvt_v2_b2_li": (22_553_512, 3.8889),
    "twins_svt_small": (24_060_776, 2.9274),
    "twins_pcpvt_small": (24_106_216, 3.8095),
    "davit_tiny": (28_360_168, 4.5218),
    "xcit_small_12_p16": (26_253_304, 4.7958),
    "focalnet_tiny_srf": (28_427_116, 4.4033),
    "focalnet_tiny_lrf": (28_647_928, 4.4748),
    "poolformer_s12": (11_915_176, 1.8123),
    "maxvit_tiny": (30_916_528, 5.5518),
    "coatnet_0": (25_036_820, 4.5465),
    "coatnet_0_rw": (27_435_562, 4.4063),
    "efficientformer_l1": (12_289_928, 1.2913),
    "t2t_7": (4_310_222, 1.1469),
    "t2t_14": (21_545_550, 4.7835),
    "t2t_t_14": (21_541_070, 6.0887),
    "shuffle_tiny": (28_532_482, 4.6726),
    "cswin_tiny": (22_320_552, 4.3242),
    "dat_tiny": (28_319_138, 4.5635),
    "van_b0": (4_105_800, 0.8642),
    "van_b1": (13_861_800, 2.4953),
    "cvt_13": (19_997_480, 4.5661),
    "cmt_tiny": (9_492_426, 0.6389),
    "cmt_xsmall": (15_247_208, 1.5469),
    "cmt_small": (26_256_160, 4.0317),
    "cmt_base": (45_715_076, 9.3171),
    "crossvit_9": (8_553_296, 1.8408),
    "crossvit_15": (27_528_464, 5.7906),
}
SIZES = {"crossvit_9": 240, "crossvit_15": 240, "cmt_tiny": 160, "cmt_xsmall": 192, "cmt_base": 256}
SMALL = [name for name, entry in ZOO.items() if entry.small]
LOCAL = {"poolformer_s12", "poolformer_mini"}  # by design
AS_PUBLISHED = {
    "pvt_v2_b2_li",  # pools its last 7x7 map to 7x7, which V3 forbids to sample
    "coatnet_0", "coatnet_0_rw", "efficientformer_l1",  # two kinds of block on one map are two stages, against V10
}  # fmt: skip


def test_the_zoo_holds_all_published_networks_and_small_ones() -> None:
    assert {name for name, entry in ZOO.items() if not entry.small} == set(PUBLISHED)
    assert len(SMALL) >= 8
    assert all(entry.name == name and entry.paper and entry.arxiv and entry.source for name, entry in ZOO.items())
    assert all((entry.accuracy is None) == (entry.accuracy_source is None) for _, entry in ZOO.items())


def test_networks_that_cannot_be_expressed_have_a_reason_and_no_entry() -> None:
    assert not NOT_EXPRESSED.keys() & set(ZOO)
    assert all("; " in reason for reason in NOT_EXPRESSED.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_published_size(name: str) -> None:
    entry, (params, macs_g), size = ZOO[name], PUBLISHED[name], SIZES.get(name, 224)
    cost = count(entry.build(size), image_size=size, classes=1000).total
    assert cost.params == params == entry.params
    assert cost.macs / 1e9 == pytest.approx(macs_g, rel=0.005)
    assert (entry.macs_g, entry.image_size) == (macs_g, size)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_are_built_with_the_published_parameters(name: str) -> None:
    with torch.device("meta"):
        network = build(ZOO[name].build(224), image_size=SIZES.get(name, 224))
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name][0]


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - AS_PUBLISHED))
def test_published_networks_keep_the_rules(name: str) -> None:
    entry = ZOO[name]
    problems = find_problems(entry.build(224), image_size=entry.image_size, local_only=name in LOCAL)
    assert problems == []


def test_no_two_entries_are_one_network() -> None:
    hashes = {canonical(entry.build(entry.image_size), image_size=entry.image_size).hash() for _, entry in ZOO.items()}
    assert len(hashes) == len(ZOO)


@pytest.mark.parametrize("size", [8, 12, 28, 32, 64, 96])
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_keep_the_rules_and_run(name: str, size: int) -> None:
    genotype = ZOO[name].build(size)
    assert find_problems(genotype, image_size=size, local_only=name in LOCAL) == []
    network = build(genotype, image_size=size, in_chans=1, classes=10).eval()
    assert network(torch.randn(2, 1, size, size)).isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_of_comparable_size(name: str) -> None:
    tiny, small = (count(ZOO[name].build(s), image_size=s, in_chans=3, classes=10).total.params for s in (8, 32))
    assert 50_000 < tiny < 500_000
    assert 500_000 < small < 1_500_000
