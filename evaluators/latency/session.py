"""What comes from a measuring process, event by event, and what follows from it for each network."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluators.energy import Energy, PowerMeter, default_watts, estimate_energy
from evaluators.latency.conditions import Conditions, differences
from evaluators.latency.judgement import Judged, judge
from evaluators.latency.measure import Latency, summarise
from evaluators.latency.rounds import MIN_ROUNDS, LatencySettings, Reading
from evaluators.memory import Memory
from nas.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureJob:
    """One network: `make` ("module:function") is called with `arguments`, which are plain JSON, in the fresh process.

    image_size, in_chans: of its input, where they are not those of the conditions.
    """

    name: str
    arguments: dict[str, Any]
    make: str = "evaluators.latency.child:network_of"
    image_size: tuple[int, int] | None = None
    in_chans: int | None = None

    def under(self, conditions: Conditions) -> Conditions:
        """The conditions with this network's own input."""
        return replace(
            conditions,
            image_size=self.image_size or conditions.image_size,
            in_chans=self.in_chans or conditions.in_chans,
        )

    def request(self, conditions: Conditions) -> dict[str, Any]:
        """What the measuring process is told."""
        own = self.under(conditions)
        return {
            "name": self.name, "make": self.make, "arguments": self.arguments, "image_size": own.image_size,
            "in_chans": own.in_chans,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was found of one network; what could not be measured is absent, and `error` says why.

    Of the session, shared by its networks: notes for people; drift of the device; share of disturbed readings; and
    reference_ms, the reference network on the undisturbed device, by which sessions of other hours can be compared.
    """

    name: str
    latency: Latency | None
    memory: tuple[Memory, ...]
    energy: Energy | None
    error: str | None
    notes: tuple[str, ...]
    drift: float
    disturbed: float
    reference_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """doing: in words. left_s: an estimate for the rounds, None before and after them."""

    doing: str
    left_s: float | None


class Session:
    """What has come from the measuring process so far."""

    def __init__(
        self,
        jobs: Sequence[MeasureJob],
        conditions: Conditions,
        settings: LatencySettings,
        *,
        seed: int = 0,
        watts: float | None = None,
        reference_ms: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.jobs, self.conditions, self.settings, self.seed = jobs, conditions, settings, seed
        self._reference_ms = reference_ms
        watts_or_typical = default_watts(conditions.kind, conditions.threads) if watts is None else watts
        self._power = PowerMeter(watts_or_typical, stated=watts is not None)
        self._clock, self._measuring_since, self._doing = clock, math.nan, "starting"
        self.readings: list[Reading] = []
        self.cores: tuple[int, ...] = ()
        self._memory: dict[str, list[Memory]] = {job.name: [] for job in jobs}
        self._energy: dict[str, Energy] = {}
        self._errors: dict[str, str] = {}
        self._end: str | None = None

    def take(self, event: dict[str, Any]) -> None:
        """One line of the process."""
        kind, name = event.pop("event"), event.pop("name", None)
        if kind == "ready":
            self._check(Conditions.from_json(event["conditions"]))
            self.cores = tuple(event["cores"])
        elif kind == "doing":
            self._doing = f"{event['what']} {name}" if name else event["what"]
            if event["what"] == "measuring":
                self._measuring_since = self._clock()
        elif kind == "readings":
            self.readings += [Reading(name=n, at_s=at, ms=ms, reference_ms=ref) for n, at, ms, ref in event["rows"]]
        elif kind == "memory":
            self._memory[name].append(Memory(**event))
        elif kind == "energy":
            self._energy[name] = Energy(**event)
        elif kind == "failed":
            self._errors.setdefault(name, event["error"])
        elif kind == "lost":
            self.end(event["error"])

    def end(self, reason: str) -> None:
        """The process is gone before its work was done."""
        if self._end is None:
            self._end = f"{reason} (while {self._doing})" if self._doing != "starting" else reason

    def progress(self) -> Progress:
        if self._doing != "measuring":
            return Progress(doing=self._doing, left_s=None)
        spent = self._clock() - self._measuring_since
        share = len(self.readings) / (self.settings.rounds * max(1, len(self.jobs) - len(self._errors)))
        by_pace = spent / share - spent if share > 0 else math.inf
        return Progress(doing="measuring", left_s=max(0.0, min(self.settings.seconds - spent, by_pace)))

    def measurements(self) -> Iterator[Measurement]:
        """One for each job. A network read fewer than three times has no latency."""
        judged = judge(self.readings, self._reference_ms)
        notes = (*judged.notes, *([self._end] if self._end else ()))
        for job in self.jobs:
            latency = self._latency(job, judged)
            error = self._errors.get(job.name)
            if latency is None and error is None:
                error = self._end or "not measured"
            yield Measurement(
                name=job.name, latency=latency, memory=tuple(self._memory[job.name]),
                energy=self._energy_of(job.name, latency), error=error, notes=notes, drift=judged.drift,
                disturbed=judged.disturbed, reference_ms=judged.reference_ms,
            )  # fmt: skip

    def _latency(self, job: MeasureJob, judged: Judged) -> Latency | None:
        times = judged.times.get(job.name, [])
        if len(times) < MIN_ROUNDS:
            return None
        return summarise(times, job.under(self.conditions), self.seed)

    def _energy_of(self, name: str, latency: Latency | None) -> Energy | None:
        if name in self._energy or latency is None:
            return self._energy.get(name)
        return estimate_energy(latency.ms, self._power)

    def _check(self, found: Conditions) -> None:
        phrases = differences(self.conditions, found)
        if phrases:
            raise UserError(f"this machine measures under other conditions: {'; '.join(phrases)}")
