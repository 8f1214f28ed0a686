"""What is known of a network before it is trained: exact counts, and what profiles predict for devices."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evaluators.cost import cost_metrics, least_training_mb
from nas.errors import UserError
from nas.genotype import Genotype
from nas.objective import COSTS, split_name

if TYPE_CHECKING:
    from evaluators.device_profile.profile import DeviceProfile

KEPT = 20_000  # networks remembered, of 10 kB each: repair and samplers ask for the same ones again and again
DIGITS = 9  # of a prediction that count: its last bits depend on how many networks were asked about at once

Interval = tuple[float, float, float]  # mean, low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Of one network. values: exact metrics and predicted means. predicted: metric -> mean and 90 % interval.

    training_mb: what training needs at the very least. notes: such as a network outside a profiled region.
    """

    values: dict[str, float]
    predicted: dict[str, Interval] = field(default_factory=dict)
    training_mb: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        return {name: (low, high) for name, (_, low, high) in self.predicted.items()}


class KnownCosts:
    """Genotype -> its costs; the answer is kept, and many at once take little longer than one.

    shape: image_size, in_chans and classes of the pictures. profiles: metric, such as latency_ms@phone, -> its profile.
    trained_on: the profile of the device that trains, if there is one. batch: pictures in a training step;
    images: pictures in a measured forward pass. mixed: whether training takes numbers of two bytes.
    """

    def __init__(
        self,
        shape: Mapping[str, Any],
        profiles: Mapping[str, "DeviceProfile"] | None = None,
        *,
        trained_on: "DeviceProfile | None" = None,
        batch: int = 1,
        images: int = 1,
        mixed: bool = False,
    ) -> None:
        self.shape, self.profiles, self.trained_on = dict(shape), dict(profiles or {}), trained_on
        self.batch, self.images, self.mixed = batch, images, mixed
        self.names = frozenset((*COSTS, *self.profiles))
        self._kept: dict[Genotype, Known] = {}

    def __call__(self, genotype: Genotype) -> dict[str, float]:
        return self.of(genotype).values

    def of(self, genotype: Genotype) -> Known:
        return self.many([genotype])[0]

    def many(self, genotypes: Sequence[Genotype]) -> list[Known]:
        """One for each, in order."""
        if len(self._kept) > KEPT:
            self._kept.clear()
        fresh = list(dict.fromkeys(g for g in genotypes if g not in self._kept))
        self._kept |= zip(fresh, self._find(fresh), strict=True)
        return [self._kept[g] for g in genotypes]

    def _find(self, genotypes: list[Genotype]) -> list[Known]:
        if not genotypes:
            return []
        exact = [cost_metrics(g, **self.shape) for g in genotypes]
        predicted: list[dict[str, Interval]] = [{} for _ in genotypes]
        notes: list[list[str]] = [[] for _ in genotypes]
        for name, profile in self.profiles.items():
            found = self._predict(name, profile, genotypes)
            for i, row in enumerate(zip(found.mean, found.low, found.high, strict=True)):
                predicted[i][name] = _checked((float(row[0]), float(row[1]), float(row[2])), name, profile.name)
                if found.outside[i]:
                    notes[i].append(f"{name}: outside what profile {profile.name} has measured; a wider interval")
        training = self._training_mb(genotypes, exact)
        return [
            Known(
                values=e | {n: mean for n, (mean, _, _) in p.items()}, predicted=p, training_mb=mb, notes=tuple(words)
            )
            for e, p, mb, words in zip(exact, predicted, training, notes, strict=True)
        ]

    def _predict(self, name: str, profile: "DeviceProfile", genotypes: list[Genotype]) -> Any:
        """The profile's Estimate."""
        metric = split_name(name)[0]
        if metric == "memory_mb":
            return profile.memory_mb(genotypes, **self.shape, phase="inference", batch=self.images)
        return {"latency_ms": profile.latency, "energy_mj": profile.energy_mj}[metric](genotypes, **self.shape)

    def _training_mb(self, genotypes: list[Genotype], exact: list[dict[str, float]]) -> list[float]:
        """The lower end of the profile's interval, or else what no training can do without."""
        if self.trained_on is None or not self.trained_on.predicts_memory:
            return [least_training_mb(metrics, self.batch, mixed=self.mixed) for metrics in exact]
        found = self.trained_on.memory_mb(genotypes, **self.shape, phase="training", batch=self.batch)
        return [float(low) for low in found.low]


def _checked(found: Interval, name: str, profile: str) -> Interval:
    """Nothing can be chosen by what is no number, and no record can hold it.

    Rounded, so that a search that goes on, which asks about other networks at once, proposes what it would have.
    """
    if not all(map(math.isfinite, found)):
        raise UserError(f"sources.{name}: profile {profile} predicts {found[0]:g}; make it again with nas profile")
    mean, low, high = (float(f"{value:.{DIGITS}g}") for value in found)
    return mean, low, high
