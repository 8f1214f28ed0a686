"""The entry of a network in the zoo, and those that a genotype cannot say."""

from collections.abc import Callable
from dataclasses import dataclass

from nas.genotype import Genotype
from nas.registry import Registry

Build = Callable[[int], Genotype]

COUNTED = "counted on the authors' or timm's code"
TIMM = "timm's results on ImageNet-1k"
AUTHORS = "the authors' repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """A network of the literature, or a small one made after it.

    build: image size -> genotype. params: parameters; macs_g: GMACs, both at image_size with `classes` outputs.
    source: where these come from. accuracy: ImageNet-1k top-1 as a fraction, which accuracy_source published.
    small: meant as a reference for small images, with no published numbers.
    """

    name: str
    build: Build
    image_size: int
    classes: int = 1000
    params: int | None = None
    macs_g: float | None = None
    accuracy: float | None = None
    accuracy_source: str | None = None
    paper: str
    arxiv: str
    source: str
    small: bool = False


ZOO: Registry[ZooEntry] = Registry("zoo")


def publish(
    name: str,
    genotype: Genotype,
    params: int,
    macs_g: float,
    paper: tuple[str, str],
    *accuracy: float | str,
    image_size: int = 224,
) -> None:
    """Enter a published network, the same at every image size. paper: it and its arXiv number. accuracy: it and its
    source, where there is one that was checked."""
    top1, whence = accuracy or (None, None)
    ZOO.register(name)(
        ZooEntry(
            name=name,
            build=lambda _: genotype,
            image_size=image_size,
            params=params,
            macs_g=macs_g,
            accuracy=None if top1 is None else float(top1),
            accuracy_source=None if whence is None else str(whence),
            paper=paper[0],
            arxiv=paper[1],
            source=COUNTED,
        )
    )


DECODER = "labels every pixel; a genotype ends in a classifier"
NOT_EXPRESSED: dict[str, str] = {
    "msg_tiny": "a messenger token joins every window and passes every merging; extra tokens belong to the last stage",
    "swin_unet": f"a decoder with skip connections {DECODER}",
    "missformer": f"a decoder behind a bridge over all stages {DECODER}",
    "dae_former": f"a decoder with cross-attention to its encoder {DECODER}",
}
