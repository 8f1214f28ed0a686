"""The entry of a network in the zoo."""

from collections.abc import Callable
from dataclasses import dataclass

from nas.genotype import Genotype
from nas.registry import Registry

Build = Callable[[int], Genotype]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """A network of the literature, or a small one made after it.

    build: image size -> genotype. params: parameters; macs_g: GMACs, both at image_size with `classes` outputs.
    source: where the numbers come from. small: meant as a reference for small images, with no published numbers.
    """

    name: str
    build: Build
    image_size: int
    classes: int = 1000
    params: int | None = None
    macs_g: float | None = None
    accuracy: float | None = None
    paper: str
    arxiv: str
    source: str
    small: bool = False


ZOO: Registry[ZooEntry] = Registry("zoo")
