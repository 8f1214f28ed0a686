"""Columns of a feature matrix with mean 0 and standard deviation 1; constant columns vanish."""

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Mean and standard deviation (0 for a constant column) of every column."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Self:
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        return cls(mean=mean, deviation=np.where(deviation > 1e-9 * (1 + np.abs(mean)), deviation, 0.0))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Standardised columns; a column that was constant in training is 0 everywhere."""
        safe = np.where(self.deviation > 0, self.deviation, 1.0)
        return np.where(self.deviation > 0, (x - self.mean) / safe, 0.0)
