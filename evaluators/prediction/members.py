"""The regressions that are combined: every member learns a positive cost and predicts one."""

from abc import ABC, abstractmethod
from typing import Any, Protocol, Self

import numpy as np

from evaluators.prediction.gaussian_process import GaussianProcess
from evaluators.prediction.ridge import Ridge
from evaluators.prediction.trees import Trees

LOWEST = 0.3  # of the smallest cost seen: a straight line may run below zero, a cost may not


class Member(Protocol):
    """`state` is what `restored` needs beside the rows; `near` starts a search where that of another member ended."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self: ...

    def near(self, other: "Member") -> Self: ...

    def predict(self, x: np.ndarray) -> np.ndarray: ...

    def state(self) -> dict[str, Any]: ...

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self: ...


class Process(ABC):
    """A Gaussian process of the cost on some scale."""

    outlier: float | None = None

    def __init__(self) -> None:
        self._theta: np.ndarray | None = None
        self._near: np.ndarray | None = None
        self._inflation: np.ndarray | None = None

    @abstractmethod
    def _standardise(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Learn the scale: targets of mean 0 and variance 1, and the relative variances of their noise."""

    @abstractmethod
    def _cost(self, t: np.ndarray) -> np.ndarray:
        """Costs of targets."""

    @abstractmethod
    def _relative(self, variance: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """Standard deviations of measurements as shares of the cost, of variances of the mean."""

    def near(self, other: Member) -> Self:
        if isinstance(other, Process):
            self._near = other.process.theta
        return self

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        process = GaussianProcess(theta=self._theta, near=self._near, inflation=self._inflation, outlier=self.outlier)
        self.process = process.fit(x, *self._standardise(y))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._cost(self.process.predict(x))

    def relative_deviation(self, x: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """(n,) standard deviation of a measurement as a share of the cost; larger away from the rows."""
        return self._relative(self.process.variance(x), cost)

    def left_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) costs of the rows learnt from and relative deviations, each from the other folds."""
        means, variance = self.process.left_out(folds)
        cost = self._cost(means)
        return cost, self._relative(variance, cost)

    def state(self) -> dict[str, Any]:
        theta, inflation = self.process.theta, self.process.inflation
        assert theta is not None, "fit first"
        return {"theta": theta.tolist(), "inflation": None if inflation is None else inflation.tolist()}

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self:
        inflation = state["inflation"]
        self._theta, self._inflation = np.asarray(state["theta"]), None if inflation is None else np.asarray(inflation)
        return self.fit(x, y)


class LinearScaleProcess(Process):
    """Gaussian process on the cost itself with noise in proportion to it: sums of parts stay sums."""

    def _standardise(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._centre, self._scale, self._lowest = float(y.mean()), _spread(y), LOWEST * float(y.min())
        return (y - self._centre) / self._scale, (y / self._centre) ** 2

    def _cost(self, t: np.ndarray) -> np.ndarray:
        return np.maximum(self._centre + self._scale * t, self._lowest)

    def _relative(self, variance: np.ndarray, cost: np.ndarray) -> np.ndarray:
        return self._scale * np.sqrt(variance + self.process.noise * (cost / self._centre) ** 2) / cost


class RobustProcess(LinearScaleProcess):
    """The same, less moved by the measurements that a disturbance made slow."""

    outlier = 2.0


class LogScaleProcess(Process):
    """Gaussian process on the logarithm of the cost: products of factors become sums."""

    outlier = 4.0

    def _standardise(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t = np.log(y)
        self._centre, self._scale = float(t.mean()), _spread(t)
        return (t - self._centre) / self._scale, np.ones(len(t))

    def _cost(self, t: np.ndarray) -> np.ndarray:
        return np.exp(self._centre + self._scale * t)

    def _relative(self, variance: np.ndarray, cost: np.ndarray) -> np.ndarray:
        return self._scale * np.sqrt(variance + self.process.noise)


class LogRidge:
    """Additive model on the logarithm."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        self._ridge = Ridge.fit(x, np.log(y))
        return self

    def near(self, other: Member) -> Self:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.exp(self._ridge.predict(x))

    def state(self) -> dict[str, Any]:
        return self._ridge.to_json()

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self:
        self._ridge = Ridge.from_json(state)
        return self


class ExtraTrees:
    """Additive model on the logarithm, and extremely randomised trees on what it leaves."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        self._ridge = Ridge.fit(x, np.log(y))
        self._trees = Trees.extra(x, np.log(y) - self._ridge.predict(x))
        return self

    def near(self, other: Member) -> Self:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.exp(self._ridge.predict(x) + self._trees.predict(x))

    def state(self) -> dict[str, Any]:
        return {"ridge": self._ridge.to_json(), "trees": self._trees.to_json()}

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self:
        self._ridge, self._trees = Ridge.from_json(state["ridge"]), Trees.from_json(state["trees"])
        return self


def _spread(t: np.ndarray) -> float:
    """Standard deviation, or 1 where all costs are equal."""
    return float(t.std()) or 1.0
