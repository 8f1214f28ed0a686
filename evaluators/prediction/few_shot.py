"""Costs on a new device from about ten measurements and the costs of the same networks on other devices.

The cost on a device, divided by its mean, is one draw of a Gaussian process; the devices known are other draws of it.
So the features of a network are the mean over known devices, its deviations from it (one per device) and, weaker, the
network's own features; weights have normal priors (Minka, Picard, 1997: learning how to learn is learning with point
sets). How noisy the new device is and how unlike the known ones, is not known: answers are averaged over a grid of both
(Hoeting et al., Statistical Science 1999), weighted by how well each explains the measurements.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Self

import numpy as np

from evaluators.prediction.base import Prediction
from evaluators.prediction.scaling import Scaling

LEVEL, SHARED = 3.0, 1.5  # prior deviations of the level and of the weight on the mean of the known devices
DEVICES = (0.5, 1.0, 2.0)  # of the weights on what single devices do differently
FEATURES = (0.05, 0.2, 0.8)  # of the weights on the networks' own features
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # variance of a measurement beside that of the known devices
TYPICAL = (1.0, 0.2, 0.1)
HALF_WIDTH = 1.645  # deviations: 90 %


@dataclass(kw_only=True)
class FewShot:
    """sources: (n, d) costs of n networks on d known devices; x: (n, f) their features."""

    source_mean: np.ndarray
    spread: float
    scaling: Scaling
    _answers: list[tuple[float, np.ndarray, np.ndarray, float]] = field(init=False, repr=False)
    _unit: float = field(init=False, repr=False)
    _level: float = field(init=False, repr=False)

    @classmethod
    def of(cls, sources: np.ndarray, x: np.ndarray) -> Self:
        """Learn what is usual from networks whose costs on the known devices are known."""
        mean = sources.mean(axis=0)
        return cls(source_mean=mean, spread=float((sources / mean).std()) or 1.0, scaling=Scaling.of(x))

    def choose(self, sources: np.ndarray, x: np.ndarray, count: int) -> list[int]:
        """Rows to measure: each the one that leaves the least variance over all of them, given those before it."""
        rows, noise = self._features(sources, x, *TYPICAL[:2]), TYPICAL[2]
        covariance, chosen = np.eye(rows.shape[1]), list[int]()
        for _ in range(min(count, len(rows))):
            spread = rows @ covariance
            variance = (spread * rows).sum(axis=1) + noise
            gain = ((spread @ rows.T) ** 2).sum(axis=1) / variance
            gain[chosen] = -np.inf
            best = int(gain.argmax())
            chosen.append(best)
            covariance = covariance - np.outer(spread[best], spread[best]) / variance[best]
        return chosen

    def fit(self, sources: np.ndarray, x: np.ndarray, y: np.ndarray) -> Self:
        """y: (n,) costs measured on the new device."""
        self._unit = float(np.median(y))
        t = y / self._unit
        self._level, noise = float(t.mean()), t**2
        fitted = [self._solve(sources, x, (t - self._level) / self.spread, noise, *c) for c in _grid()]
        best = max(evidence for evidence, *_ in fitted)
        total = sum(np.exp(evidence - best) for evidence, *_ in fitted)
        self._answers = [(float(np.exp(e - best) / total), w, c, n) for e, w, c, n in fitted if e > best - 7]
        return self

    def predict(self, sources: np.ndarray, x: np.ndarray) -> Prediction:
        """Costs on the new device with 90 % intervals."""
        shares, weights, covariances, noises = zip(*self._answers, strict=True)
        share = np.array(shares) / sum(shares)
        rows = self._features(sources, x, 1.0, 1.0)
        means = self._level + self.spread * rows @ np.column_stack(weights)
        mean = means @ share
        covariance = np.tensordot(share, np.array(covariances), axes=1)  # variances are linear in it: once for all
        variance = ((rows @ covariance) * rows).sum(axis=1) + means**2 @ (share * np.array(noises))
        deviation = np.sqrt(self.spread**2 * variance + (means - mean[:, None]) ** 2 @ share)
        mean = np.maximum(mean, 0.05)  # a cost is positive
        ratio = np.exp(HALF_WIDTH * deviation / mean)
        return Prediction(mean=self._unit * mean, low=self._unit * mean / ratio, high=self._unit * mean * ratio)

    def _features(self, sources: np.ndarray, x: np.ndarray, device: float, feature: float) -> np.ndarray:
        """(n, 2 + d + f) columns, each as long as the prior deviation of its weight."""
        relative = (sources / self.source_mean - 1) / self.spread
        shared = relative.mean(axis=1, keepdims=True)
        apart = device * (relative - shared) / np.sqrt(relative.shape[1])
        own = feature * self.scaling.apply(x) / np.sqrt(x.shape[1])
        return np.column_stack([np.full(len(x), LEVEL), SHARED * shared, apart, own])

    def _solve(
        self, sources: np.ndarray, x: np.ndarray, t: np.ndarray, noise: np.ndarray, device: float, feature: float,
        level: float,
    ) -> tuple[float, np.ndarray, np.ndarray, float]:  # fmt: skip
        """Log evidence, weights and their covariance for columns of unit priors, and the noise level."""
        rows = self._features(sources, x, device, feature)
        scale = np.concatenate([[1, 1], np.full(sources.shape[1], device), np.full(x.shape[1], feature)])
        covariance = rows @ rows.T + np.diag(level * noise)
        inverse = np.linalg.inv(covariance)
        evidence = -0.5 * float(t @ inverse @ t) - 0.5 * float(np.linalg.slogdet(covariance)[1])
        weights = scale * (rows.T @ inverse @ t)
        left = np.eye(rows.shape[1]) - rows.T @ inverse @ rows
        return evidence, weights, scale[:, None] * left * scale, level


def _grid() -> Iterator[tuple[float, float, float]]:
    return product(DEVICES, FEATURES, NOISES)
