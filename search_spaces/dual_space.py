"""Dual networks as part of a space: the dimensions of their two branches, and what a code of them means."""

from collections.abc import Iterable, Iterator

from nas.genotype import Atom, Genotype, Stage
from search_spaces.rules import DUAL_MIXERS
from search_spaces.space import Choice, Dimension, Read, parsed
from search_spaces.stems.three_convolutions import STRIDES


def dual_dimensions(
    *,
    pairs: Iterable[tuple[int, int]],
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    head_dim: tuple[int, ...],
    ratio: tuple[int, ...],
    fusions: tuple[str, ...],
) -> Iterator[Dimension]:
    """pairs: sizes of small and of large patches. The branch of small patches has half the channels of the other."""

    def dimension(name: str, choices: tuple[Choice, ...], help: str, ordered: bool = False) -> Dimension:
        return Dimension(name=f"dual.{name}", choices=choices, ordered=ordered, help=help)

    yield dimension("stems", tuple(_stem_pairs(tuple(pairs))), "small and large patches, and how they are cut")
    yield dimension("width", widths, "channels of the branch of large patches, twice those of the other", ordered=True)
    yield dimension("depth", depths, "its blocks between two exchanges; the other has one", ordered=True)
    yield dimension("head_dim", head_dim, "channels of one head of it; both have equally many heads", ordered=True)
    yield dimension("mixer_a", DUAL_MIXERS, "token mixer of the branch of small patches")
    yield dimension("mixer_b", DUAL_MIXERS, "token mixer of the branch of large patches")
    yield dimension("ffn_ratio", ratio, "hidden channels of the feed-forward over channels", ordered=True)
    yield dimension("fusion", fusions, "how the branches exchange what they saw")


def _stem_pairs(pairs: tuple[tuple[int, int], ...]) -> Iterator[str]:
    for small, large in pairs:
        yield str(Atom("patch", small=small, large=large))
    for small, large in pairs:
        if small in STRIDES and large in STRIDES:
            yield str(Atom("three_convolutions", small=small, large=large))


def dual_genotype(read: Read, image_size: int) -> Genotype:
    """The genotype of a code whose topology is dual."""
    stems, fusion, width = parsed(read("dual.stems")), parsed(read("dual.fusion")), read("dual.width")
    times, head_dim = fusion.params["times"], read("dual.head_dim")
    ffn = Atom("mlp", ratio=read("dual.ffn_ratio"))
    small = Stage(width=width // 2, depth=times, head_dim=head_dim // 2, a=parsed(read("dual.mixer_a")), ffn=ffn)
    depth = read("dual.depth") * times
    return Genotype(
        topology="dual",
        stem=_stem(stems, "small", image_size),
        stages=(small, Stage(width=width, depth=depth, head_dim=head_dim, a=parsed(read("dual.mixer_b")), ffn=ffn)),
        position=parsed(read("position")),
        cls_token=True,
        head=Atom("cls"),
        stem_b=_stem(stems, "large", image_size),
        fusion=fusion,
    )


def _stem(stems: Atom, which: str, image_size: int) -> Atom:
    """Of an image that the patches do not divide, the branch sees the nearest size that they do."""
    size = stems.params[which]
    scale = round(max(1, round(image_size / size)) * size / image_size, 4)
    return Atom(stems.kind, **{"size" if stems.kind == "patch" else "stride": size}, scale=scale)
