"""Objectives with their direction and hard constraints. "Smaller is better" is applied here and nowhere else."""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from nas.errors import UserError, unknown


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
        Metric(name="macs_g", unit="GMAC", direction="minimize", label="GMACs", before_training=True),
        Metric(name="params_m", unit="M", direction="minimize", label="Parameters (M)", before_training=True),
        Metric(name="memory_mb", unit="MB", direction="minimize", label="Memory (MB)", before_training=True),
    )
}
COSTS = ("params_m", "macs_g", "memory_mb")  # exact, from the genotype alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One axis of the front."""

    name: str
    direction: str

    def __post_init__(self) -> None:
        if self.name not in METRICS:
            raise unknown("objective", self.name, METRICS, "objectives")
        if self.direction not in ("maximize", "minimize"):
            raise unknown("direction", self.direction, ("maximize", "minimize"), f"objectives.{self.name}")

    @property
    def sign(self) -> float:
        return -1.0 if self.direction == "maximize" else 1.0

    @property
    def metric(self) -> Metric:
        return METRICS[self.name]


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
        if metric not in METRICS:
            raise unknown("metric", metric, METRICS, "constraints")
        match = re.fullmatch(r"\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*", str(text))
        if not match:
            raise UserError(f'{where}: cannot read {text!r}; write for example "<= 2"')
        try:
            bound = float(match[2])
        except ValueError:
            raise UserError(f"{where}: {match[2]!r} is not a number") from None
        return cls(metric=metric, operator=match[1][0], bound=bound)

    def excess(self, value: float) -> float:
        return value - self.bound if self.operator == "<" else self.bound - value

    def holds(self, value: float) -> bool:
        return self.excess(value) <= 0

    def __str__(self) -> str:
        return f"{self.metric} {self.operator}= {self.bound:g}"
