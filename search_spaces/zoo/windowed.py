"""Published pyramids with windows: Swin, DaViT, CSWin, Shuffle, DAT."""

from collections.abc import Sequence
from dataclasses import replace

from nas.genotype import NONE, Atom, Genotype, Stage, Value
from search_spaces.zoo.entry import AUTHORS, TIMM, publish

EPS5 = Atom("layer", eps=1e-5)
WIDTHS_SWIN = (96, 192, 384, 768)
DEPTHS_SWIN = (2, 2, 6, 2)

SWIN = ("Liu et al., ICCV 2021", "2103.14030")
DAVIT = ("Ding et al., ECCV 2022", "2204.03645")
CSWIN = ("Dong et al., CVPR 2022", "2107.00652")
SHUFFLE = ("Huang et al., 2021", "2106.03650")
DAT = ("Xia et al., CVPR 2022", "2201.00520")


def swin() -> Genotype:
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=32,
            a=Atom("window", window=7),
            b=Atom("shifted_window", window=7),
            norm=EPS5,
            down=NONE if i == 0 else Atom("merge"),
        )
        for i, (width, depth) in enumerate(zip(WIDTHS_SWIN, DEPTHS_SWIN, strict=True))
    )
    return Genotype(topology="pyramid", stem=Atom("patch", size=4, norm=True), stages=stages)


def davit() -> Genotype:
    stages = tuple(
        Stage(
            width=width,
            depth=2 * depth,
            head_dim=32,
            a=Atom("window", window=7, position_bias=False),
            b=Atom("channel_groups", scale="channels"),
            local=Atom("cpe"),
            norm=EPS5,
            down=NONE if i == 0 else Atom("patch", norm="before"),
        )
        for i, (width, depth) in enumerate(zip(WIDTHS_SWIN, (1, 1, 3, 1), strict=True))
    )
    return Genotype(topology="pyramid", stem=Atom("overlap", stride=4), stages=stages, head=Atom("pool", place="after"))


def cswin(widths: Sequence[int], depths: Sequence[int], stripes: Sequence[int], head_dim: int = 32) -> Genotype:
    """stripes: their width in every stage but the last, in which all heads see the whole map."""
    mixers = [*(Atom("cross_shaped_window", stripe=w) for w in stripes), Atom("cross_shaped_window", stripes=1)]
    stages = tuple(
        Stage(width=width, depth=depth, head_dim=head_dim, a=a, norm=EPS5, down=Atom("overlap") if i else NONE)
        for i, (width, depth, a) in enumerate(zip(widths, depths, mixers, strict=True))
    )
    stem = Atom("overlap", stride=4, kernel=7, padding=2)
    return Genotype(topology="pyramid", stem=stem, stages=stages)


def shuffle(widths: Sequence[int], depths: Sequence[int], *, window: int = 7, stem: int = 32) -> Genotype:
    """Windows and shuffled windows take turns, a connection across their borders. stem: width of its first step."""
    sides: dict[str, Value] = {"window": window, "qkv_bias": False}
    stages = tuple(
        Stage(
            width=width,
            depth=depth,
            head_dim=32,
            a=Atom("window", **sides),
            b=Atom("grid", **sides),
            ffn=Atom("mlp", ratio=4, act="relu6"),
            local=Atom("neighbour_window", kernel=window),
            norm=Atom("batch"),
            down=Atom("patch", norm="batch_before", proj_bias=False) if i else NONE,
        )
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True))
    )
    first = Atom("shuffle", width=stem)
    return Genotype(topology="pyramid", stem=first, stages=stages, head=Atom("pool", place="none"))


def dat(
    widths: Sequence[int],
    depths: Sequence[int],
    groups: Sequence[int],
    *,
    window: int = 7,
    kernels: Sequence[int] = (9, 7, 5, 3),
    head_dim: int = 32,
) -> Genotype:
    """Windows alternate with shifted ones, or where there are groups with deformable attention as published."""
    stages = []
    for i, (width, depth, count, kernel) in enumerate(zip(widths, depths, groups, kernels, strict=True)):
        shifted = Atom("shifted_window", window=window, shift=(window + 1) // 2)
        moved = Atom("deformable", reduction=1, groups=count, kernel=kernel, offset_range=2.0, reference="published")
        stage = Stage(width=width, depth=depth, head_dim=head_dim, a=Atom("window", window=window), norm=EPS5)
        down = Atom("patch", proj_bias=False) if i else NONE
        stages.append(replace(stage, b=moved if count else shifted, down=down))
    return Genotype(topology="pyramid", stem=Atom("patch", size=4, norm=True), stages=tuple(stages))


publish("swin_tiny", swin(), 28_288_354, 4.4906, SWIN, 0.8139, TIMM)
publish("davit_tiny", davit(), 28_360_168, 4.5218, DAVIT, 0.8269, TIMM)
publish("cswin_tiny", cswin((64, 128, 256, 512), (1, 2, 21, 1), (1, 2, 7)), 22_320_552, 4.3242, CSWIN, 0.828, AUTHORS)
publish("shuffle_tiny", shuffle(WIDTHS_SWIN, DEPTHS_SWIN), 28_532_482, 4.6726, SHUFFLE, 0.824, AUTHORS)
publish("dat_tiny", dat(WIDTHS_SWIN, DEPTHS_SWIN, (0, 0, 3, 6)), 28_319_138, 4.5635, DAT)
