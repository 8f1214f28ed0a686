"""Published pyramids that mix by pooling or convolutions, or attend with their help: PoolFormer, FocalNet, VAN, CvT,
CMT."""

from collections.abc import Sequence

from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.zoo.entry import AUTHORS, TIMM, publish

EPS5 = Atom("layer", eps=1e-5)
WIDTHS_SWIN = (96, 192, 384, 768)
WIDTHS_PVT = (64, 128, 320, 512)

FOCALNET = ("Yang et al., NeurIPS 2022", "2203.11926")
POOLFORMER = ("Yu et al., CVPR 2022", "2111.11418")
VAN = ("Guo et al., CVMJ 2023", "2202.09741")
CVT = ("Wu et al., ICCV 2021", "2103.15808")
CMT = ("Guo et al., CVPR 2022", "2107.06263")


def focalnet(levels: int) -> Genotype:
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=width,
            a=Atom("focal", levels=levels, window=3),
            norm=EPS5,
            down=NONE if i == 0 else Atom("patch"),
        )
        for i, (width, depth) in enumerate(zip(WIDTHS_SWIN, (2, 2, 6, 2), strict=True))
    )
    return Genotype(topology="pyramid", stem=Atom("patch", size=4, norm=True), stages=stages)


def poolformer() -> Genotype:
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=width,
            a=Atom("pooling", kernel=3),
            norm=Atom("group"),
            layer_scale=1e-5,
            down=NONE if i == 0 else Atom("overlap", norm="none"),
        )
        for i, (width, depth) in enumerate(zip(WIDTHS_PVT, (2, 2, 6, 2), strict=True))
    )
    stem = Atom("overlap", stride=4, kernel=7, padding=2, norm=False)
    return Genotype(topology="pyramid", stem=stem, stages=stages)


def van(widths: Sequence[int], depths: Sequence[int], ratios: Sequence[float] = (8, 8, 4, 4)) -> Genotype:
    """Batch norms but for a layer norm behind each stage."""
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=width,
            a=Atom("large_kernel", shortcut=True),
            ffn=Atom("mix", ratio=ratio),
            norm=Atom("batch", out="layer"),
            norm_out=True,
            layer_scale=1e-2,
            down=Atom("overlap", norm="batch") if i else NONE,
        )
        for i, (width, depth, ratio) in enumerate(zip(widths, depths, ratios, strict=True))
    )
    stem = Atom("overlap", stride=4, kernel=7, padding=3, batch=True)
    return Genotype(topology="pyramid", stem=stem, stages=stages, head=Atom("pool", place="none"))


def cvt(widths: Sequence[int], depths: Sequence[int], head_dim: int = 64) -> Genotype:
    """Logits are divided by the root of the whole width, as in the authors' code."""
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=head_dim,
            a=Atom("convolutional_projection", stride=2, scale="width"),
            ffn=Atom("mlp", ratio=4, act="quick_gelu"),
            norm=EPS5,
            down=Atom("overlap") if i else NONE,
        )
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True))
    )
    stem = Atom("overlap", stride=4, kernel=7, padding=2)
    return Genotype(topology="pyramid", stem=stem, stages=stages, cls_token=True, head=Atom("cls"))


def cmt(width: int, depths: Sequence[int], ratio: float, *, stem: int, hidden: int = 1280) -> Genotype:
    """width: of the first stage; it doubles from stage to stage while the heads double. An empty stage of the stem's
    width comes first."""
    empty = Stage(width=stem, depth=1, head_dim=stem, a=NONE, ffn=NONE)
    stages = tuple(
        Stage(
            width=width * 2**i,
            depth=depth,
            head_dim=width,
            a=Atom("light", reduction=reduction, position_bias=True, shared=True),
            ffn=Atom("inverted_residual", ratio=ratio),
            local=Atom("lpu"),
            down=Atom("patch"),
        )
        for i, (depth, reduction) in enumerate(zip(depths, (8, 4, 2, 1), strict=True))
    )
    head = Atom("expanded", hidden=hidden)
    return Genotype(topology="pyramid", stem=Atom("cmt"), stages=(empty, *stages), head=head)


publish("focalnet_tiny_srf", focalnet(levels=2), 28_427_116, 4.4033, FOCALNET, 0.8215, TIMM)
publish("focalnet_tiny_lrf", focalnet(levels=3), 28_647_928, 4.4748, FOCALNET, 0.8217, TIMM)
publish("poolformer_s12", poolformer(), 11_915_176, 1.8123, POOLFORMER, 0.7724, TIMM)
publish("van_b0", van((32, 64, 160, 256), (3, 3, 5, 2)), 4_105_800, 0.8642, VAN, 0.754, AUTHORS)
publish("van_b1", van(WIDTHS_PVT, (2, 2, 4, 2)), 13_861_800, 2.4953, VAN, 0.811, AUTHORS)
publish("cvt_13", cvt((64, 192, 384), (1, 2, 10)), 19_997_480, 4.5661, CVT, 0.816, AUTHORS)
publish("cmt_tiny", cmt(46, (2, 2, 10, 2), 3.6, stem=16), 9_492_426, 0.6389, CMT, 0.790, AUTHORS, image_size=160)
publish("cmt_xsmall", cmt(52, (3, 3, 12, 3), 3.77, stem=16), 15_247_208, 1.5469, CMT, 0.818, AUTHORS, image_size=192)
publish("cmt_small", cmt(64, (3, 3, 16, 3), 4, stem=32), 26_256_160, 4.0317, CMT, 0.835, AUTHORS)
publish("cmt_base", cmt(76, (4, 4, 20, 4), 4, stem=38), 45_715_076, 9.3171, CMT, 0.845, AUTHORS, image_size=256)
