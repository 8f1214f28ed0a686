"""Objectives with their direction and hard constraints. "Smaller is better" is applied here and nowhere else.

`latency_ms@phone` is latency_ms on the device called phone: a metric of its own with the same unit and direction.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np

from nas.errors import UserError, unknown

Value = TypeVar("Value", float, np.ndarray)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that a campaign can see: its unit, its usual direction, and whether it is known before training."""

    name: str
    unit: str
    direction: str
    label: str
    before_training: bool


METRICS = {
    m.name: m
    for m in (
        Metric(name="accuracy", unit="1", direction="maximize", label="Accuracy", before_training=False),
        Metric(name="latency_ms", unit="ms", direction="minimize", label="Latency (ms)", before_training=True),
        Metric(name="energy_mj", unit="mJ", direction="minimize", label="Energy (mJ)", before_training=True),
        Metric(name="macs_g", unit="GMAC", direction="minimize", label="GMACs", before_training=True),
        Metric(name="params_m", unit="M", direction="minimize", label="Parameters (M)", before_training=True),
        Metric(name="memory_mb", unit="MB", direction="minimize", label="Memory (MB)", before_training=True),
    )
}
COSTS = ("params_m", "macs_g", "memory_mb")  # exact, from the genotype alone
MEASURED_COSTS = ("latency_ms", "energy_mj")  # of a device, measured unless a profile predicts them
DEVICE_COSTS = (*MEASURED_COSTS, "memory_mb")  # what a profile predicts


def split_name(name: str) -> tuple[str, str]:
    """(metric, device) of `latency_ms@phone`; the device is empty for `latency_ms`."""
    metric, _, device = name.partition("@")
    return metric, device


def is_metric(name: str) -> bool:
    metric, device = split_name(name)
    return metric in METRICS and (not device or metric in DEVICE_COSTS)


def metric_of(name: str) -> Metric:
    """The metric behind a name; on a named device its label says so: "Latency (ms), phone"."""
    metric, device = split_name(name)
    found = METRICS[metric]
    return replace(found, name=name, label=f"{found.label}, {device}") if device else found


def check_metric(name: str, where: str, what: str = "metric") -> None:
    """Raise UserError unless `name` is a metric, on a device where it names one."""
    metric, device = split_name(name)
    if metric not in METRICS:
        raise unknown(what, metric, METRICS, where)
    if "@" not in name:
        return
    if metric not in DEVICE_COSTS:
        raise UserError(f"{where}: {metric} is the same on every device; leave @{device} out")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", device):
        raise UserError(f"{where}: {name!r}: after @ write a device's name of letters, digits, . _ -")


def in_order(names: Iterable[str]) -> list[str]:
    """Each metric among `names` once, in the order of METRICS, those of named devices after their namesake."""
    rank = {name: i for i, name in enumerate(METRICS)}
    return sorted({n for n in names if is_metric(n)}, key=lambda n: (rank[split_name(n)[0]], n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One axis of the front."""

    name: str
    direction: str

    def __post_init__(self) -> None:
        check_metric(self.name, "objectives", "objective")
        if self.direction not in ("maximize", "minimize"):
            raise unknown("direction", self.direction, ("maximize", "minimize"), f"objectives.{self.name}")

    @property
    def sign(self) -> float:
        return -1.0 if self.direction == "maximize" else 1.0

    @property
    def metric(self) -> Metric:
        return metric_of(self.name)


def losses(values: list[dict[str, float]], objectives: tuple[Objective, ...]) -> np.ndarray:
    """(trials, objectives) with every column to be minimised."""
    rows = [[o.sign * v[o.name] for o in objectives] for v in values]
    return np.asarray(rows, dtype=float).reshape(len(rows), len(objectives))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A hard limit such as params_m <= 2. `excess` is positive when it is broken."""

    metric: str
    operator: str
    bound: float

    @classmethod
    def parse(cls, metric: str, text: str | float) -> Self:
        """From a campaign file: `params_m: "<= 2"`."""
        where = f"constraints.{metric}"
        check_metric(metric, "constraints")
        match = re.fullmatch(r"\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*", str(text))
        if not match:
            raise UserError(f'{where}: cannot read {text!r}; write for example "<= 2"')
        try:
            bound = float(match[2])
        except ValueError:
            raise UserError(f"{where}: {match[2]!r} is not a number") from None
        return cls(metric=metric, operator=match[1][0], bound=bound)

    def excess(self, value: Value) -> Value:
        """How far a value, or each of an array, is beyond the bound."""
        return value - self.bound if self.operator == "<" else self.bound - value

    def relative_excess(self, value: float) -> float:
        """As a share of the bound, 0 when it holds: what excesses over several limits can be added in."""
        return max(0.0, self.excess(value)) / max(abs(self.bound), 1e-12)

    def holds(self, value: float) -> bool:
        return self.excess(value) <= 0

    def __str__(self) -> str:
        return f"{self.metric} {self.operator}= {self.bound:g}"
