"""Published pyramids with spatial reduction: PVT, PVT v2, Twins."""

from dataclasses import replace

from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.zoo.entry import AUTHORS, TIMM, publish

SOFTMAX = Atom("softmax")
WIDTHS_PVT = (64, 128, 320, 512)
WIDTHS_PVT_B0 = (32, 64, 160, 256)
WIDTHS_TWINS = (64, 128, 256, 512)
SMALL = (3, 4, 6, 3)  # blocks by stage
TINY = (2, 2, 2, 2)

PVT = ("Wang et al., ICCV 2021", "2102.12122")
PVT_V2 = ("Wang et al., CVMJ 2022", "2106.13797")
TWINS = ("Chu et al., NeurIPS 2021", "2104.13840")


def _reduced(reduction: int) -> Atom:
    """Spatial reduction as published: rows that the stride leaves over are dropped."""
    return SOFTMAX if reduction == 1 else Atom("spatial_reduction", reduction=reduction, remainder="drop")


def pvt(depths: tuple[int, ...]) -> Genotype:
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=64,
            a=_reduced(reduction),
            ffn=Atom("mlp", ratio=ratio),
            down=NONE if i == 0 else Atom("patch"),
        )
        for i, (width, depth, reduction, ratio) in enumerate(
            zip(WIDTHS_PVT, depths, (8, 4, 2, 1), (8, 8, 4, 4), strict=True)
        )
    )
    return Genotype(
        topology="pyramid",
        stem=Atom("patch", size=4, norm=True),
        stages=stages,
        position=Atom("learned", every_stage=True),
        cls_token=True,
        head=Atom("cls"),
    )


def pvt_v2(widths: tuple[int, ...], depths: tuple[int, ...], head_dim: int, linear: bool = False) -> Genotype:
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=head_dim,
            a=Atom("spatial_reduction", pool=7) if linear else _reduced(reduction),
            ffn=Atom("mix", ratio=ratio, relu=linear),
            down=NONE if i == 0 else Atom("overlap"),
            norm_out=True,
        )
        for i, (width, depth, reduction, ratio) in enumerate(
            zip(widths, depths, (8, 4, 2, 1), (8, 8, 4, 4), strict=True)
        )
    )
    return Genotype(topology="pyramid", stem=Atom("overlap", stride=4), stages=stages, head=Atom("pool", place="none"))


def twins_svt() -> Genotype:
    """Windows without bias and spatial reduction take turns."""
    window = Atom("window", window=7, position_bias=False)
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=32,
            a=window,
            b=_reduced(reduction),
            down=NONE if i == 0 else Atom("patch"),
        )
        for i, (width, depth, reduction) in enumerate(zip(WIDTHS_TWINS, (2, 2, 10, 4), (8, 4, 2, 1), strict=True))
    )
    return Genotype(
        topology="pyramid", stem=Atom("patch", size=4, norm=True), stages=stages, position=Atom("conditional")
    )


def twins_pcpvt() -> Genotype:
    """A PVT-S without class token, with a conditional position."""
    return replace(pvt(SMALL), position=Atom("conditional"), cls_token=False, head=Atom("pool"))


publish("pvt_tiny", pvt(TINY), 13_229_288, 1.9329, PVT, 0.751, AUTHORS)
publish("pvt_small", pvt(SMALL), 24_485_864, 3.8157, PVT, 0.798, AUTHORS)
publish("pvt_v2_b0", pvt_v2(WIDTHS_PVT_B0, TINY, 32), 3_666_760, 0.5661, PVT_V2, 0.7065, TIMM)
publish("pvt_v2_b2", pvt_v2(WIDTHS_PVT, SMALL, 64), 25_362_856, 4.0267, PVT_V2, 0.8206, TIMM)
publish("pvt_v2_b2_li", pvt_v2(WIDTHS_PVT, SMALL, 64, linear=True), 22_553_512, 3.8889, PVT_V2, 0.8220, TIMM)
publish("twins_svt_small", twins_svt(), 24_060_776, 2.9274, TWINS, 0.8169, TIMM)
publish("twins_pcpvt_small", twins_pcpvt(), 24_106_216, 3.8095, TWINS, 0.8112, TIMM)
