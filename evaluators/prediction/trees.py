"""Ensembles of regression trees as plain arrays: grown by scikit-learn, kept and walked without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

FIELDS = ("feature", "threshold", "left", "right", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """offset + scale × sum of the leaves that a row falls into. Arrays (trees, nodes); a leaf is its own child."""

    offset: float
    scale: float
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    @classmethod
    def extra(cls, x: np.ndarray, t: np.ndarray, *, trees: int = 60, seed: int = 0) -> Self:
        """Extremely randomised trees (Geurts, Ernst, Wehenkel, Machine Learning 2006)."""
        model = ExtraTreesRegressor(trees, max_features=0.5, min_samples_leaf=2, random_state=seed).fit(x, t)
        return cls.of(model.estimators_, 0.0, 1 / trees)

    @classmethod
    def boosted(cls, x: np.ndarray, t: np.ndarray, *, trees: int = 150, rate: float = 0.1, seed: int = 0) -> Self:
        """Stochastic gradient boosting (Friedman, 2002) with Huber's loss: measurements have outliers."""
        model = GradientBoostingRegressor(
            loss="huber", n_estimators=trees, learning_rate=rate, max_depth=3, subsample=0.7, max_features=0.3,
            random_state=seed,
        ).fit(x, t)  # fmt: skip
        offset = float(model.init_.predict(x[:1])[0])
        return cls.of(model.estimators_[:, 0], offset, rate)

    @classmethod
    def of(cls, trees: Sequence[DecisionTreeRegressor], offset: float, scale: float) -> Self:
        nodes = max(t.tree_.node_count for t in trees)
        arrays = {name: np.zeros((len(trees), nodes), dtype=np.int64) for name in ("feature", "left", "right")}
        arrays |= {name: np.zeros((len(trees), nodes)) for name in ("threshold", "value")}
        for i, tree in enumerate(t.tree_ for t in trees):
            n, itself = tree.node_count, np.arange(tree.node_count)
            leaf = tree.children_left < 0
            arrays["feature"][i, :n] = np.where(leaf, 0, tree.feature)
            arrays["threshold"][i, :n] = np.where(leaf, 0.0, tree.threshold)
            arrays["left"][i, :n] = np.where(leaf, itself, tree.children_left)
            arrays["right"][i, :n] = np.where(leaf, itself, tree.children_right)
            arrays["value"][i, :n] = tree.value[:, 0, 0]
        return cls(offset=offset, scale=scale, **arrays)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n,) sums over all trees; rows are compared in single precision, as they were when the trees grew."""
        x = x.astype(np.float32)
        total = np.full(len(x), self.offset)
        for tree in range(len(self.feature)):
            total += self.scale * self.value[tree, self._leaves(tree, x)]
        return total

    def _leaves(self, tree: int, x: np.ndarray) -> np.ndarray:
        feature, threshold, left, right = (getattr(self, name)[tree] for name in FIELDS[:4])
        rows, node = np.arange(len(x)), np.zeros(len(x), dtype=np.int64)
        while True:
            step = np.where(x[rows, feature[node]] <= threshold[node], left[node], right[node])
            if (step == node).all():
                return node
            node = step

    def to_json(self) -> dict[str, Any]:
        return {"offset": self.offset, "scale": self.scale, **{name: getattr(self, name).tolist() for name in FIELDS}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(
            offset=data["offset"], scale=data["scale"], **{name: np.asarray(data[name]) for name in FIELDS}
        )  # fmt: skip
