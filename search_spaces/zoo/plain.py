"""Published networks on one grid: DeiT and ViT, XCiT, T2T-ViT."""

from nas.genotype import Atom, Genotype, Stage
from search_spaces.zoo.entry import AUTHORS, TIMM, publish

SOFTMAX = Atom("softmax")
EPS5 = Atom("layer", eps=1e-5)
DEIT = ("Touvron et al., ICML 2021", "2012.12877")
XCIT = ("Ali et al., NeurIPS 2021", "2106.09681")
T2T = ("Yuan et al., ICCV 2021", "2101.11986")


def deit(width: int) -> Genotype:
    return Genotype(
        topology="plain",
        stem=Atom("patch", size=16),
        stages=(Stage(width=width, depth=12, head_dim=64, a=SOFTMAX, ffn=Atom("mlp", ratio=4)),),
        position=Atom("learned"),
        cls_token=True,
        head=Atom("cls"),
    )


def xcit() -> Genotype:
    stage = Stage(width=384, depth=12, head_dim=48, a=Atom("cross_covariance"), local=Atom("lpi"), layer_scale=1.0)
    return Genotype(
        topology="plain",
        stem=Atom("convstack", stride=16),
        stages=(stage,),
        position=Atom("fourier"),
        head=Atom("class_attention", depth=2, num_heads=8, layer_scale=1.0),
    )


def t2t(width: int, depth: int, ratio: int, attention: str = "performer") -> Genotype:
    """The authors' table of positions is frozen at sines and cosines; ours is as large and learns."""
    block = Stage(
        width=width,
        depth=depth,
        head_dim=64,
        a=Atom("softmax", qkv_bias=False),
        ffn=Atom("mlp", ratio=ratio),
        norm=EPS5,
    )
    return Genotype(
        topology="plain",
        stem=Atom("tokens_to_token", stride=16, attention=attention),
        stages=(block,),
        position=Atom("learned"),
        cls_token=True,
        head=Atom("cls"),
    )


publish("deit_tiny", deit(192), 5_717_416, 1.2537, DEIT, 0.7219, TIMM)
publish("deit_small", deit(384), 22_050_664, 4.5989, DEIT, 0.7986, TIMM)
publish("vit_base", deit(768), 86_567_656, 17.5638, DEIT, 0.8198, TIMM)
publish("xcit_small_12_p16", xcit(), 26_253_304, 4.7958, XCIT, 0.8198, TIMM)
publish("t2t_7", t2t(256, 7, 2), 4_310_222, 1.1469, T2T, 0.717, AUTHORS)
publish("t2t_14", t2t(384, 14, 3), 21_545_550, 4.7835, T2T, 0.815, AUTHORS)
publish("t2t_t_14", t2t(384, 14, 3, "softmax"), 21_541_070, 6.0887, T2T)
