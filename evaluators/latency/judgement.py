"""What the reference network says of a session: how fast the device was at each reading, and whether it drifted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from evaluators.latency.rounds import LOW, MARGIN, MIN_ROUNDS, Reading

TOO_SLOW = 0.5  # above the undisturbed reference, a reading beside it is left out: it slows networks unequally
DRIFT = 0.02  # of the reference over a session, above which it is worth a note
ENOUGH = 0.2  # of a network's readings must be left, or all are taken
BINS, PER_BIN = 20, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """times: milliseconds that count, by network, at the undisturbed device's speed. reference_ms: the reference on the
    undisturbed device, None without one. drift: its relative change from start to end. disturbed: share of readings
    beside a slow reference. notes: for people."""

    times: dict[str, list[float]]
    reference_ms: float | None
    drift: float
    disturbed: float
    notes: tuple[str, ...]


def judge(readings: Sequence[Reading], undisturbed_ms: float | None = None) -> Judged:
    """Leave out what was disturbed too much, and scale the rest by the reference beside it.

    undisturbed_ms: of the reference on this device, known from earlier sessions; by default from this one.
    """
    names = dict.fromkeys(r.name for r in readings)
    if not readings or any(r.reference_ms is None for r in readings):
        times = {n: [r.ms for r in readings if r.name == n] for n in names}
        return Judged(times=times, reference_ms=None, drift=0.0, disturbed=0.0, notes=())
    at, ms, reference = (np.array([getattr(r, k) for r in readings], float) for k in ("at_s", "ms", "reference_ms"))
    low = float(np.quantile(reference, LOW))
    scaled, good = ms * (undisturbed_ms or low) / reference, reference <= (1 + TOO_SLOW) * low
    owners = np.array([r.name for r in readings])
    kept = {name: _kept(owners == name, good) for name in names}
    drift, disturbed = overall_drift(at, reference), float((reference > (1 + MARGIN) * low).mean())
    return Judged(
        times={name: scaled[rows].tolist() for name, rows in kept.items()},
        reference_ms=low,
        drift=drift,
        disturbed=disturbed,
        notes=tuple(_notes(drift, disturbed, [name for name, rows in kept.items() if not good[rows].all()])),
    )


def overall_drift(at_s: np.ndarray, ms: np.ndarray) -> float:
    """The trend, or the change from the first to the last tenth where that is a jump, such as a throttled clock."""
    order, size = np.argsort(at_s, kind="stable"), max(PER_BIN, len(ms) // 10)
    first, last = (np.quantile(ms[rows], 0.2) for rows in (order[:size], order[-size:]))
    jump = float(last / first - 1)
    return jump if abs(jump) > MARGIN else trend(at_s, ms)


def trend(at_s: np.ndarray, ms: np.ndarray) -> float:
    """Relative change over the session by the Theil-Sen slope of low quantiles; 0 where its 90 % interval holds 0."""
    count = min(BINS, len(ms) // PER_BIN)
    if count < 4:
        return 0.0
    parts = np.array_split(np.argsort(at_s, kind="stable"), count)
    middles = np.array([at_s[p].mean() for p in parts])
    lows = np.array([np.quantile(ms[p], 0.2) for p in parts])
    slope, intercept, low, high = theilslopes(lows, middles, 0.9)
    if low * high <= 0:
        return 0.0
    first, last = (intercept + slope * t for t in (at_s.min(), at_s.max()))
    return float(last / first - 1)


def _kept(own: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Rows of one network that count: the good ones, or all when those are too few."""
    both = own & good
    return both if both.sum() >= max(MIN_ROUNDS, ENOUGH * own.sum()) else own


def _notes(drift: float, disturbed: float, crowded: list[str]) -> list[str]:
    notes = []
    if abs(drift) > DRIFT:
        way = "slower" if drift > 0 else "faster"
        notes.append(f"the device became {abs(drift):.0%} {way} during the session; the reference network corrects it")
    if disturbed > 0.5:
        notes.append(f"{disturbed:.0%} of the readings were taken beside other work or at a lower clock; expect noise")
    if crowded:
        notes.append(f"too few undisturbed readings of {', '.join(crowded)}: all are used")
    return notes
