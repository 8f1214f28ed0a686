"""The regressions that are combined: every member learns a positive cost and predicts one."""

from typing import Any, Protocol, Self

import numpy as np

from evaluators.prediction.gaussian_process import GaussianProcess
from evaluators.prediction.ridge import Ridge
from evaluators.prediction.trees import Trees

LOWEST = 0.3  # of the smallest cost seen: a straight line may run below zero, a cost may not


class Member(Protocol):
    """`state` is what `restored` needs beside the rows it was fitted to; `like` starts a fit on some of the rows."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self: ...

    def like(self) -> "Member": ...

    def predict(self, x: np.ndarray) -> np.ndarray: ...

    def state(self) -> dict[str, Any]: ...

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self: ...


class LinearScaleProcess:
    """Gaussian process on the cost itself with noise in proportion to it: sums of parts stay sums."""

    outlier: float | None = None

    def __init__(self, theta: np.ndarray | None = None, inflation: np.ndarray | None = None) -> None:
        self._theta, self._inflation = theta, inflation

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        self._centre, self._scale, self._lowest = float(y.mean()), _spread(y), LOWEST * float(y.min())
        process = GaussianProcess(theta=self._theta, inflation=self._inflation, outlier=self.outlier)
        self._process = process.fit(x, (y - self._centre) / self._scale, (y / self._centre) ** 2)
        return self

    def like(self) -> Self:
        return type(self)(self._process.theta)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.maximum(self._centre + self._scale * self._process.predict(x), self._lowest)

    def relative_deviation(self, x: np.ndarray, cost: np.ndarray) -> np.ndarray:
        """(n,) standard deviation of a measurement as a share of the cost; larger away from the rows."""
        return self._scale * self._process.deviation(x, (cost / self._centre) ** 2) / cost

    def state(self) -> dict[str, Any]:
        return _process_state(self._process)

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self:
        self._theta, self._inflation = _process_arrays(state)
        return self.fit(x, y)


class RobustProcess(LinearScaleProcess):
    """The same, less moved by the measurements that a disturbance made slow."""

    outlier = 2.0


class LogScaleProcess:
    """Gaussian process on the logarithm of the cost: products of factors become sums."""

    def __init__(self, theta: np.ndarray | None = None, inflation: np.ndarray | None = None) -> None:
        self._theta, self._inflation = theta, inflation

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        t = np.log(y)
        self._centre, self._scale = float(t.mean()), _spread(t)
        process = GaussianProcess(theta=self._theta, inflation=self._inflation, outlier=4.0)
        self._process = process.fit(x, (t - self._centre) / self._scale)
        return self

    def like(self) -> "LogScaleProcess":
        return LogScaleProcess(self._process.theta)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.exp(self._centre + self._scale * self._process.predict(x))

    def state(self) -> dict[str, Any]:
        return _process_state(self._process)

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self:
        self._theta, self._inflation = _process_arrays(state)
        return self.fit(x, y)


class ExtraTrees:
    """Extremely randomised trees on the logarithm."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        self._trees = Trees.extra(x, np.log(y))
        return self

    def like(self) -> "ExtraTrees":
        return ExtraTrees()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.exp(self._trees.predict(x))

    def state(self) -> dict[str, Any]:
        return self._trees.to_json()

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self:
        self._trees = Trees.from_json(state)
        return self


class BoostedTrees(ExtraTrees):
    """Boosted trees on the logarithm."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        self._trees = Trees.boosted(x, np.log(y))
        return self

    def like(self) -> "BoostedTrees":
        return BoostedTrees()


class LogRidge:
    """Additive model on the logarithm."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        self._ridge = Ridge.fit(x, np.log(y))
        return self

    def like(self) -> "LogRidge":
        return LogRidge()

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.exp(self._ridge.predict(x))

    def state(self) -> dict[str, Any]:
        return self._ridge.to_json()

    def restored(self, state: dict[str, Any], x: np.ndarray, y: np.ndarray) -> Self:
        self._ridge = Ridge.from_json(state)
        return self


def _process_state(process: GaussianProcess) -> dict[str, Any]:
    assert process.theta is not None, "fit first"
    inflation = None if process.inflation is None else process.inflation.tolist()
    return {"theta": process.theta.tolist(), "inflation": inflation}


def _process_arrays(state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    inflation = state["inflation"]
    return np.asarray(state["theta"]), None if inflation is None else np.asarray(inflation)


def _spread(t: np.ndarray) -> float:
    """Standard deviation, or 1 where all costs are equal."""
    return float(t.std()) or 1.0
