"""Published networks of two branches: CrossViT."""

from collections.abc import Sequence

from nas.genotype import Atom, Genotype, Stage
from search_spaces.zoo.entry import TIMM, publish

CROSSVIT = ("Chen et al., ICCV 2021", "2103.14899")


def crossvit(
    widths: Sequence[int],
    depths: Sequence[int],
    times: int,
    heads: Sequence[int],
    ratios: Sequence[float] = (3, 3),
    stems: Sequence[Atom] = (Atom("patch", size=12), Atom("patch", size=16, scale=0.9333)),
) -> Genotype:
    """Small patches first. depths: blocks of each branch, whose exchanges divide them evenly."""
    stages = (
        Stage(width=width, depth=depth, head_dim=width // own, ffn=Atom("mlp", ratio=ratio))
        for width, depth, own, ratio in zip(widths, depths, heads, ratios, strict=True)
    )
    return Genotype(
        topology="dual",
        stem=stems[0],
        stages=tuple(stages),
        position=Atom("learned"),
        cls_token=True,
        head=Atom("cls"),
        stem_b=stems[1],
        fusion=Atom("class_attention", times=times),
    )


C9 = crossvit((128, 256), (3, 9), 3, (4, 4))
C15 = crossvit((192, 384), (3, 15), 3, (6, 6))
publish("crossvit_9", C9, 8_553_296, 1.8408, CROSSVIT, 0.7399, TIMM, image_size=240)
publish("crossvit_15", C15, 27_528_464, 5.7906, CROSSVIT, 0.8152, TIMM, image_size=240)
