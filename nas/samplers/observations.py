"""What a history says about one objective: a value per network, and how far it may be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.objective import Objective
from nas.samplers.base import log_deviation
from nas.samplers.curves import extrapolated, stopped
from nas.samplers.encoding import SMALLEST
from nas.trial import Trial
from nas.uncertainty import counting_variance

FAR = 1.0  # a loss further above the median than this times the median's distance from the best counts as that far
DOUBT = 1.0  # variance of what a failure is taken to say, beside a variance of 1 over all trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Losses (smaller is better; logarithms of costs) with mean 0 and variance 1. Arrays (n,).

    trials: the n trials. t: their standardised losses. extra: variances beyond the common noise. middle, size: what
    undoes the standardisation. far: the loss beyond which it does not matter how bad a network is.
    """

    trials: tuple[Trial, ...]
    t: np.ndarray
    extra: np.ndarray
    middle: float
    size: float
    far: float


def observations(
    history: Sequence[Trial], objective: Objective, pictures: int | None = None, far: float = FAR
) -> Observations:
    """Of a cost measured in a trial, its logarithm; of accuracy also what stopped and failed trials suggest."""
    cost = objective.metric.before_training
    found = _costs(history, objective) if cost else _qualities(history, objective, pictures)
    losses, deviations = np.array([f[1] for f in found]), np.array([f[2] for f in found])
    limit = math.inf if cost else _far(losses, far)
    near = np.minimum(losses, limit)
    middle, size = float(near.mean()), _size(near)
    failed = [] if cost else [t for t in history if t.state == "failed"]
    worst = (near.max() - middle) / size
    return Observations(
        trials=(*(f[0] for f in found), *failed),
        t=np.concatenate([(near - middle) / size, np.full(len(failed), worst)]),
        extra=np.concatenate([(deviations / size) ** 2, np.full(len(failed), DOUBT)]),
        middle=middle, size=size, far=limit,
    )  # fmt: skip


def _size(losses: np.ndarray) -> float:
    """Standard deviation; 1 where nothing but rounding differs, which the mean of equal numbers already does."""
    found = float(losses.std())
    return found if found > SMALLEST else 1.0


def _far(losses: np.ndarray, far: float) -> float:
    """Told apart, the failures would hide the good ones."""
    median = float(np.median(losses))
    return median + far * (median - float(losses.min()))


def _costs(history: Sequence[Trial], objective: Objective) -> list[tuple[Trial, float, float]]:
    """(trial, log of its cost, deviation) wherever it was measured, finished or turned away."""
    name, unknown = objective.name, (0.0, 0.0)
    seen = [t for t in history if 0 <= t.values.get(name, math.inf) < math.inf]
    logs = [math.log(max(t.values[name], SMALLEST)) for t in seen]
    deviations = [log_deviation(*t.intervals.get(name, unknown)) for t in seen]
    return list(zip(seen, logs, deviations, strict=True))


def _qualities(
    history: Sequence[Trial], objective: Objective, pictures: int | None
) -> list[tuple[Trial, float, float]]:
    """(trial, loss, deviation): that of counting the pictures of the validation split, or of an extrapolation."""
    name = objective.name
    complete = [t for t in history if t.state == "complete" and math.isfinite(t.values.get(name, math.nan))]
    found = [(t, objective.sign * t.values[name], _counting(t.values[name], pictures)) for t in complete]
    for trial in stopped(history):
        expected = extrapolated(trial, complete)
        if expected is not None:
            found.append((trial, objective.sign * expected[0], expected[1]))
    return found


def _counting(accuracy: float, pictures: int | None) -> float:
    return math.sqrt(float(counting_variance(np.array(accuracy), pictures))) if pictures else 0.0
