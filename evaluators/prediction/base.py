"""What a predictor of costs is: rows of numbers in, a positive cost with its interval out."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Costs of n rows, each with the interval that holds 90 % of new measurements. Arrays of shape (n,)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Learner(Protocol):
    """Learns a positive cost from rows x: (n, f). `to_json` gives plain lists and numbers."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self: ...

    def predict(self, x: np.ndarray) -> Prediction: ...

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self: ...
