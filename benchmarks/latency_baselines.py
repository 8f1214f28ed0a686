"""scikit-learn's regressions at their best: features, scale and settings chosen by cross-validation."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FOLDS = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting of a baseline: which of the two feature sets, log cost or cost, and the regression."""

    derived: bool
    log: bool
    make: Callable[[], RegressorMixin]

    def predict(
        self, features: tuple[np.ndarray, np.ndarray], y: np.ndarray, at: tuple[np.ndarray, np.ndarray]
    ) -> np.ndarray:
        model = self.make().fit(features[self.derived], np.log(y) if self.log else y)
        found = model.predict(at[self.derived])
        return np.exp(found) if self.log else np.maximum(found, 0.3 * y.min())


def ridge() -> list[Choice]:
    def plain() -> RegressorMixin:
        return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 22)))

    def levels() -> RegressorMixin:
        return make_pipeline(OneHotEncoder(handle_unknown="ignore", sparse_output=False), plain())

    made = [Choice(derived, log, plain) for derived, log in product((False, True), (False, True))]
    return [*made, Choice(False, False, levels), Choice(False, True, levels)]


def forest() -> list[Choice]:
    def make(share: float) -> Callable[[], RegressorMixin]:
        return lambda: RandomForestRegressor(100, max_features=share, random_state=0)

    return [Choice(derived, True, make(share)) for derived, share in product((False, True), (0.3, 0.7))]


def boosting() -> list[Choice]:
    def make(depth: int, trees: int, rate: float) -> Callable[[], RegressorMixin]:
        return lambda: GradientBoostingRegressor(
            n_estimators=trees, learning_rate=rate, max_depth=depth, subsample=0.7, max_features=0.3, random_state=0
        )

    settings = ((2, 400, 0.06), (4, 200, 0.06))
    return [Choice(derived, True, make(*setting)) for derived, setting in product((False, True), settings)]


BASELINES: dict[str, Callable[[], list[Choice]]] = {
    "ridge": ridge,
    "random forest": forest,
    "gradient boosting": boosting,
}


def best_choice(choices: list[Choice], features: tuple[np.ndarray, np.ndarray], y: np.ndarray) -> Choice:
    """The setting with the least root mean square percentage error over folds of the training rows."""
    return min(choices, key=lambda choice: _error(choice, features, y))


def _error(choice: Choice, features: tuple[np.ndarray, np.ndarray], y: np.ndarray) -> float:
    found = np.empty(len(y))
    for inside, held in KFold(FOLDS, shuffle=True, random_state=0).split(y):
        rows, others = (tuple(f[i] for f in features) for i in (inside, held))
        found[held] = choice.predict((rows[0], rows[1]), y[inside], (others[0], others[1]))
    return float(np.mean((found / y - 1) ** 2))
