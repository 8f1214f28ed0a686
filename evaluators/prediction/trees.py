"""Ensembles of regression trees as plain arrays: grown by scikit-learn, kept and walked without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.tree import DecisionTreeRegressor

FIELDS = ("feature", "threshold", "left", "right", "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """The mean of the leaves that a row falls into. Arrays (trees, nodes); a leaf is its own child."""

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray

    @classmethod
    def extra(cls, x: np.ndarray, t: np.ndarray, *, trees: int = 40, seed: int = 0) -> Self:
        """Extremely randomised trees (Geurts, Ernst, Wehenkel, Machine Learning 2006)."""
        model = ExtraTreesRegressor(trees, max_features=0.5, min_samples_leaf=2, random_state=seed)
        return cls.of(model.fit(x, t).estimators_)

    @classmethod
    def of(cls, trees: Sequence[DecisionTreeRegressor]) -> Self:
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
        return cls(**arrays)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n,) means over all trees; rows are compared in single precision, as they were when the trees grew."""
        x = x.astype(np.float32)
        total = np.zeros(len(x))
        for tree in range(len(self.feature)):
            total += self.value[tree, self._leaves(tree, x)]
        return total / len(self.feature)

    def _leaves(self, tree: int, x: np.ndarray) -> np.ndarray:
        feature, threshold, left, right = (getattr(self, name)[tree] for name in FIELDS[:4])
        rows, node = np.arange(len(x)), np.zeros(len(x), dtype=np.int64)
        while True:
            step = np.where(x[rows, feature[node]] <= threshold[node], left[node], right[node])
            if (step == node).all():
                return node
            node = step

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name).tolist() for name in FIELDS}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{name: np.asarray(data[name]) for name in FIELDS})
