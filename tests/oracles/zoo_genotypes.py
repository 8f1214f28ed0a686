"""The published families as genotypes of any size, from the constructor arguments of a recorded network."""

from dataclasses import replace
from typing import Any

from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.zoo import branched, hybrids

EPS5 = Atom("layer", eps=1e-5)
Ctor = dict[str, Any]


def vit(ctor: Ctor) -> Genotype:
    """A class token, the mean of the patches, or a class and a distillation token."""
    stage = Stage(
        width=ctor["embed_dim"],
        depth=ctor["depth"],
        head_dim=ctor["embed_dim"] // ctor["num_heads"],
        ffn=Atom("mlp", ratio=ctor["mlp_ratio"]),
        layer_scale=ctor.get("init_values"),
    )
    learned = Atom("learned", class_row=False) if ctor.get("no_embed_class") else Atom("learned")
    return Genotype(
        topology="plain",
        stem=Atom("patch", size=ctor["patch_size"]),
        stages=(stage,),
        position=learned,
        cls_token=ctor.get("class_token", True),
        head=Atom("pool", place="after") if ctor.get("global_pool") == "avg" else Atom("cls"),
    )


def deit_distilled(ctor: Ctor) -> Genotype:
    return replace(vit(ctor), registers=1, head=Atom("cls", distilled=True))


def swin(ctor: Ctor) -> Genotype:
    stages = []
    for i, depth in enumerate(ctor["depths"]):
        size, width = _window(ctor["window_size"], i), ctor["embed_dim"] * 2**i
        stages.append(
            Stage(
                width=width,
                depth=depth,
                head_dim=width // ctor["num_heads"][i],
                a=Atom("window", **size),
                b=Atom("shifted_window", **size),
                ffn=Atom("mlp", ratio=ctor["mlp_ratio"]),
                norm=EPS5,
                down=Atom("merge") if i else NONE,
            )
        )
    return _pyramid(Atom("patch", size=ctor["patch_size"], norm=True), stages)


def _window(sizes: Any, stage: int) -> dict[str, Any]:
    """A side, height and width, or both for each stage."""
    size = sizes[stage] if isinstance(sizes, list) and isinstance(sizes[0], list) else sizes
    if isinstance(size, int):
        return {"window": size}
    return {"window": "x".join(map(str, size)), "pads": "tokens"}


def pvt_v1(ctor: Ctor) -> Genotype:
    norm = Atom("layer", eps=ctor["norm_eps"])
    stages = [
        replace(stage, a=_reduced(ctor, i), norm=norm, down=Atom("patch") if i else NONE)
        for i, stage in enumerate(_stages(ctor))
    ]
    return replace(
        _pyramid(Atom("patch", size=ctor["patch_size"], norm=True), stages),
        position=Atom("learned", every_stage=True),
        cls_token=True,
        head=Atom("cls"),
    )


def pvt_v2(ctor: Ctor) -> Genotype:
    linear = ctor.get("linear", False)
    stages = [
        replace(
            stage,
            a=Atom("spatial_reduction", pool=7) if linear else _reduced(ctor, i),
            ffn=Atom("mix", ratio=ctor["mlp_ratios"][i], relu=linear),
            norm_out=True,
            down=Atom("overlap") if i else NONE,
        )
        for i, stage in enumerate(_stages(ctor))
    ]
    return replace(_pyramid(Atom("overlap", stride=4), stages), head=Atom("pool", place="none"))


def twins_pcpvt(ctor: Ctor) -> Genotype:
    stages = [
        replace(stage, a=_reduced(ctor, i), down=Atom("patch") if i else NONE) for i, stage in enumerate(_stages(ctor))
    ]
    stem = Atom("patch", size=ctor["patch_size"], norm=True)
    return replace(_pyramid(stem, stages), position=Atom("conditional"))


def twins_svt(ctor: Ctor) -> Genotype:
    plain = twins_pcpvt(ctor)
    windows = [Atom("window", window=size, position_bias=False, pads="tokens") for size in ctor["wss"]]
    stages = (replace(s, a=w, b=s.a) for s, w in zip(plain.stages, windows, strict=True))
    return replace(plain, stages=tuple(stages))


def xcit(ctor: Ctor) -> Genotype:
    stage = Stage(
        width=ctor["embed_dim"],
        depth=ctor["depth"],
        head_dim=ctor["embed_dim"] // ctor["num_heads"],
        a=Atom("cross_covariance"),
        ffn=Atom("mlp", ratio=ctor["mlp_ratio"]),
        local=Atom("lpi"),
        layer_scale=ctor["eta"],
    )
    head = Atom(
        "class_attention",
        depth=ctor["cls_attn_layers"],
        num_heads=ctor["num_heads"],
        ratio=ctor["mlp_ratio"],
        tokens_norm=ctor["tokens_norm"],
    )
    stem = Atom("convstack", stride=ctor["patch_size"])
    return Genotype(topology="plain", stem=stem, stages=(stage,), position=Atom("fourier"), head=head)


def davit(ctor: Ctor) -> Genotype:
    sizes = zip(ctor["embed_dims"], ctor["depths"], ctor["num_heads"], strict=True)
    stages = [
        Stage(
            width=width,
            depth=2 * depth,
            head_dim=width // heads,
            a=Atom("window", window=ctor["window_size"], position_bias=False, pads="tokens"),
            b=Atom("channel_groups", scale="channels"),
            ffn=Atom("mlp", ratio=ctor["mlp_ratio"]),
            local=Atom("cpe"),
            norm=EPS5,
            down=Atom("patch", norm="before") if i else NONE,
        )
        for i, (width, depth, heads) in enumerate(sizes)
    ]
    return replace(_pyramid(Atom("overlap", stride=4), stages), head=Atom("pool", place="after"))


def focalnet(ctor: Ctor) -> Genotype:
    after, overlap = ctor.get("use_post_norm", False), ctor.get("use_overlap_down", False)
    stages = [
        Stage(
            width=ctor["embed_dim"] * 2**i,
            depth=depth,
            head_dim=ctor["embed_dim"] * 2**i,
            a=Atom("focal", levels=ctor["focal_levels"][i], window=ctor["focal_windows"][i]),
            ffn=Atom("mlp", ratio=ctor["mlp_ratio"]),
            norm=Atom("layer", eps=1e-5, after=True) if after else EPS5,
            layer_scale=ctor.get("layerscale_value"),
            down=Atom("overlap" if overlap else "patch") if i else NONE,
        )
        for i, depth in enumerate(ctor["depths"])
    ]
    stem = Atom("overlap", stride=4, kernel=7, padding=2) if overlap else Atom("patch", size=4, norm=True)
    return _pyramid(stem, stages)


def poolformer(ctor: Ctor) -> Genotype:
    sizes = zip(ctor["embed_dims"], ctor["layers"], ctor["mlp_ratios"], strict=True)
    widths = ctor["embed_dims"]
    stages = [
        Stage(
            width=width,
            depth=depth,
            head_dim=width,
            a=Atom("pooling", kernel=ctor.get("pool_size", 3)),
            ffn=Atom("mlp", ratio=ratio),
            norm=Atom("group"),
            layer_scale=1.0,
            down=Atom("overlap", norm="none") if i and (ctor["downsamples"][i - 1] or widths[i - 1] != width) else NONE,
        )
        for i, (width, depth, ratio) in enumerate(sizes)
    ]
    return _pyramid(Atom("overlap", stride=4, kernel=7, padding=2, norm=False), stages)


def poolformer_timm(ctor: Ctor) -> Genotype:
    named = {"layers": ctor["depths"], "embed_dims": ctor["dims"], "mlp_ratios": [4] * len(ctor["dims"])}
    genotype = poolformer({**named, "downsamples": [True] * len(ctor["dims"])})
    return replace(genotype, head=Atom("pool", place="after", layer_norm=True))


MIXERS_OF_METAFORMER = {
    "Pooling": Atom("pooling", kernel=3),
    "SepConv": Atom("separable", kernel=7, expand=2),
    "Attention": Atom("softmax", qkv_bias=False, proj_bias=False),
}


def metaformer(ctor: Ctor) -> Genotype:
    mixers, residuals = ctor["token_mixers"], ctor["res_scale_init_values"]
    mixers = [mixers] * len(ctor["dims"]) if isinstance(mixers, str) else mixers
    kind = "group" if ctor["norm_layers"] == "GroupNorm1NoBias" else "layer"
    stages = [
        Stage(
            width=width,
            depth=depth,
            head_dim=ctor.get("head_dim", width),
            a=MIXERS_OF_METAFORMER[mixer],
            ffn=Atom("mlp", ratio=4, act="star_relu", bias=False),
            norm=Atom(kind, eps=1e-6, bias=False, **({} if residual is None else {"residual": residual})),
            down=Atom("overlap", norm="before", bias=False, eps=1e-6) if i else NONE,
        )
        for i, (width, depth, mixer, residual) in enumerate(
            zip(ctor["dims"], ctor["depths"], mixers, residuals, strict=True)
        )
    ]
    stem = Atom("overlap", stride=4, kernel=7, padding=2, eps=1e-6, norm_bias=False)
    hidden = {"hidden": 4 * ctor["dims"][-1], "squared": True} if ctor["use_mlp_head"] else {}
    return replace(_pyramid(stem, stages), head=Atom("pool", place="after", layer_norm=True, **hidden))


def maxvit(ctor: Ctor) -> Genotype:
    cfg = ctor["cfg"]
    inside = cfg["transformer_cfg"]
    return hybrids.maxvit(
        cfg["embed_dim"],
        cfg["depths"],
        stem=_two(cfg["stem_width"]),
        hidden=cfg["head_hidden_size"],
        head_dim=inside["dim_head"],
        window="x".join(map(str, inside["window_size"])),
        grid="x".join(map(str, inside["grid_size"])),
    )


def coatnet(ctor: Ctor) -> Genotype:
    """As in the paper, or as timm trained it (rw)."""
    cfg = ctor["cfg"]
    return hybrids.coatnet(
        cfg["embed_dim"],
        cfg["depths"],
        "".join(cfg["block_type"]),
        stem=_two(cfg["stem_width"]),
        hidden=cfg.get("head_hidden_size"),
        head_dim=cfg["transformer_cfg"]["dim_head"],
        rw=cfg.get("conv_cfg", {}).get("stride_mode") == "pool",
    )


def _two(widths: Any) -> tuple[int, int]:
    return (widths, widths) if isinstance(widths, int) else (widths[0], widths[1])


def efficientformer(ctor: Ctor) -> Genotype:
    return hybrids.efficientformer(
        ctor["embed_dims"],
        ctor["depths"],
        attending=ctor["num_vit"],
        ratio=ctor["mlp_ratios"],
        downs=ctor.get("downsamples", [True] * len(ctor["depths"])),
    )


def _stages(ctor: Ctor) -> list[Stage]:
    """What PVT, PVT v2 and Twins share."""
    sizes = zip(ctor["embed_dims"], ctor["depths"], ctor["num_heads"], ctor["mlp_ratios"], strict=True)
    return [
        Stage(width=width, depth=depth, head_dim=width // heads, ffn=Atom("mlp", ratio=ratio))
        for width, depth, heads, ratio in sizes
    ]


def _reduced(ctor: Ctor, stage: int) -> Atom:
    """Spatial reduction that drops what the stride leaves over."""
    ratio, bias = ctor["sr_ratios"][stage], {} if ctor.get("qkv_bias", True) else {"qkv_bias": False}
    if ratio == 1:
        return Atom("softmax", **bias)
    return Atom("spatial_reduction", reduction=ratio, remainder="drop", **bias)


def _pyramid(stem: Atom, stages: list[Stage]) -> Genotype:
    return Genotype(topology="pyramid", stem=stem, stages=tuple(stages))


def crossvit(ctor: Ctor) -> Genotype:
    """Three convolutions in each stem, or one."""
    depths = [sum(numbers[branch] for numbers in ctor["depth"]) for branch in range(2)]
    kind, word = ("three_convolutions", "stride") if ctor.get("multi_conv") else ("patch", "size")
    stems = [
        Atom(kind, **{word: size}, scale=scale)
        for size, scale in zip(ctor["patch_size"], ctor["img_scale"], strict=True)
    ]
    ratios = ctor["mlp_ratio"][:2]
    return branched.crossvit(ctor["embed_dim"], depths, len(ctor["depth"]), ctor["num_heads"], ratios, stems)


GENOTYPES = {
    "vit_cls": vit,
    "vit_gap": vit,
    "deit_distilled": deit_distilled,
    "swin": swin,
    "pvt_v1": pvt_v1,
    "pvt_v2": pvt_v2,
    "pvt_v2_linear": pvt_v2,
    "twins_pcpvt": twins_pcpvt,
    "twins_svt": twins_svt,
    "xcit": xcit,
    "davit": davit,
    "focalnet": focalnet,
    "efficientformer": efficientformer,
    "maxvit_tf": maxvit,
    "metaformer": metaformer,
    "coatnet": coatnet,
    "poolformer": poolformer,
    "crossvit": crossvit,
    "poolformer_timm": poolformer_timm,
}
