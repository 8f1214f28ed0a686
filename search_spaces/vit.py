"""The taxonomy space of vision transformers, in a profile for small images and one for 224 px.

A network is plain (one grid) or a pyramid; a stage has a width, a depth and one or two mixers that take turns or share
the heads. Strides and group sizes follow the image, so that a genotype found at one resolution works at others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Any, Protocol

from nas.errors import UserError
from nas.genotype import NONE, Atom, Genotype, Stage
from nas.registry import Registry
from search_spaces import bridges, downsamplers, ffn, fusions, heads, locals, norms, positions, reducers, stems  # noqa: F401
from search_spaces.canonical import with_defaults
from search_spaces.costs import Shape
from search_spaces.dual_space import dual_dimensions, dual_genotype
from search_spaces.mixers import MIXERS, Core
from search_spaces.nearest import codes_like
from search_spaces.parts import DOWNSAMPLERS, FFNS, LOCALS, REDUCERS
from search_spaces.space import Choice, Code, Dimension, Read, Space, parsed
from search_spaces.structures import BRIDGES, FUSIONS

VERSION = "1"
SAME = "same"  # mixer_b repeats mixer_a
MODES = ("alternate", "then", "headmix")
PLACES = (0.33, 0.5, 0.67)  # of a token reduction, as a share of the last stage's blocks


class Profile(Protocol):
    """Makes a space for one kind of images."""

    def __call__(self, *, image_size: int, in_chans: int, classes: int) -> Space: ...


SPACES: Registry[Profile] = Registry("space")


def make_space(
    name: str,
    *,
    image_size: int,
    in_chans: int = 3,
    classes: int = 1000,
    fix: Mapping[str, Any] | None = None,
    narrow: Mapping[str, Sequence[Any]] | None = None,
) -> Space:
    """A space by its name, with dimensions fixed or narrowed as in a campaign file. Raises UserError."""
    return SPACES[name](image_size=image_size, in_chans=in_chans, classes=classes).restrict(fix, narrow)


@SPACES.register("vit_small")
def vit_small(*, image_size: int, in_chans: int = 3, classes: int = 10) -> Space:
    """Small images, 8 to 96 px: grids of 4 to 16 tokens a side, two to four stages, below some 5 M parameters."""
    strides = tuple(s for s in (1, 2, 4, 8, 16, 32) if 4 <= image_size // s <= 16)
    if not strides:
        raise UserError(f"image_size: vit_small takes images of 4 to 512 px, found {image_size}")
    top = 0 if image_size <= 12 else 1 if image_size <= 40 else 2
    widths = (
        ((16, 32, 48), (32, 64, 96), (64, 96, 128), (32, 48, 64, 96)),
        ((16, 32, 48, 64), (32, 64, 96, 128), (64, 96, 128, 192, 256), (64, 96, 128, 192, 256), (48, 64, 96, 128, 192)),
        ((32, 48, 64), (64, 96, 128), (96, 128, 192, 256), (64, 96, 128, 192, 256), (64, 96, 128, 192, 256)),
    )[top]
    stages = (2, 3) if top == 0 else (2, 3, 4)
    depths = (*((1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3))[: stages[-1]], (2, 3, 4, 6, 8))
    return _space(
        "vit_small", image_size, in_chans, classes,
        stem=_stems(strides, norm=True), plain_stem=(*_stems(strides), *_token_stems(strides)),
        strides=strides, plain_strides=strides,
        stages=stages, widths=widths, depths=depths, head_dim=(8, 16, 32), ratio=(2, 3, 4),
        dual_pairs=tuple(pairwise(strides)), dual_depths=(1, 2, 3),
    )  # fmt: skip


@SPACES.register("vit_224")
def vit_224(*, image_size: int = 224, in_chans: int = 3, classes: int = 1000) -> Space:
    """Large images, from 96 px and meant for 224: stem of stride 4, two to four stages, some 1 to 60 M parameters."""
    if image_size < 96:
        raise UserError(f"image_size: vit_224 is for images of at least 96 px, found {image_size}; use vit_small")
    widths = ((32, 48, 64, 96), (64, 96, 128, 192), (160, 192, 256, 384), (256, 320, 512, 768), (192, 256, 384, 512))
    depths = ((1, 2, 3), (2, 3, 4), (4, 6, 8, 10, 12, 16), (1, 2, 3), (8, 10, 12, 14, 16))
    plain_stem = ("patch(size=14)", "patch(size=16)", "patch(size=32)", "convstack(stride=16)", *_token_stems((16,)))
    return _space(
        "vit_224", image_size, in_chans, classes,
        stem=_stems((4,), norm=True), plain_stem=plain_stem, strides=(4,), plain_strides=(14, 16, 32),
        stages=(2, 3, 4), widths=widths, depths=depths, head_dim=(16, 32, 64), ratio=(2, 3, 4, 6),
        dual_pairs=((8, 16), (12, 16), (16, 32)), dual_depths=(2, 3, 4, 5),
    )  # fmt: skip


def _stems(strides: tuple[int, ...], norm: bool = False) -> tuple[str, ...]:
    patches = (Atom("patch", size=s, norm=True) if norm else Atom("patch", size=s) for s in strides)
    rest = (Atom(kind, stride=s) for kind in ("overlap", "convstack") for s in strides)
    return tuple(str(a) for a in (*patches, *rest))


def _token_stems(strides: tuple[int, ...]) -> tuple[str, ...]:
    """Below stride 4 they attend on the full image."""
    return tuple(str(Atom("tokens_to_token", stride=s)) for s in strides if s >= 4)


def _space(
    name: str,
    image_size: int,
    in_chans: int,
    classes: int,
    *,
    stem: tuple[str, ...],
    plain_stem: tuple[str, ...],
    stages: tuple[int, ...],
    strides: tuple[int, ...],
    plain_strides: tuple[int, ...],
    widths: tuple[tuple[int, ...], ...],
    depths: tuple[tuple[int, ...], ...],
    head_dim: tuple[int, ...],
    ratio: tuple[int, ...],
    dual_pairs: tuple[tuple[int, int], ...],
    dual_depths: tuple[int, ...],
) -> Space:
    """widths and depths: per stage of a pyramid, then of a plain network, whose widths are the wider branch's too."""
    grids = [sorted({-(-image_size // (s * 2**i)) for s in strides}) for i in range(stages[-1])]
    grids.append(sorted({image_size // s for s in plain_strides}))
    groups = [*(f"stage{i + 1}" for i in range(stages[-1])), "plain"]
    dimensions = [*_network_dimensions(stem, stages, dual=bool(dual_pairs))]
    for group, sides, width, depth in zip(groups, grids, widths, depths, strict=True):
        if group == "plain":
            dimensions.append(Dimension(name="plain.stem", choices=plain_stem, help="how it cuts the image"))
        dimensions += _stage_dimensions(group, sides, width, depth, head_dim, ratio)
    if dual_pairs:
        dimensions += dual_dimensions(
            pairs=dual_pairs, widths=widths[-1], depths=dual_depths, head_dim=head_dim, ratio=ratio,
            fusions=tuple(_atoms(FUSIONS)),
        )  # fmt: skip
    return VitSpace(
        name=name, version=VERSION, image_size=image_size, in_chans=in_chans, classes=classes,
        dimensions=tuple(dimensions),
    )  # fmt: skip


def _network_dimensions(stem: tuple[str, ...], stages: tuple[int, ...], dual: bool) -> Iterator[Dimension]:
    topologies = ("plain", "pyramid", "dual") if dual else ("plain", "pyramid")
    yield Dimension(name="topology", choices=topologies, help="one grid, one halved between stages, or two branches")
    yield Dimension(name="stages", choices=stages, ordered=True, help="stages of a pyramid")
    yield Dimension(name="stem", choices=stem, help="how a pyramid cuts the image")
    yield Dimension(name="position", choices=("none", "learned", "conditional"), help="how tokens are told apart")
    yield Dimension(name="down", choices=tuple(DOWNSAMPLERS), help="how the next stage is reached")
    yield Dimension(name="head", choices=("pool", "cls"), help="mean of the patches, or a class token")
    yield Dimension(name="registers", choices=(0, 1, 4), ordered=True, help="extra learned tokens of the last stage")
    yield Dimension(name="reduction", choices=("none", *_atoms(REDUCERS)), help="data-dependent token reduction")
    yield Dimension(name="reduction_at", choices=PLACES, ordered=True, help="after which share of the last stage")
    yield Dimension(name="bridge", choices=("none", *_atoms(BRIDGES)), help="joins the stages of a pyramid at its end")
    yield Dimension(name="tail", choices=(0, 1, 2), ordered=True, help="last blocks that use softmax attention instead")


def _stage_dimensions(
    group: str,
    sides: list[int],
    width: tuple[int, ...],
    depth: tuple[int, ...],
    head_dim: tuple[int, ...],
    ratio: tuple[int, ...],
) -> Iterator[Dimension]:
    def dimension(name: str, choices: tuple[Choice, ...], help: str, ordered: bool = False) -> Dimension:
        return Dimension(name=f"{group}.{name}", choices=choices, ordered=ordered, help=help)

    shapes = [
        Shape(dim=c, heads=c // d, head_dim=d, grid=(side, side), tokens=side * side)
        for side, c, d in product(sides, width, head_dim)
        if c % d == 0
    ]
    alone, later = ([replace(s, given=given, wanted=True) for s in shapes] for given in (False, True))
    first = tuple(text for text in _atoms(MIXERS) if _useful(parsed(text), alone))
    mixers = tuple(text for text in _atoms(MIXERS) if text in first or _useful(parsed(text), later))
    yield dimension("width", width, "channels", ordered=True)
    yield dimension("depth", depth, "blocks", ordered=True)
    yield dimension("head_dim", head_dim, "channels of one head", ordered=True)
    yield dimension("mixer_a", first, "token mixer of the first block and those like it")
    yield dimension("mixer_b", (SAME, *mixers), "token mixer of the other blocks, or of the remaining heads")
    yield dimension("mode", MODES, "two mixers take turns, follow each other, or share the heads of every block")
    yield dimension("share", (0.25, 0.5, 0.75), "blocks or heads that use mixer_a, unless they alternate", ordered=True)
    yield dimension("ffn", _feed_forwards(), "feed-forward")
    yield dimension("ffn_ratio", ratio, "hidden channels of the feed-forward over channels", ordered=True)
    yield dimension("local", ("none", *LOCALS), "convolution beside the mixer")


def _atoms(registry: Registry[Any]) -> Iterator[str]:
    """Every mechanism of a family with every combination of its searched parameters."""
    for kind, component in registry.items():
        for values in product(*component.search.values()):
            yield str(with_defaults(component, Atom(kind, **dict(zip(component.search, values, strict=True)))))


def _feed_forwards() -> tuple[str, ...]:
    """Without their ratio, which is a dimension of its own."""
    found = [atom for atom in map(parsed, _atoms(FFNS)) if atom.kind != "none"]
    bare = (Atom(a.kind, **{k: v for k, v in a.params.items() if k != "ratio"}) for a in found)
    return tuple(dict.fromkeys(map(str, bare)))


def _useful(atom: Atom, shapes: list[Shape]) -> bool:
    """Works, under its own name, on at least one shape that the stage can have."""
    mixer = MIXERS[atom.kind]
    return any(mixer.check(s, **atom.params) is None and mixer.simplify(s, atom).kind == atom.kind for s in shapes)


@dataclass(frozen=True, kw_only=True)
class VitSpace(Space):
    """Plain, pyramid and dual transformers over every registered mixer."""

    def assemble(self, read: Read) -> Genotype:
        if read("topology") == "dual":
            return dual_genotype(read, self.image_size)
        plain = read("topology") == "plain"
        groups = ["plain"] if plain else [f"stage{i + 1}" for i in range(read("stages"))]
        stages = [_stage(read, group, last=group == groups[-1]) for group in groups]
        stages[1:] = [replace(stage, down=parsed(read("down"))) for stage in stages[1:]]
        bridge = NONE if plain else parsed(read("bridge"))
        bridged = bridge != NONE  # over whole maps: no other tokens, and none less
        cls_token, registers = (False, 0) if bridged else _prefix(read, stages[-1])
        return Genotype(
            topology="plain" if plain else "pyramid",
            stem=parsed(read("plain.stem" if plain else "stem")),
            stages=tuple(stages),
            position=parsed(read("position")),
            cls_token=cls_token,
            registers=registers,
            reduction=NONE if bridged else _reduction(read, stages[-1]),
            head=Atom("cls" if cls_token else "pool"),
            bridge=bridge,
        )

    def codes_like(self, genotype: Genotype) -> Iterator[Code]:
        return codes_like(self, genotype)

    def concerns(self, code: Mapping[str, Choice], dimension: Dimension, stage: int | None) -> bool:
        """Dimensions of the network, and those of the stage that is meant."""
        if stage is None or "." not in dimension.name:
            return True
        topology = str(code["topology"])
        return dimension.group == (f"stage{stage + 1}" if topology == "pyramid" else topology)


def _stage(read: Read, group: str, last: bool) -> Stage:
    width, depth, a = read(f"{group}.width"), read(f"{group}.depth"), parsed(read(f"{group}.mixer_a"))
    b, mode, share = _pattern(read, group, a, depth)
    tail = min(read("tail"), depth // 2) if last and depth > 1 else 0
    has_heads = tail > 0 or any(MIXERS[atom.kind].has_heads for atom in (a, b) if atom is not None)
    return Stage(
        width=width,
        depth=depth,
        head_dim=read(f"{group}.head_dim") if has_heads else width,
        a=a,
        b=b,
        mode=mode,
        share=share,
        tail=tail,
        ffn=_feed_forward(read, group),
        local=parsed(read(f"{group}.local")),
    )


def _feed_forward(read: Read, group: str) -> Atom:
    atom = parsed(read(f"{group}.ffn"))
    return Atom(atom.kind, **{**atom.params, "ratio": read(f"{group}.ffn_ratio")})


def _pattern(read: Read, group: str, a: Atom, depth: int) -> tuple[Atom | None, str, float]:
    """(mixer b, mode, share). One block has no turns to take, and only attention cores can share heads.

    Where heads cannot be shared, the mixers alternate.
    """
    sharing = issubclass(MIXERS[a.kind], Core)
    if depth == 1 and not sharing:
        return None, "alternate", 0.5
    other = read(f"{group}.mixer_b")
    if other == SAME or parsed(other) == a:
        return None, "alternate", 0.5
    b = parsed(other)
    mode = read(f"{group}.mode")
    if mode == "headmix" and sharing and issubclass(MIXERS[b.kind], Core):
        return b, "headmix", read(f"{group}.share")
    if depth == 1:
        return None, "alternate", 0.5
    return (b, "then", read(f"{group}.share")) if mode == "then" and depth > 2 else (b, "alternate", 0.5)


def _prefix(read: Read, last: Stage) -> tuple[bool, int]:
    """(class token, registers) where all mixers of the last stage let them take part."""
    if not all(MIXERS[a.kind].takes_prefix for block in last.mixers() for a in block):
        return False, 0
    return read("head") == "cls", read("registers")


def _reduction(read: Read, last: Stage) -> Atom:
    """A token reduction where the rest of the last stage needs no grid."""
    sets = all(MIXERS[a.kind].set_like(**a.params) for block in last.mixers() for a in block)
    if last.depth == 1 or not sets or FFNS[last.ffn.kind].positional or last.local != NONE:
        return NONE
    reducer = parsed(read("reduction"))
    if reducer == NONE:
        return NONE
    at = read("reduction_at") if last.depth > 2 else 0.5
    return Atom(reducer.kind, **{**reducer.params, "at": at})
