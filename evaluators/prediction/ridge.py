"""Ridge regression on columns and on one indicator per level of the columns with few levels.

The strength is chosen by the leave-one-out error, in closed form for every strength from one decomposition.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from evaluators.prediction.scaling import Scaling

STRENGTHS = np.logspace(-3, 4, 22)
MOST_LEVELS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridge:
    """t = intercept + weights · standardised columns and indicators."""

    levels: tuple[tuple[int, float], ...]  # column and value of every indicator
    scaling: Scaling
    weights: np.ndarray
    intercept: float

    @classmethod
    def fit(cls, x: np.ndarray, t: np.ndarray) -> Self:
        """x: (n, f), t: (n,)."""
        levels = _levels(x)
        wide = _widen(x, levels)
        scaling = Scaling.of(wide)
        u, s, v = np.linalg.svd(scaling.apply(wide), full_matrices=False)
        shrink = min((s**2 / (s**2 + a) for a in STRENGTHS), key=lambda d: _left_out_error(u, d, t - t.mean()))
        inverse = np.divide(shrink, s, out=np.zeros_like(s), where=s > 1e-10 * s.max(initial=1.0))
        weights = v.T @ (inverse * (u.T @ (t - t.mean())))
        return cls(levels=levels, scaling=scaling, weights=weights, intercept=float(t.mean()))

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.intercept + self.scaling.apply(_widen(x, self.levels)) @ self.weights

    def to_json(self) -> dict[str, Any]:
        return {
            "levels": [list(level) for level in self.levels],
            "mean": self.scaling.mean.tolist(),
            "deviation": self.scaling.deviation.tolist(),
            "weights": self.weights.tolist(),
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        scaling = Scaling(mean=np.asarray(data["mean"]), deviation=np.asarray(data["deviation"]))
        levels = tuple((int(column), float(value)) for column, value in data["levels"])
        return cls(levels=levels, scaling=scaling, weights=np.asarray(data["weights"]), intercept=data["intercept"])


def _left_out_error(u: np.ndarray, shrink: np.ndarray, t: np.ndarray) -> float:
    """Mean squared error of every row predicted from all others: residual / (1 - leverage)."""
    residual = t - u @ (shrink * (u.T @ t))
    leverage = (u**2 @ shrink) + 1 / len(t)
    return float(np.mean((residual / np.maximum(1 - leverage, 1e-6)) ** 2))


def _levels(x: np.ndarray) -> tuple[tuple[int, float], ...]:
    """Indicators of columns with 3 to MOST_LEVELS levels (two levels are a straight line already)."""
    found = ((column, np.unique(x[:, column])) for column in range(x.shape[1]))
    return tuple((c, float(value)) for c, values in found if 3 <= len(values) <= MOST_LEVELS for value in values)


def _widen(x: np.ndarray, levels: tuple[tuple[int, float], ...]) -> np.ndarray:
    return np.column_stack([x, *(x[:, column] == value for column, value in levels)])
