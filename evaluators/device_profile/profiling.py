"""Making a profile: sessions of units, of networks to learn from and of networks to test on, until the time is over.

Every session is a measuring process of its own. Its results are on disk before the next one begins, and a profile that
was stopped goes on from there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluators.device_profile.accuracy import accuracy_of
from evaluators.device_profile.choosing import choose_spread, choose_units
from evaluators.device_profile.composition import FIRST
from evaluators.device_profile.jobs import network_job, network_record, unit_job, unit_record
from evaluators.device_profile.profile import DeviceProfile
from evaluators.device_profile.profile_file import read_profile, unlike, write_profile
from evaluators.device_profile.records import NetworkRecord, Records, SessionRecord, Subject
from evaluators.device_profile.region import Region
from evaluators.device_profile.units import Unit
from evaluators.latency.conditions import Conditions
from evaluators.latency.isolated import MeasureJob, Measurement, Progress, measure_isolated
from evaluators.latency.measure import LatencySettings
from nas.errors import UserError

CYCLE = ("units", "networks", "units", "tests")
SESSIONS = 15  # into which the time is cut, within these limits of seconds
ADAPTING = 3  # sessions of an adapted profile: the samples, and networks to test on twice
SHORTEST_S, LONGEST_S = 12.0, 40.0
STARTING_S = 4.0  # of a measuring process before it measures
ENDING_S = 6.0  # of the last fit and its test
ROUNDS = {"units": 20, "networks": 15, "tests": 15, "samples": 40}
MEMORY = {"units": ("kept",), "networks": ("inference", "training")}
OVERHEAD_S = {"eager": 0.02, "onnxruntime": 3.0, "compile": 8.0}  # of building a unit and making it ready
HEAVIER = 5.0  # times that, for a network
MEMORY_S, MEMORY_CALLS = 0.03, 25  # of measuring the peak memory of a network: so long, and as long as so many calls
FIRST_UNITS, FIRST_NETWORKS = 200, 12  # in a session before anything is known of their times
POOL = 800  # networks whose units are chosen from, drawn anew for every session
FRESH = 200  # networks of which a session takes as many as it has time for
TESTED = 60  # networks to test on, after which all others are learnt from
WITH_MEMORY = 40  # networks whose peak memory is measured
TEST_SAMPLES = 16  # networks on which an adapted profile is tested
RETUNED = 1.5  # growth of the records after which hyperparameters are tuned again
FEWEST = 3  # units, or networks for an adapted profile, before anything is learnt and written

Report = Callable[[str, float | None], None]
Item = Unit | Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to make. seconds: of work in all. origin, samples: adapt that profile with so many networks instead."""

    region: Region
    conditions: Conditions
    device: str
    seconds: float
    seed: int = 0
    watts: float | None = None
    origin: DeviceProfile | None = None
    samples: int = 10


def make_profile(order: Order, path: Path, report: Report = lambda doing, left_s: None) -> DeviceProfile:
    """Measure, learn, test, and write DEVICE.json; goes on with `path` where it exists.

    Raises UserError when the file there is of another device or region or when the device gives nothing, and
    KeyboardInterrupt when it is interrupted; what was measured is on disk then.
    """
    work = _Work(order, _records_of(order, path), path, report)
    try:
        for kind in work.kinds():
            work.session(kind)
    except KeyboardInterrupt:
        work.finish()
        raise
    profile = work.finish()
    if profile is None:
        raise UserError(f"{path}: nothing was measured in the time given; more minutes may help")
    return profile


def _records_of(order: Order, path: Path) -> Records:
    """Those of an unfinished profile, or none."""
    if not path.exists():
        return Records()
    found = read_profile(path)
    different = unlike(order.conditions, found.conditions)
    if different:
        raise UserError(f"{path}: made under other conditions; {'; '.join(different)}; choose another file")
    if found.region != order.region:
        raise UserError(f"{path}: made for other spaces, image sizes, channels or classes; choose another file")
    if (found.origin is None) != (order.origin is None):
        words = "adapts another profile" if found.origin else "does not adapt another profile"
        raise UserError(f"{path}: {words}; choose another file")
    return found.records


class _Work:
    """The sessions of one call, and the profile so far."""

    def __init__(self, order: Order, records: Records, path: Path, report: Report) -> None:
        self.order, self.records, self.path, self.report = order, records, path, report
        self._start = time.monotonic()
        self._rng = np.random.default_rng((order.seed, len(records.sessions)))
        self._profile: DeviceProfile | None = None
        self._tuned_at = 0
        self._interrupted = False
        self._nothing = 0  # sessions one after the other that gave nothing
        self._learn()

    def left_s(self) -> float:
        return self.order.seconds - (time.monotonic() - self._start)

    def kinds(self) -> Iterator[str]:
        """What each session measures, while there is time."""
        if self.order.origin is not None:
            yield from ("samples", "tests", "tests")
            return
        done = len(self.records.sessions)
        while done == len(self.records.sessions) == 0 or self.left_s() > STARTING_S + ENDING_S + 2:
            kind = CYCLE[done % len(CYCLE)]
            enough = len({n.subject for n in self.records.tested()}) >= TESTED
            yield "networks" if kind == "tests" and enough else kind
            done += 1

    def session(self, kind: str) -> None:
        """Measure one kind, learn, write."""
        begun, seconds = time.monotonic(), self._session_s()
        items = self._fill(kind, self._items(kind), seconds)
        jobs = [
            unit_job(str(i), item) if isinstance(item, Unit) else network_job(str(i), item)
            for i, item in enumerate(items)
        ]
        measured = self._measure(jobs, kind, seconds)
        self._record(kind, items, measured, time.monotonic() - begun)
        self._write()
        if self._interrupted:
            raise KeyboardInterrupt

    def finish(self) -> DeviceProfile | None:
        """The profile of all that was measured, tested and written; None when that is too little."""
        self.report("testing the profile", None)
        self._tuned_at = 0
        self._learn()
        if self._profile is not None:
            write_profile(self._profile, self.path, accuracy_of(self._profile))
        return self._profile

    def _session_s(self) -> float:
        if self.order.origin is not None:
            return max(2.0, self.order.seconds / ADAPTING - STARTING_S)
        whole = float(np.clip(self.order.seconds / SESSIONS, SHORTEST_S, LONGEST_S))
        return max(2.0, min(whole, self.left_s() - ENDING_S) - STARTING_S)

    def _items(self, kind: str) -> Sequence[Item]:
        """In the order in which to measure them, more than there is time for."""
        if kind == "units":
            placed = [self._draw().units() for _ in range(POOL)]
            model = self._profile.unit_model() if self._profile else None
            known = {u.unit for u in self.records.units}
            overhead_s = OVERHEAD_S[self.order.conditions.runtime]
            return choose_units(placed, model, known, self._rng, rounds=ROUNDS["units"], overhead_s=overhead_s)
        if kind == "samples":
            return self._samples()
        if kind == "networks":
            return self._fresh(self.records.tested())
        before = list(dict.fromkeys(n.subject for n in self.records.tested()))[::-1]
        fresh = self._fresh(self.records.networks)
        if self.order.origin is not None:
            return before or fresh[:TEST_SAMPLES]
        return [item for pair in zip(before, fresh, strict=False) for item in pair] + fresh[len(before) :]

    def _fresh(self, besides: Sequence[NetworkRecord]) -> list[Subject]:
        """Different networks, none of which is learnt from and tested on: small spaces give one more than once."""
        taken = {record.subject for record in besides}
        return [s for s in dict.fromkeys(self._draw() for _ in range(FRESH)) if s not in taken]

    def _samples(self) -> list[Item]:
        """Networks that lie far apart in what the other profile knows of them."""
        assert self.order.origin is not None
        pool = [self._draw() for _ in range(POOL)]
        x = self.order.origin.sums([subject.units() for subject in pool]).x[:, :FIRST]
        return [pool[i] for i in choose_spread(x, self.order.samples)]

    def _draw(self) -> Subject:
        return self.order.region.draw(self._rng)

    def _fill(self, kind: str, items: Sequence[Item], seconds: float) -> list[Item]:
        """As many as there is time for, by what is known of their times; at least three."""
        if self.order.origin is not None:
            return list(items)
        overhead = OVERHEAD_S[self.order.conditions.runtime] * (1.0 if kind == "units" else HEAVIER)
        if self._profile is None:
            first = FIRST_UNITS if kind == "units" else FIRST_NETWORKS
            return list(items[: max(3, min(first, int(seconds / overhead)))])
        ms = self._expected_ms(items)
        calls = ROUNDS[kind] + 2
        if self._memory(kind) == MEMORY["networks"]:
            overhead, calls = overhead + MEMORY_S, calls + MEMORY_CALLS
        ends = np.cumsum(overhead + ms / 1e3 * calls)
        return list(items[: max(3, int(np.searchsorted(ends, seconds)))])

    def _expected_ms(self, items: Sequence[Item]) -> np.ndarray:
        assert self._profile is not None
        units = [item for item in items if isinstance(item, Unit)]
        if units:
            return self._profile.unit_model().predict(units)[0]
        subjects = [item for item in items if isinstance(item, Subject)]
        return self._profile.estimate(subjects, [subject.units() for subject in subjects]).mean

    def _measure(self, jobs: list[MeasureJob], kind: str, seconds: float) -> list[Measurement]:
        """One for each job; when it was interrupted, what had been measured by then is there."""
        number = len(self.records.sessions) + 1
        words = {"units": "units", "networks": "networks", "tests": "test networks", "samples": "networks"}[kind]

        def show(progress: Progress) -> None:
            doing = "measuring" if progress.doing == "measuring" else "preparing"
            self.report(f"session {number}: {doing} {len(jobs)} {words}", max(0.0, self.left_s()))

        found: list[Measurement] = []
        measurements = measure_isolated(
            jobs, self.order.conditions, LatencySettings(rounds=ROUNDS[kind], warmup=2, seconds=seconds),
            device=self.order.device, seed=number, memory=self._memory(kind), watts=self.order.watts,
            reference_ms=self._reference_ms(), report=show,
        )  # fmt: skip
        try:
            found.extend(measurements)
        except KeyboardInterrupt:
            self._interrupted = True
        return found

    def _memory(self, kind: str) -> tuple[str, ...]:
        """Which memory to measure: of networks only until there are enough, since it takes long."""
        enough = sum(bool(n.memory) for n in self.records.networks) >= WITH_MEMORY
        return () if kind == "networks" and enough else MEMORY.get(kind, ())

    def _reference_ms(self) -> float | None:
        """All sessions are put on the scale of the first, so that a slower hour is not taken for slower networks."""
        return next((s.reference_ms for s in self.records.sessions if s.reference_ms), None)

    def _record(self, kind: str, items: Sequence[Item], measured: Sequence[Measurement], seconds: float) -> None:
        number = len(self.records.sessions)
        for item, found in zip(items, measured, strict=False):
            if found.latency is None and self._interrupted:
                continue  # it did not fail, it was not its turn yet
            if found.latency is None:
                name = item.family if isinstance(item, Unit) else item.genotype.hash()
                self.records.failed[name] = found.error or "not measured"
            elif isinstance(item, Unit):
                self.records.units.append(unit_record(item, found, number))
            else:
                role = "test" if kind == "tests" else "learn"
                self.records.networks.append(network_record(item, role, found, number))
        first = measured[0] if measured else None
        self.records.sessions.append(
            SessionRecord(
                at=time.time(), seconds=round(seconds, 2), reference_ms=first.reference_ms if first else None,
                drift=first.drift if first else 0.0, disturbed=first.disturbed if first else 0.0,
                notes=list(first.notes) if first else [],
            )
        )  # fmt: skip
        self._refuse_nothing(measured)

    def _refuse_nothing(self, measured: Sequence[Measurement]) -> None:
        self._nothing = 0 if any(m.latency for m in measured) else self._nothing + 1
        if self._nothing == 2:
            errors = [m.error for m in measured if m.error] or ["no reason given"]
            self.finish()
            raise UserError(
                f"{self.path}: the device gave nothing in two sessions ({errors[0]}); what was measured before is "
                "kept, and the same command goes on with it"
            )

    def _learn(self) -> None:
        """The profile from all records, its hyperparameters tuned again when there are many more."""
        records, adapted = self.records, self.order.origin is not None
        size = len(records.units) + len(records.networks)
        if len(records.networks if adapted else records.units) < FEWEST:
            return
        tuned = None if self._profile is None or size > RETUNED * self._tuned_at else self._profile.state()
        if tuned is None:
            self._tuned_at = size
        profile = DeviceProfile(
            self.path.stem, self.order.conditions, self.order.region, records, watts=self.order.watts,
            origin=self.order.origin,
        )  # fmt: skip
        self._profile = profile.fit(tuned)

    def _write(self) -> None:
        self._learn()
        if self._profile is not None:
            write_profile(self._profile, self.path)
