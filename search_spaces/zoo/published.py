"""Published networks as genotypes: they build with exactly the published parameter counts.

Parameters and MACs were counted on the authors' or timm's code at 224 px with 1000 classes. Accuracies are ImageNet-1k
top-1, as timm's published results or the authors' repositories give them.
"""

from dataclasses import replace

from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.zoo.entry import ZOO, Build, ZooEntry

EPS5 = Atom("layer", eps=1e-5)
SOFTMAX = Atom("softmax")
WIDTHS_SWIN = (96, 192, 384, 768)
WIDTHS_PVT = (64, 128, 320, 512)
WIDTHS_PVT_B0 = (32, 64, 160, 256)
WIDTHS_TWINS = (64, 128, 256, 512)
SMALL = (3, 4, 6, 3)  # blocks by stage

TIMM = "timm's results on ImageNet-1k"
AUTHORS = "the authors' repository"

DEIT = ("Touvron et al., ICML 2021", "2012.12877")
SWIN = ("Liu et al., ICCV 2021", "2103.14030")
PVT = ("Wang et al., ICCV 2021", "2102.12122")
PVT_V2 = ("Wang et al., CVMJ 2022", "2106.13797")
TWINS = ("Chu et al., NeurIPS 2021", "2104.13840")
DAVIT = ("Ding et al., ECCV 2022", "2204.03645")
XCIT = ("Ali et al., NeurIPS 2021", "2106.09681")
FOCALNET = ("Yang et al., NeurIPS 2022", "2203.11926")
T2T = ("Yuan et al., ICCV 2021", "2101.11986")
POOLFORMER = ("Yu et al., CVPR 2022", "2111.11418")


def _deit(width: int) -> Genotype:
    return Genotype(
        topology="plain",
        stem=Atom("patch", size=16),
        stages=(Stage(width=width, depth=12, head_dim=64, a=SOFTMAX, ffn=Atom("mlp", ratio=4)),),
        position=Atom("learned"),
        cls_token=True,
        head=Atom("cls"),
    )


def _swin() -> Genotype:
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
        for i, (width, depth) in enumerate(zip(WIDTHS_SWIN, (2, 2, 6, 2), strict=True))
    )
    return Genotype(topology="pyramid", stem=Atom("patch", size=4, norm=True), stages=stages)


def _reduced(reduction: int) -> Atom:
    """Spatial reduction as published: rows that the stride leaves over are dropped."""
    return SOFTMAX if reduction == 1 else Atom("spatial_reduction", reduction=reduction, remainder="drop")


def _pvt(depths: tuple[int, ...]) -> Genotype:
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


def _pvt_v2(widths: tuple[int, ...], depths: tuple[int, ...], head_dim: int, linear: bool = False) -> Genotype:
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


def _twins_svt() -> Genotype:
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


def _twins_pcpvt() -> Genotype:
    """A PVT-S without class token, with a conditional position."""
    pvt = _pvt(SMALL)
    return replace(pvt, position=Atom("conditional"), cls_token=False, head=Atom("pool"))


def _davit() -> Genotype:
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


def _xcit() -> Genotype:
    stage = Stage(width=384, depth=12, head_dim=48, a=Atom("cross_covariance"), local=Atom("lpi"), layer_scale=1.0)
    return Genotype(
        topology="plain",
        stem=Atom("convstack", stride=16),
        stages=(stage,),
        position=Atom("fourier"),
        head=Atom("class_attention", depth=2, num_heads=8, layer_scale=1.0),
    )


def _focalnet(levels: int) -> Genotype:
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


def _poolformer() -> Genotype:
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


def _t2t(width: int, depth: int, ratio: int, attention: str = "performer") -> Genotype:
    """The authors' table of positions is frozen at sines and cosines; ours is as large and learns."""
    attend = Atom("softmax", qkv_bias=False)
    return Genotype(
        topology="plain",
        stem=Atom("tokens_to_token", stride=16, attention=attention),
        stages=(Stage(width=width, depth=depth, head_dim=64, a=attend, ffn=Atom("mlp", ratio=ratio)),),
        position=Atom("learned"),
        cls_token=True,
        head=Atom("cls"),
    )


NETWORKS = (
    ("deit_tiny", _deit(192), 5_717_416, 1.2537, 0.7219, TIMM, DEIT),
    ("deit_small", _deit(384), 22_050_664, 4.5989, 0.7986, TIMM, DEIT),
    ("vit_base", _deit(768), 86_567_656, 17.5638, 0.8198, TIMM, DEIT),
    ("swin_tiny", _swin(), 28_288_354, 4.4906, 0.8139, TIMM, SWIN),
    ("pvt_tiny", _pvt((2, 2, 2, 2)), 13_229_288, 1.9329, 0.751, AUTHORS, PVT),
    ("pvt_small", _pvt(SMALL), 24_485_864, 3.8157, 0.798, AUTHORS, PVT),
    ("pvt_v2_b0", _pvt_v2(WIDTHS_PVT_B0, (2, 2, 2, 2), 32), 3_666_760, 0.5661, 0.7065, TIMM, PVT_V2),
    ("pvt_v2_b2", _pvt_v2(WIDTHS_PVT, SMALL, 64), 25_362_856, 4.0267, 0.8206, TIMM, PVT_V2),
    ("pvt_v2_b2_li", _pvt_v2(WIDTHS_PVT, SMALL, 64, linear=True), 22_553_512, 3.8889, 0.8220, TIMM, PVT_V2),
    ("twins_svt_small", _twins_svt(), 24_060_776, 2.9274, 0.8169, TIMM, TWINS),
    ("twins_pcpvt_small", _twins_pcpvt(), 24_106_216, 3.8095, 0.8112, TIMM, TWINS),
    ("davit_tiny", _davit(), 28_360_168, 4.5218, 0.8269, TIMM, DAVIT),
    ("xcit_small_12_p16", _xcit(), 26_253_304, 4.7958, 0.8198, TIMM, XCIT),
    ("focalnet_tiny_srf", _focalnet(levels=2), 28_427_116, 4.4033, 0.8215, TIMM, FOCALNET),
    ("focalnet_tiny_lrf", _focalnet(levels=3), 28_647_928, 4.4748, 0.8217, TIMM, FOCALNET),
    ("poolformer_s12", _poolformer(), 11_915_176, 1.8123, 0.7724, TIMM, POOLFORMER),
    ("t2t_7", _t2t(256, 7, 2), 4_310_222, 1.1469, 0.717, AUTHORS, T2T),
    ("t2t_14", _t2t(384, 14, 3), 21_545_550, 4.7835, 0.815, AUTHORS, T2T),
    ("t2t_t_14", _t2t(384, 14, 3, "softmax"), 21_541_070, 6.0887, None, AUTHORS, T2T),
)


def _always(genotype: Genotype) -> Build:
    """Published networks are the same at every image size."""
    return lambda _: genotype


for _name, _genotype, _params, _macs_g, _accuracy, _source, (_paper, _arxiv) in NETWORKS:
    ZOO.register(_name)(
        ZooEntry(
            name=_name,
            build=_always(_genotype),
            image_size=224,
            params=_params,
            macs_g=_macs_g,
            accuracy=_accuracy,
            paper=_paper,
            arxiv=_arxiv,
            source=_source,
        )
    )
