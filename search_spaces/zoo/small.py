"""Small networks after published ones, for images of 8 to 96 px: the references that a search has to beat.

They keep the pattern of their model (which mixers, in which order, with which position and down-sampling) and take the
width, depth and strides that small images allow.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nas.errors import UserError
from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces import stems  # noqa: F401
from search_spaces.parts import STEMS
from search_spaces.zoo.entry import ZOO, Build, ZooEntry

TINY = 12  # px; up to here two stages and half the width


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a stage of a small pyramid starts from."""

    index: int
    side: int  # of the map
    width: int
    depth: int
    head_dim: int

    def stage(self, a: Atom, b: Atom | None = None, *, down: Atom, local: Atom = NONE) -> Stage:
        return Stage(
            width=self.width, depth=self.depth, head_dim=self.head_dim, a=a, b=b,
            local=local, down=NONE if self.index == 0 else down,
        )  # fmt: skip

    @property
    def divisions(self) -> int:
        """Windows of about four tokens a side that fit the map with little padding."""
        counts = range(max(1, self.side // 4), 0, -1)
        return next(k for k in counts if -(-self.side // k) * k <= 1.12 * self.side)

    @property
    def reduction(self) -> int:
        """Keys on a map of about four tokens a side."""
        return max(1, self.side // 4)


def _stride(image_size: int, longest: int) -> int:
    """The smallest power of two that leaves at most `longest` tokens a side."""
    if image_size < 8:
        raise UserError(f"image_size: the small references need at least 8 px, found {image_size}")
    stride = 1
    while image_size // stride > longest:
        stride *= 2
    return stride


def _levels(image_size: int, side: int) -> Iterator[Level]:
    """The stages of a pyramid whose stem leaves `side` tokens a side."""
    sizes = ((32, 2), (64, 4)) if image_size <= TINY else ((48, 2), (96, 2), (192, 2))
    for index, (width, depth) in enumerate(sizes):
        yield Level(index=index, side=side, width=width, depth=depth, head_dim=16)
        side = (side + 1) // 2


def _pyramid(
    image_size: int, stage: Callable[[Level], Stage], *, overlap: bool = False, position: Atom = NONE
) -> Genotype:
    stride = _stride(image_size, 16)
    stem = Atom("overlap", stride=stride) if overlap else Atom("patch", size=stride, norm=True)
    side = STEMS[stem.kind].grid((image_size, image_size), **stem.params)[0]
    stages = tuple(stage(level) for level in _levels(image_size, side))
    return Genotype(topology="pyramid", stem=stem, stages=stages, position=position)


def _reduced(level: Level) -> Atom:
    return Atom("softmax") if level.reduction == 1 else Atom("spatial_reduction", reduction=level.reduction)


def deit_mini(image_size: int) -> Genotype:
    """One grid, softmax attention, a class token."""
    tiny = image_size <= TINY
    stage = Stage(width=64 if tiny else 128, depth=4 if tiny else 6, head_dim=16 if tiny else 32)
    stem = Atom("patch", size=_stride(image_size, 4 if tiny else 8))
    return Genotype(
        topology="plain", stem=stem, stages=(stage,), position=Atom("learned"), cls_token=True, head=Atom("cls")
    )


def xcit_mini(image_size: int) -> Genotype:
    """One grid, cross-covariance attention with local patch interaction, class attention at the end."""
    tiny = image_size <= TINY
    stage = Stage(
        width=64 if tiny else 128, depth=4, head_dim=16 if tiny else 32, a=Atom("cross_covariance"), local=Atom("lpi")
    )
    stem = Atom("convstack", stride=_stride(image_size, 4 if tiny else 8))
    head = Atom("class_attention", depth=1, num_heads=4)
    return Genotype(topology="plain", stem=stem, stages=(stage,), position=Atom("fourier"), head=head)


def swin_mini(image_size: int) -> Genotype:
    """Windows and shifted windows take turns."""

    def stage(level: Level) -> Stage:
        a, b = (Atom(kind, divisions=level.divisions) for kind in ("window", "shifted_window"))
        return level.stage(a, b, down=Atom("merge"))

    return _pyramid(image_size, stage)


def pvt_mini(image_size: int) -> Genotype:
    """Spatial reduction, a learned position in every stage."""
    position = Atom("learned", every_stage=True)
    return _pyramid(image_size, lambda level: level.stage(_reduced(level), down=Atom("patch")), position=position)


def twins_mini(image_size: int) -> Genotype:
    """Windows without bias and spatial reduction take turns, a conditional position."""

    def stage(level: Level) -> Stage:
        window = Atom("window", divisions=level.divisions, position_bias=False)
        return level.stage(window, _reduced(level), down=Atom("patch"))

    return _pyramid(image_size, stage, position=Atom("conditional"))


def davit_mini(image_size: int) -> Genotype:
    """Windows and channel groups take turns, convolutions before mixer and feed-forward."""

    def stage(level: Level) -> Stage:
        window = Atom("window", divisions=level.divisions, position_bias=False)
        return level.stage(window, Atom("channel_groups"), down=Atom("patch", norm="before"), local=Atom("cpe"))

    return _pyramid(image_size, stage, overlap=True)


def focalnet_mini(image_size: int) -> Genotype:
    """Focal modulation with the two levels of the small receptive field, or one where the map is smaller than that."""

    def stage(level: Level) -> Stage:
        return level.stage(Atom("focal", levels=2 if level.side >= 5 else 1, window=3), down=Atom("patch"))

    return _pyramid(image_size, stage)


def poolformer_mini(image_size: int) -> Genotype:
    """Pooling instead of attention."""
    down = Atom("overlap", norm="none")
    return _pyramid(image_size, lambda level: level.stage(Atom("pooling", kernel=3), down=down), overlap=True)


def _register(build: Build, paper: str, arxiv: str) -> None:
    name = getattr(build, "__name__", "")
    entry = ZooEntry(
        name=name, build=build, image_size=32, classes=10, small=True,
        paper=paper, arxiv=arxiv, source="this project",
    )  # fmt: skip
    ZOO.register(name)(entry)


_register(deit_mini, "after Touvron et al., ICML 2021", "2012.12877")
_register(swin_mini, "after Liu et al., ICCV 2021", "2103.14030")
_register(pvt_mini, "after Wang et al., ICCV 2021", "2102.12122")
_register(twins_mini, "after Chu et al., NeurIPS 2021", "2104.13840")
_register(davit_mini, "after Ding et al., ECCV 2022", "2204.03645")
_register(xcit_mini, "after Ali et al., NeurIPS 2021", "2106.09681")
_register(focalnet_mini, "after Yang et al., NeurIPS 2022", "2203.11926")
_register(poolformer_mini, "after Yu et al., CVPR 2022", "2111.11418")
