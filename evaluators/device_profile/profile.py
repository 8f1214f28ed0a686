"""A device's profile: what was measured there, and predictors of latency, energy and memory that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from evaluators.device_profile.composition import FEWEST, Composition, Ledger, Sums, latency_sums
from evaluators.device_profile.memory_model import MemoryModel
from evaluators.device_profile.records import Records, Subject, network_times, unit_times
from evaluators.device_profile.region import Region
from evaluators.device_profile.unit_model import UnitModel
from evaluators.device_profile.units import Placed
from evaluators.energy import CPU_CORE_WATTS, GPU_WATTS
from evaluators.latency.conditions import Conditions
from evaluators.prediction.base import Prediction
from nas.genotype import Genotype

WIDER = 2.0  # times the logarithm of an interval, for what lies outside the profiled region
INTERVAL = 2 * 1.645  # standard deviations that a 90 % interval is wide
MUCH = 0.1  # share of a network's time in units unlike any measured, from which it counts as outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Costs of n networks with 90 % intervals, arrays (n,): ms or mJ of a batch, or MB.

    outside: the network lies outside what was profiled; it is predicted all the same, with a wider interval.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    outside: np.ndarray


class DeviceProfile:
    """Predicts costs of genotypes under `conditions`, without building them.

    watts: power of the device as the user gave it. origin: the profile of another device that this one adapts, if any.
    wider: factor of the logarithm of all intervals, where the profile is used for other conditions than its own.
    """

    def __init__(
        self,
        name: str,
        conditions: Conditions,
        region: Region,
        records: Records,
        *,
        watts: float | None = None,
        origin: "DeviceProfile | None" = None,
        wider: float = 1.0,
    ) -> None:
        self.name, self.conditions, self.region, self.records = name, conditions, region, records
        self.watts, self.origin, self.wider = watts, origin, wider

    def fit(self, states: dict[str, Any] | None = None) -> Self:
        """Learn from the records. states: what `state` gave before, so that nothing is tuned again."""
        states = states or {}
        if self.origin is None:
            times = unit_times(self.records.units)
            self._units = UnitModel().fit(list(times), np.array(list(times.values())), states.get("units"))
        measured = network_times(self.records.networks)
        found = self._sums(self._ledger([subject.units() for subject in measured]))
        self._composition = Composition().fit(found, np.array(list(measured.values())), states.get("composition"))
        self._memory = self._fit_memory(states.get("memory"))
        return self

    def state(self) -> dict[str, Any]:
        """Hyperparameters in plain numbers: with the records, all that `fit` needs."""
        own = {"composition": self._composition.state()}
        if self.origin is None:
            own["units"] = self._units.state()
        if self._memory is not None:
            own["memory"] = self._memory.state()
        return own

    def latency(
        self, genotypes: Sequence[Genotype], *, image_size: int | tuple[int, int], in_chans: int, classes: int
    ) -> Estimate:
        """Milliseconds of a forward pass of a batch of `conditions.batch` images."""
        subjects = subjects_of(genotypes, image_size=image_size, in_chans=in_chans, classes=classes)
        return self.estimate(subjects, [subject.units() for subject in subjects])

    def energy_mj(
        self, genotypes: Sequence[Genotype], *, image_size: int | tuple[int, int], in_chans: int, classes: int
    ) -> Estimate:
        """Millijoules of the same: latency times the power that was measured with it, else a typical or given power."""
        found = self.latency(genotypes, image_size=image_size, in_chans=in_chans, classes=classes)
        watts, spread = self._power()
        return Estimate(
            mean=watts * found.mean, low=watts / spread * found.low, high=watts * spread * found.high,
            outside=found.outside,
        )  # fmt: skip

    def memory_mb(
        self,
        genotypes: Sequence[Genotype],
        *,
        image_size: int | tuple[int, int],
        in_chans: int,
        classes: int,
        phase: str = "inference",
        batch: int = 1,
    ) -> Estimate:
        """Peak memory in MB. phase: inference or training. Raises ValueError when the profile measured no memory."""
        subjects = subjects_of(genotypes, image_size=image_size, in_chans=in_chans, classes=classes)
        placed = [subject.units() for subject in subjects]
        found = self._memory_model().predict(placed, phase, batch)
        return self._widened(found, self._outside(subjects, self._ledger(placed)))

    def estimate(self, subjects: Sequence[Subject], placed: Sequence[Sequence[Placed]]) -> Estimate:
        """Latency of networks whose units are at hand."""
        ledger = self._ledger(placed)
        return self._widened(self._composition.predict(self._sums(ledger)), self._outside(subjects, ledger))

    def stages(self, subject: Subject) -> dict[int, float]:
        """Milliseconds by stage from 1; 0 holds the stem and what joins branches. They add up to the latency."""
        placed = subject.units()
        ms, _ = self.unit_model().predict([p.unit for p in placed])
        spent: dict[int, float] = {}
        for each, one in zip(placed, ms, strict=True):
            spent[each.stage] = spent.get(each.stage, 0.0) + each.times * float(one)
        scale = float(self.estimate([subject], [placed]).mean[0]) / sum(spent.values())
        return {stage: scale * value for stage, value in sorted(spent.items())}

    def sums(self, placed: Sequence[Sequence[Placed]]) -> Sums:
        """What is known of networks before their composition is."""
        return self._sums(self._ledger(placed))

    @property
    def energy(self) -> tuple[str, str]:
        """(measured or estimated, method)."""
        found = [n.energy for n in self.records.networks if n.energy and n.energy["label"] == "measured"]
        if found:
            return "measured", f"latency x mean power in {len(found)} networks; {found[0]['method']}"
        return "estimated", f"latency x {self._power()[0]:g} W ({'as given' if self.watts else 'a typical power'})"

    @property
    def predicts_memory(self) -> bool:
        return self._memory is not None or (self.origin is not None and self.origin.predicts_memory)

    def relative(self, wider: float) -> "DeviceProfile":
        """The same with wider intervals."""
        other = DeviceProfile(
            self.name, self.conditions, self.region, self.records, watts=self.watts, origin=self.origin, wider=wider
        )
        return other.fit(self.state())

    def _ledger(self, placed: Sequence[Sequence[Placed]]) -> Ledger:
        return Ledger.of(placed, self.unit_model())

    def _sums(self, ledger: Ledger) -> Sums:
        """Of units on this device; or what the other device takes, where this profile adapts another's."""
        if self.origin is None:
            return latency_sums(ledger)
        there = self.origin._sums(ledger)
        taken = self.origin._composition.predict(there)
        x = there.x.copy()
        x[:, 0] = np.log(taken.mean)
        spread = np.log(taken.high / taken.low) / INTERVAL
        return Sums(total=taken.mean, deviation=spread, x=x)

    def _fit_memory(self, state: dict[str, Any] | None) -> MemoryModel | None:
        """None where too little was measured."""
        networks = [(n, n.subject.units()) for n in self.records.networks if n.memory]
        kept = [u for u in self.records.units if u.kept_mb is not None]
        if len(networks) < FEWEST or len(kept) < FEWEST:
            return None
        return MemoryModel(self.conditions.batch).fit(kept, networks, state)

    def _memory_model(self) -> MemoryModel:
        if self._memory is not None:
            return self._memory
        if self.origin is None:
            raise ValueError(f"profile {self.name}: no memory was measured")
        return self.origin._memory_model()

    def unit_model(self) -> UnitModel:
        return self._units if self.origin is None else self.origin.unit_model()

    def _power(self) -> tuple[float, float]:
        """(watts, factor of a 90 % interval): measured as mJ per ms, else as given, else typical."""
        found = [n.energy["mj"] / n.ms for n in self.records.networks if n.energy and n.energy["label"] == "measured"]
        if len(found) >= 3:
            logs = np.log(found)
            return float(np.exp(logs.mean())), float(np.exp(INTERVAL / 2 * logs.std()))
        typical = GPU_WATTS if self.conditions.kind == "cuda" else CPU_CORE_WATTS * self.conditions.threads
        return self.watts or typical, 1.0

    def _outside(self, subjects: Sequence[Subject], ledger: Ledger) -> np.ndarray:
        """Input beyond the region, or much of the time in units unlike any measured."""
        strange = self.unit_model().strange(ledger.units)
        beyond = [bool(self.region.outside(s.image_size, s.in_chans, s.classes)) for s in subjects]
        share = [
            float((count * ledger.ms[at])[strange[at]].sum() / (count * ledger.ms[at]).sum())
            for at, count in ledger.networks
        ]
        return np.array(beyond) | (np.array(share) > MUCH)

    def _widened(self, found: Prediction, outside: np.ndarray) -> Estimate:
        factor = self.wider * np.where(outside, WIDER, 1.0)
        low, high = (found.mean * (edge / found.mean) ** factor for edge in (found.low, found.high))
        return Estimate(mean=found.mean, low=low, high=high, outside=outside)


def subjects_of(
    genotypes: Sequence[Genotype], *, image_size: int | tuple[int, int], in_chans: int, classes: int
) -> list[Subject]:
    """Genotypes with one input."""
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return [Subject(genotype=g, image_size=size, in_chans=in_chans, classes=classes) for g in genotypes]
