"""The predictor of costs: several regressions, weighted by what they predict out of fold, with conformal intervals.

Weights are those of stacked regression (Wolpert, Neural Networks 1992; Breiman, Machine Learning 1996), intervals
those of cross-conformal prediction (Vovk, 2015, arXiv 1208.0806) on residuals scaled by the deviation that the
Gaussian process expects, so that they widen away from the measured rows.
"""

from typing import Any, Self

import numpy as np
from scipy.optimize import nnls

from evaluators.prediction.base import CONFIDENCE, Prediction
from evaluators.prediction.members import (
    ExtraTrees,
    LogRidge,
    LogScaleProcess,
    Member,
    Process,
    RobustProcess,
)

MEMBERS: dict[str, type[Member]] = {
    "robust_process": RobustProcess,
    "log_process": LogScaleProcess,
    "ridge": LogRidge,
    "extra_trees": ExtraTrees,
}
SCALE = "robust_process"  # always kept: the intervals are measured in its deviation
FORMAT = 2
FEW_ROWS = 200  # up to here hyperparameters are tuned again in every fold: with few rows they overfit
SMALLEST_WEIGHT = 0.03
PULL, MINOR = 10, 0.1
MARGIN = 0.1  # of the range of a feature
FEWEST_ROWS = 8


class StackedRegression:
    """A `Learner` for 8 to some thousand rows of numbers and their positive costs."""

    def __init__(self, members: tuple[str, ...] = tuple(MEMBERS), seed: int = 0) -> None:
        self._names, self._seed = members, seed
        self.weights: dict[str, float] = {}

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        """x: (n, f), y: (n,) above 0. Deterministic for one seed."""
        _check(x, y)
        self._x, self._y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        scale = MEMBERS[SCALE]().fit(self._x, self._y)
        others = [name for name in self._names if name != SCALE]
        self._members = {SCALE: scale} | {n: MEMBERS[n]().near(scale).fit(self._x, self._y) for n in others}
        out_of_fold, deviation = self._cross_validate()
        self.weights = _weights({name: out_of_fold[name] for name in self._names}, self._y)
        self._members = {n: m for n, m in self._members.items() if n in self.weights or n == SCALE}
        mean = sum(weight * out_of_fold[name] for name, weight in self.weights.items())
        self._quantiles = _quantiles(np.log(self._y / mean) / deviation)
        return self

    def predict(self, x: np.ndarray) -> Prediction:
        """Costs of rows x: (n, f) with 90 % intervals."""
        x = np.asarray(x, dtype=float)
        mean = np.asarray(sum(weight * self._members[name].predict(x) for name, weight in self.weights.items()))
        deviation = _deviation(self._members[SCALE], x, mean)
        low, high = self._quantiles
        return Prediction(mean=mean, low=mean * np.exp(low * deviation), high=mean * np.exp(high * deviation))

    def to_json(self) -> dict[str, Any]:
        """Rows, weights and what every member keeps: numbers and lists only."""
        return {
            "format": FORMAT, "seed": self._seed, "x": self._x.tolist(), "y": self._y.tolist(),
            "weights": self.weights, "quantiles": list(self._quantiles),
            "members": {name: member.state() for name, member in self._members.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The same predictor: Gaussian processes are solved again from the rows, nothing is tuned again."""
        if data.get("format") != FORMAT:
            raise ValueError(f"predictor: format {data.get('format')!r} is unknown; this version reads {FORMAT}")
        try:
            return cls(tuple(data["weights"]), data["seed"])._restore(data)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"predictor: the file is damaged at {error}; make it again") from error

    def outside(self, x: np.ndarray) -> np.ndarray:
        """(n,) whether a row has a feature beyond the rows learnt from by more than a tenth of their range."""
        low, high = self._x.min(axis=0), self._x.max(axis=0)
        slack = MARGIN * (high - low) + 1e-9 * (1 + np.abs(high))
        return ((x < low - slack) | (x > high + slack)).any(axis=1)

    def _restore(self, data: dict[str, Any]) -> Self:
        self._x, self._y = np.asarray(data["x"], dtype=float), np.asarray(data["y"], dtype=float)
        _check(self._x, self._y)
        low, high = data["quantiles"]
        self.weights, self._quantiles = dict(data["weights"]), (float(low), float(high))
        states = data["members"].items()
        self._members = {name: MEMBERS[name]().restored(state, self._x, self._y) for name, state in states}
        return self

    def _cross_validate(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Out-of-fold costs of every member and the relative deviation that was expected of them."""
        n = len(self._y)
        folds = np.random.default_rng(self._seed).permutation(n) % (10 if n < 100 else 5)
        costs, deviation = {}, np.empty(n)
        for name, member in self._members.items():
            if n > FEW_ROWS and isinstance(member, Process):
                costs[name], expected = member.left_out(folds)
            else:
                costs[name], expected = self._fit_again(name, folds)
            deviation = expected if name == SCALE else deviation
        return costs, deviation

    def _fit_again(self, name: str, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a member predicts of every fold from the others, and how far off it expects to be."""
        cost, deviation = np.empty(len(folds)), np.full(len(folds), np.nan)
        for fold in np.unique(folds):
            inside, held = folds != fold, folds == fold
            fresh = MEMBERS[name]().near(self._members[name]).fit(self._x[inside], self._y[inside])
            cost[held] = fresh.predict(self._x[held])
            if isinstance(fresh, Process):
                deviation[held] = _deviation(fresh, self._x[held], cost[held])
        return cost, deviation


def _weights(costs: dict[str, np.ndarray], y: np.ndarray) -> dict[str, float]:
    """Shares (0..1, sum 1) of the members with the least squared relative error together.

    Few rows say little of shares, so they are pulled to usual ones by as much as PULL rows' worth of error.
    """
    relative = np.column_stack([cost / y for cost in costs.values()])
    pull = np.sqrt(PULL * np.mean((relative - 1) ** 2, axis=0).min())
    heavy = 1e3 * np.sqrt(len(y))  # one more row that holds the sum to 1
    rows = np.vstack([relative, pull * np.eye(len(costs)), np.full(len(costs), heavy)])
    share, _ = nnls(rows, np.concatenate([np.ones(len(y)), pull * _usual(list(costs)), [heavy]]))
    share = np.where(share < SMALLEST_WEIGHT * share.sum(), 0.0, share)
    share = share / share.sum()
    return {name: float(weight) for name, weight in zip(costs, share, strict=True) if weight > 0}


def _usual(names: list[str]) -> np.ndarray:
    """Shares before any row is seen: MINOR for each, the rest for the process that sets the scale."""
    shares = np.array([1.0 - MINOR * (len(names) - 1) if name == SCALE else MINOR for name in names])
    return shares / shares.sum()


def _quantiles(residuals: np.ndarray) -> tuple[float, float]:
    """5th and 95th percentile, moved outwards by what a finite sample needs."""
    n, tail = len(residuals), (1 - CONFIDENCE) / 2
    outer = min(1.0, np.ceil((1 - tail) * (n + 1)) / n)
    low, high = np.quantile(residuals, 1 - outer), np.quantile(residuals, outer)
    return min(float(low), 0.0), max(float(high), 0.0)


def _deviation(member: Member, x: np.ndarray, cost: np.ndarray) -> np.ndarray:
    assert isinstance(member, Process)
    return np.maximum(member.relative_deviation(x, cost), 1e-9)


def _check(x: np.ndarray, y: np.ndarray) -> None:
    """Refuse what no regression can learn from."""
    if x.ndim != 2 or y.shape != (len(x),):
        raise ValueError(f"rows {x.shape} and costs {y.shape} do not fit together; give (n, f) and (n,)")
    if len(y) < FEWEST_ROWS:
        raise ValueError(f"{len(y)} measurements are too few to learn from; give at least {FEWEST_ROWS}")
    if not np.isfinite(x).all():
        raise ValueError("features must be finite numbers")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise ValueError("costs must be finite numbers above 0")
