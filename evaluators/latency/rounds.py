"""Rounds of a measurement: every network once in each, in a fresh order, with a reference network between them.

The reference is always the same work, so what changes in its time is the device: a neighbour, a throttled clock.
Readings taken beside a slow reference are taken again.
"""

import time
from bisect import insort
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

MIN_ROUNDS = 3  # taken even when the time is over
WARMUP_SHARE = 0.25  # of the time, at most
WINDOW = 5  # rounds that are compared with as many before them
STEADY = 0.02  # a round is still warming up while the last ones are faster by more than this
LOW = 0.05  # quantile of the reference that stands for the undisturbed device
MARGIN = 0.1  # above it, the device counts as disturbed
CACHED_MS = 5.0
EVERY_S = 0.02  # between two looks at the reference

Timer = Callable[[], float]  # runs a network once and returns its milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """How to measure. warmup: rounds before it counts, at least; more until they get no faster, none for 0.
    seconds: stop after this time, however many rounds that leaves."""

    batch: int = 1
    threads: int = 1
    rounds: int = 150
    warmup: int = 10
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("batch", "threads", "rounds", "seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"latency.{name}: {getattr(self, name)} is too small; give a number above 0")
        if self.warmup < 0:
            raise ValueError(f"latency.warmup: {self.warmup} is too small; give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One timed call. reference_ms: the slower of the looks at the reference before and after; None without one."""

    name: str
    at_s: float
    ms: float
    reference_ms: float | None


class Rounds:
    """The readings of one session as they are taken; iterate once."""

    def __init__(
        self,
        timers: Mapping[str, Timer],
        settings: LatencySettings,
        seed: int,
        *,
        reference: Timer | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.timers, self.settings, self._reference, self._clock = timers, settings, reference, clock
        self._rng = np.random.default_rng(seed)
        self._looks: list[float] = []  # at the reference, sorted
        self._fastest: dict[str, float] = {}
        self._again: list[str] = []
        self._repeats_left = settings.rounds * len(timers)

    def __iter__(self) -> Iterator[Reading]:
        start, done = self._clock(), 0
        warm_up(self.timers, self.settings, self._clock)
        before, looked, pending = self._look(), self._clock(), list[tuple[str, float, float]]()
        while done < self.settings.rounds or self._again:
            if done >= MIN_ROUNDS and self._clock() - start > self.settings.seconds:
                break
            order = self._order(done)
            done += 1
            for i, name in enumerate(order, start=1):
                pending.append((name, self._clock() - start, self._call(name)))
                last = i == len(order) and done >= self.settings.rounds  # what is to be repeated must be known now
                if last or self._clock() - looked >= EVERY_S:
                    after = self._look()
                    yield from self._close(pending, before, after)
                    before, looked, pending = after, self._clock(), []
        yield from self._close(pending, before, self._look())

    def _call(self, name: str) -> float:
        """What is short is called twice and the second call counts, or it would depend on who ran before and is in the
        caches; what is long fills them itself."""
        ms = self.timers[name]()
        self._fastest[name] = min(ms, self._fastest.get(name, ms))
        return ms if self._fastest[name] > CACHED_MS else self.timers[name]()

    def _order(self, done: int) -> list[str]:
        """Who is called in this round: all, and whoever was disturbed before; in the end only those."""
        names = [*(self.timers if done < self.settings.rounds else ()), *self._again]
        self._again = []
        return [names[i] for i in self._rng.permutation(len(names))]

    def _look(self) -> float | None:
        """The reference now: the better of two calls, since a single interruption says nothing of the device."""
        if self._reference is None:
            return None
        ms = min(self._reference(), self._reference())
        insort(self._looks, ms)
        return ms

    def _close(
        self, pending: list[tuple[str, float, float]], before: float | None, after: float | None
    ) -> Iterator[Reading]:
        slower = None if before is None or after is None else max(before, after)
        for name, at_s, ms in pending:
            if slower is not None and self._repeats_left > 0 and slower > (1 + MARGIN) * self._undisturbed():
                self._again.append(name)
                self._repeats_left -= 1
            yield Reading(name=name, at_s=at_s, ms=ms, reference_ms=slower)

    def _undisturbed(self) -> float:
        return self._looks[int(LOW * (len(self._looks) - 1))]


def warm_up(timers: Mapping[str, Timer], settings: LatencySettings, clock: Callable[[], float]) -> int:
    """Call everything until it gets no faster or a share of the time is over; returns the rounds taken."""
    start, totals = clock(), list[float]()
    while settings.warmup and not (len(totals) >= settings.warmup and steady(totals, settings.warmup)):
        totals.append(sum(timer() for timer in timers.values()))
        if clock() - start > WARMUP_SHARE * settings.seconds:
            break
    return len(totals)


def steady(totals: list[float], warmup: int) -> bool:
    """Whether the best of the last rounds is no faster than the best of as many before, by a margin."""
    size = max(1, min(WINDOW, warmup // 2))
    if len(totals) < 2 * size:
        return False
    return min(totals[-size:]) >= (1 - STEADY) * min(totals[-2 * size : -size])
