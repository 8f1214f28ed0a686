"""Published networks whose stages differ in kind: convolutions first, attention later. One block may be one stage.

Where blocks of a stage differ, each is a stage of its own without down-sampling, which the search (rule V10) does not
propose.
"""

from collections.abc import Sequence
from dataclasses import replace

from nas.genotype import NONE, Atom, Genotype, Stage, Value
from search_spaces.zoo.entry import TIMM, publish

EPS5 = Atom("layer", eps=1e-5)
WIDTHS_COATNET = (96, 192, 384, 768)


def maxvit(
    widths: Sequence[int],
    depths: Sequence[int],
    *,
    stem: tuple[int, int],
    hidden: int,
    head_dim: int = 32,
    window: str = "7x7",
    grid: str = "7x7",
) -> Genotype:
    """Inverted bottleneck, window and grid attention in turn. stem: widths of its two convolutions."""
    as_tensorflow: dict[str, Value] = {"same": True, "act": "gelu_tanh", "eps": 1e-3}
    block = Stage(
        width=widths[0],
        depth=2,
        head_dim=head_dim,
        a=Atom("window", window=window),
        b=Atom("grid", window=grid),
        ffn=Atom("mlp", ratio=4, act="gelu_tanh"),
        norm=EPS5,
    )
    stages = [
        replace(block, width=width, down=Atom("mbconv", stride=1 if j else 2, **as_tensorflow))
        for width, depth in zip(widths, depths, strict=True)
        for j in range(depth)
    ]
    first = Atom("convolutions", width=stem[0], bias=True, **as_tensorflow)
    return _behind(first, stem[1], stages, Atom("pool", place="after", hidden=hidden))


def coatnet(
    widths: Sequence[int],
    depths: Sequence[int],
    kinds: str,
    *,
    stem: tuple[int, int],
    hidden: int | None = None,
    head_dim: int = 32,
    rw: bool = False,
) -> Genotype:
    """kinds: C for convolutional and T for transformer stages. rw: the arrangement that timm trained."""
    convolution, stages = "mbconv_pooled" if rw else "mbconv", []
    for width, depth, kind in zip(widths, depths, kinds, strict=True):
        bare = Stage(width=width, depth=1, head_dim=head_dim, a=NONE)
        if kind == "C":
            bare = replace(bare, ffn=NONE)
            stages += [replace(bare, down=Atom(convolution, stride=1 if j else 2)) for j in range(depth)]
        else:
            stages.append(replace(bare, down=Atom("attention", head_dim=head_dim, late=rw)))
            stages += [replace(bare, a=Atom("window", divisions=1))] * (depth - 1)
    head = Atom("pool", place="after", hidden=hidden) if hidden else Atom("pool")
    first = Atom("convolutions", width=stem[0], act="silu" if rw else "gelu")
    return _behind(first, stem[1], stages, head)


def _behind(stem: Atom, width: int, stages: list[Stage], head: Atom) -> Genotype:
    """An empty stage of the stem's width comes first."""
    empty = Stage(width=width, depth=1, head_dim=width, a=NONE, ffn=NONE)
    return Genotype(topology="pyramid", stem=stem, stages=(empty, *stages), head=head)


def efficientformer(
    widths: Sequence[int],
    depths: Sequence[int],
    *,
    attending: int,
    ratio: float = 4,
    downs: Sequence[bool] = (True,) * 4,
) -> Genotype:
    """attending: blocks at the end that attend, a stage of their own. downs: whether a stage begins with one."""
    stages: list[Stage] = []
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        last = min(depth, attending) if i == len(depths) - 1 else 0
        pooling = Stage(
            width=width,
            depth=depth - last,
            head_dim=width,
            a=Atom("pooling", kernel=3),
            ffn=Atom("batch_norm_mlp", ratio=ratio),
            norm=NONE,
            layer_scale=1e-5,
            down=Atom("overlap", norm="batch") if i and downs[i] else NONE,
        )
        distance = Atom("distance_bias", heads=8, key=32, ratio=4)
        wide = replace(pooling, depth=last, a=distance, ffn=Atom("mlp", ratio=ratio), norm=EPS5)
        wide = replace(wide, down=NONE) if depth > last else wide
        stages += [stage for stage in (pooling, wide) if stage.depth]
    stem = Atom("convstack", stride=4, relu=True)
    return Genotype(topology="pyramid", stem=stem, stages=tuple(stages), head=Atom("pool", distilled=True))


MAXVIT = ("Tu et al., ECCV 2022", "2204.01697")
COATNET = ("Dai et al., NeurIPS 2021", "2106.04803")
COATNET_RW = ("after Dai et al., NeurIPS 2021", "2106.04803")
EFFICIENTFORMER = ("Li et al., NeurIPS 2022", "2206.01191")

publish(
    "maxvit_tiny", maxvit((64, 128, 256, 512), (2, 2, 5, 2), stem=(64, 64), hidden=512),
    30_916_528, 5.5518, MAXVIT, 0.8343, TIMM,
)  # fmt: skip
publish(
    "coatnet_0", coatnet(WIDTHS_COATNET, (2, 3, 5, 2), "CCTT", stem=(64, 64), hidden=768),
    25_036_820, 4.5465, COATNET,
)  # fmt: skip
publish(
    "coatnet_0_rw", coatnet(WIDTHS_COATNET, (2, 3, 7, 2), "CCTT", stem=(32, 64), rw=True),
    27_435_562, 4.4063, COATNET_RW, 0.8240, TIMM,
)  # fmt: skip
publish(
    "efficientformer_l1", efficientformer((48, 96, 224, 448), (3, 2, 6, 4), attending=1),
    12_289_928, 1.2913, EFFICIENTFORMER, 0.8050, TIMM,
)  # fmt: skip
