"""A trial: one architecture that was proposed, and all that was found out about it."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from nas.genotype import Genotype

STATES = ("queued", "running", "paused", "stopped", "complete", "infeasible", "failed")
KINDS = ("search", "reference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One epoch of a learning curve."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float  # since the trial began to train


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker needs to evaluate one architecture; plain data, safe to send to another machine.

    until: the epoch at which to keep the state of the training and end as "paused"; None to train to the end.
    training_state: a file in the run folder from which to go on.
    """

    trial: int
    kind: str
    name: str  # "trial 12", or the reference's name
    genotype: dict[str, Any]
    hash: str
    seed: int
    latency: dict[str, Any] | None = None  # a cached measurement of the same hash and device
    until: int | None = None
    training_state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a worker found. A missing measurement is absent from `values`.

    values: metric name -> value. intervals: metric name -> (low, high). seconds: what the time went to
    ("train", "measure", "wait", "setup"). notes: adaptations, such as a halved batch. joules: what a counter of the
    device's energy says the trial took; None without one. Curve, seconds and joules are those of this job alone.
    checkpoint: the weights, or the state of the training where it was paused. state: as that of a trial, or "refused"
    where a full disk or the like kept the worker from saying anything of the network, which is never recorded.
    """

    state: str
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
    checkpoint: str | None = None  # path relative to the run folder
    joules: float | None = None


def sound(outcome: Outcome) -> Outcome:
    """The same with finite numbers alone, as failed where others were found: the record holds no other."""
    curve = tuple(p for p in outcome.curve if math.isfinite(p.loss) and math.isfinite(p.accuracy))
    values = {name: value for name, value in outcome.values.items() if math.isfinite(value)}
    intervals = {name: ends for name, ends in outcome.intervals.items() if all(map(math.isfinite, ends))}
    joules = outcome.joules if outcome.joules is not None and math.isfinite(outcome.joules) else None
    held = replace(outcome, curve=curve, values=values, intervals=intervals, joules=joules)
    wrong = [f"{name} is {value}" for name, value in outcome.values.items() if name not in values]
    wrong += [f"loss or accuracy of epoch {p.epoch} is not finite" for p in outcome.curve if p not in curve]
    return replace(held, state="failed", error=wrong[0]) if wrong else held


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a sampler expected of a metric in a trial: a normal variable that holds the noise of a training.

    floor: the sampler does not tell apart what lies below, and takes it as that low.
    """

    mean: float
    deviation: float
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The record of one architecture, rebuilt from the journal. Numbers are shared by references and search trials.

    predicted: metric -> (mean, low, high) that a profile gave before the trial; a measurement replaces it in `values`.
    expected: metric -> what the sampler expected when it proposed the trial.
    measured_again: the metrics that were measured once more beside the other contenders.
    training_state: of a paused trial, the file from which its training goes on.
    """

    number: int
    kind: str
    name: str
    state: str
    genotype: Genotype
    hash: str
    code: dict[str, Any]  # dimension -> choice; empty for references
    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    curve: tuple[Point, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str | None = None
    checkpoint: str | None = None
    joules: float | None = None
    training_state: str | None = None
    predicted: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    expected: dict[str, Expectation] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)  # of the untrained network, where the campaign asks for them
    measured_again: frozenset[str] = frozenset()
    started: float = 0.0  # seconds since the epoch
    finished: float | None = None


def untrained(trial: Trial) -> bool:
    """Turned away by a measured constraint before training began."""
    return trial.state == "infeasible" and not trial.curve


def trained_share(trial: Trial, epochs: int) -> float:
    """What of a whole schedule an ended or waiting trial took, as a budget counts it: a failed one took all of it."""
    if untrained(trial):
        return 0.0
    return len(trial.curve) / epochs if trial.state in ("paused", "stopped") else 1.0
