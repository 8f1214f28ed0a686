"""Final accuracy from the first epochs: a Gaussian per trial, learnt from the trials that were trained further.

Bayesian linear regression of the final log-odds on the log-odds at the last epoch seen, on their mean until then and
on the logarithms of the costs (after Baker et al., 2017, arXiv 1705.10823). Curves are compared at one epoch of one
schedule only. Trials that ended at a later rung take part with what is forecast for them from there, mean and variance:
those trained to the end alone are the ones that went on to do well, and would promise too much of the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from nas.trial import Trial

FEWEST = 10  # trials trained to the end to learn from
PRIOR = 3.0  # weight, in rows, of the assumption that an input says nothing
EDGE = 0.002  # accuracies nearer to 0 or 1 count as that near: their log-odds would be infinite
End = tuple[float, float]  # log-odds: mean and variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """At one epoch. costs: names of the inputs beside the curve. `predict` gives log-odds."""

    epoch: int
    costs: tuple[str, ...]
    middle: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    inverse: np.ndarray
    variance: float

    @classmethod
    def fit(cls, trials: Sequence[Trial], ends: Sequence[End], epoch: int, costs: Sequence[str]) -> Self:
        """From trials that were trained beyond `epoch`, and what they ended with or are expected to."""
        x, (y, doubt) = inputs(trials, epoch, costs), np.array(ends).T
        middle, scale = x.mean(axis=0), np.where(x.std(axis=0) > 1e-6, x.std(axis=0), 1.0)
        rows = np.column_stack([np.ones(len(x)), (x - middle) / scale])
        inverse = np.linalg.inv(rows.T @ rows + np.diag([0.0] + [PRIOR] * x.shape[1]))
        weights = inverse @ rows.T @ y
        scatter = float(((y - rows @ weights) ** 2 + doubt).sum())
        return cls(
            epoch=epoch, costs=tuple(costs), middle=middle, scale=scale, weights=weights, inverse=inverse,
            variance=max(scatter / (len(y) - len(weights) - 2), 1e-8),  # that of Student's t
        )  # fmt: skip

    def predict(self, trials: Sequence[Trial]) -> list[End]:
        """Of trials that have reached the epoch."""
        x = (inputs(trials, self.epoch, self.costs) - self.middle) / self.scale
        rows = np.column_stack([np.ones(len(x)), x])
        spread = self.variance * (1 + np.einsum("ij,jk,ik->i", rows, self.inverse, rows))
        return list(zip((rows @ self.weights).tolist(), spread.tolist(), strict=True))


def expected_ends(complete: Sequence[Trial], partial: Sequence[Trial], costs: Sequence[str]) -> dict[int, End]:
    """Number of each partly trained trial -> what it is expected to end with; empty where too little is known."""
    if len(complete) < FEWEST:
        return {}
    known, ends = list(complete), {t.number: (float(log_odds(t.curve[-1].accuracy)), 0.0) for t in complete}
    for epoch in sorted({len(t.curve) for t in partial} - {0}, reverse=True):
        group = [t for t in partial if len(t.curve) == epoch]
        forecast = Forecast.fit(known, [ends[t.number] for t in known], epoch, costs)
        ends |= zip([t.number for t in group], forecast.predict(group), strict=True)
        known += group
    return {t.number: ends[t.number] for t in partial if t.number in ends}


def inputs(trials: Sequence[Trial], epoch: int, costs: Sequence[str]) -> np.ndarray:
    """(n, 2 + costs): log-odds at the epoch, their mean until then, logarithms of the costs."""
    curves = log_odds([[p.accuracy for p in t.curve[:epoch]] for t in trials])
    known = np.array([[t.values[name] for name in costs] for t in trials]).reshape(len(trials), len(costs))
    return np.column_stack([curves[:, -1], curves.mean(axis=1), np.log(np.maximum(known, 1e-12))])


def log_odds(accuracy: float | Sequence[float] | Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    held = np.clip(np.asarray(accuracy), EDGE, 1 - EDGE)
    return np.asarray(np.log(held / (1 - held)))
