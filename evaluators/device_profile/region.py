"""Which architectures a profile is for: spaces with their image sizes, channels and classes."""

import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Self

import numpy as np

from evaluators.device_profile.records import Subject
from nas.errors import UserError
from search_spaces.space import Space
from search_spaces.vit import make_space

DEFAULT = (("vit_small", (32, 48, 64, 96)), ("vit_224", (96, 128, 160, 192, 224)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A space, perhaps restricted, at some image sizes."""

    space: str
    image_sizes: tuple[int, ...]
    fix: dict[str, Any] = field(default_factory=dict)
    narrow: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Areas with channels and classes that are drawn in turn."""

    areas: tuple[Area, ...]
    in_chans: tuple[int, ...]
    classes: tuple[int, ...]

    def draw(self, rng: np.random.Generator) -> Subject:
        """A random valid network. Image sizes are equally frequent."""
        sizes = [(area, size) for area in range(len(self.areas)) for size in self.areas[area].image_sizes]
        area, size = sizes[rng.integers(len(sizes))]
        in_chans, classes = (int(values[rng.integers(len(values))]) for values in (self.in_chans, self.classes))
        space = _space(self, area, size, in_chans, classes)
        genotype = space.decode(space.sample(rng))
        return Subject(genotype=genotype, image_size=(size, size), in_chans=in_chans, classes=classes)

    def outside(self, subject_size: tuple[int, int], in_chans: int, classes: int) -> list[str]:
        """What of an input lies beyond the region, in words."""
        sizes = [size for area in self.areas for size in area.image_sizes]
        given = {
            "image": (sizes, max(subject_size)),
            "channels": (self.in_chans, in_chans),
            "classes": (self.classes, classes),
        }
        return [
            f"{name}: {value} is beyond {min(known)} to {max(known)}"
            for name, (known, value) in given.items()
            if not min(known) <= value <= max(known)
        ]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any, where: str) -> Self:
        """Raises UserError where it cannot be read."""
        try:
            areas = tuple(Area(**{**area, "image_sizes": tuple(area["image_sizes"])}) for area in data["areas"])
            found = cls(areas=areas, in_chans=tuple(data["in_chans"]), classes=tuple(data["classes"]))
            found.draw(np.random.default_rng(0))
            return found
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: region is damaged ({error}); make the profile again") from None

    @classmethod
    def everything(cls) -> Self:
        """All that the built-in spaces hold from 32 to 224 px."""
        areas = tuple(Area(space=name, image_sizes=sizes) for name, sizes in DEFAULT)
        return cls(areas=areas, in_chans=(1, 3), classes=(10, 100, 1000))


@lru_cache(maxsize=256)
def _cached(name: str, size: int, in_chans: int, classes: int, restriction: str) -> Space:
    fix, narrow = json.loads(restriction)
    return make_space(name, image_size=size, in_chans=in_chans, classes=classes, fix=fix, narrow=narrow)


def _space(region: Region, area: int, size: int, in_chans: int, classes: int) -> Space:
    chosen = region.areas[area]
    return _cached(chosen.space, size, in_chans, classes, json.dumps([chosen.fix, chosen.narrow], sort_keys=True))
