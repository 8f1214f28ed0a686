"""From the parts to the network: the sum of the units, corrected by what whole networks measured differently.

Weights and tokens that fall out of the caches between two units cost a network more than its parts alone, an idle start
costs less than the parts' starts together; both grow with sizes, so a Gaussian process learns the ratio.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from evaluators.device_profile.features import unit_cost
from evaluators.device_profile.unit_model import PARTS, UnitModel
from evaluators.device_profile.units import Placed, Unit
from evaluators.prediction.base import CONFIDENCE, Prediction
from evaluators.prediction.gaussian_process import SCALARS, GaussianProcess, repeatable

SMALLEST = 1e-9
FEWEST = 8  # networks from which the ratio is learnt; below, it is 1
NOISE = 0.03  # deviation of units' logarithms that counts as one unit of noise
FOLDS = 10
MANY = 150  # networks, from which one tuning serves all folds
FEW, FIRST = 40, 3  # with fewer networks than this, the ratio depends on the first few features alone
UNTESTED = 1.7  # quantile of intervals before there are networks to test them on


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Of n networks. total: (n,) sums over their units. deviation: (n,) of its logarithm, from what is not known of the
    units. x: (n, f) what the ratio of network to sum may depend on; what tells most comes first."""

    total: np.ndarray
    deviation: np.ndarray
    x: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Units of many networks, each different unit predicted once.

    units: u different ones. ms, deviation: (u,) of them. cost: (u, 3) parameters, MACs, activations. part: (u,) indices
    in PARTS. networks: for each, its units' indices and how many times each is there.
    """

    units: list[Unit]
    ms: np.ndarray
    deviation: np.ndarray
    cost: np.ndarray
    part: np.ndarray
    networks: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, networks: Sequence[Sequence[Placed]], model: UnitModel) -> Self:
        different = units_of(networks)
        index = {unit: i for i, unit in enumerate(different)}
        ms, deviation = model.predict(different)
        return cls(
            units=different, ms=ms, deviation=deviation,
            cost=np.array([unit_cost(unit) for unit in different], dtype=float).reshape(len(different), 3),
            part=np.array([PARTS.index(unit.part) for unit in different], dtype=int),
            networks=[
                (np.array([index[p.unit] for p in network]), np.array([p.times for p in network], dtype=float))
                for network in networks
            ],
        )  # fmt: skip

    def by_part(self) -> np.ndarray:
        """(n, parts) of the sums."""
        found = np.zeros((len(self.networks), len(PARTS)))
        for row, (at, count) in enumerate(self.networks):
            np.add.at(found[row], self.part[at], count * self.ms[at])
        return found

    def spread(self) -> np.ndarray:
        """(n,) standard deviations of the sums."""
        return np.array(
            [np.sqrt(((count * self.ms[at] * self.deviation[at]) ** 2).sum()) for at, count in self.networks]
        )

    def costs(self) -> np.ndarray:
        """(n, 4) parameters, MACs, activations and units of the networks."""
        return np.array([[*(count @ self.cost[at]), count.sum()] for at, count in self.networks]).reshape(-1, 4)


def latency_sums(ledger: Ledger) -> Sums:
    """Milliseconds: the ratio may depend on the sum, the parts' shares in it, and the sizes."""
    by_part = ledger.by_part()
    total = np.maximum(by_part.sum(axis=1), SMALLEST)
    params, macs, activations, units = np.log1p(ledger.costs()).T
    x = np.column_stack([np.log(total), macs, activations, params, units, by_part / total[:, None]])
    return Sums(total=total, deviation=ledger.spread() / total, x=x)


class Composition:
    """Costs of networks from the sums of their units: milliseconds, or whatever else was summed."""

    def fit(self, found: Sums, cost: np.ndarray, state: dict[str, Any] | None = None) -> Self:
        """cost: (n,) measured, above 0. state: hyperparameters that were tuned before."""
        ratio = np.log(cost / found.total)
        self._process: GaussianProcess | None = None
        self._noise = float(ratio.std()) if len(ratio) > 1 else 0.0
        self._centre, self._scale = 0.0, self._noise or 1.0
        self._quantile = UNTESTED
        if len(cost) < FEWEST:
            return self
        self._centre = float(np.median(ratio))
        self._used = FIRST if len(cost) < FEW else found.x.shape[1]
        target, x, noise = (ratio - self._centre) / self._scale, found.x[:, : self._used], _noise(found)
        tuned = (state or {}).get("theta", ())
        theta = np.asarray(tuned) if len(tuned) == x.shape[1] + SCALARS else None
        self._process = repeatable(x, target, noise, theta)
        kept = (state or {}).get("quantile") if theta is not None else None
        self._quantile = float(kept) if kept else self._tested(x, target, noise)
        return self

    def predict(self, found: Sums) -> Prediction:
        """With 90 % intervals, wider where the units are less certain."""
        if self._process is None:
            deviation = np.hypot(found.deviation, max(self._noise, 0.1))
            ratio = np.full(len(found.total), self._centre)
        else:
            x = found.x[:, : self._used]
            ratio = self._centre + self._scale * self._process.predict(x)
            deviation = self._scale * self._process.deviation(x, _noise(found))
        mean, factor = found.total * np.exp(ratio), np.exp(self._quantile * deviation)
        return Prediction(mean=mean, low=mean / factor, high=mean * factor)

    def state(self) -> dict[str, Any]:
        """Hyperparameters and the quantile of the intervals, for `fit` on the same networks."""
        theta = None if self._process is None else self._process.theta
        return {} if theta is None else {"theta": theta.tolist(), "quantile": self._quantile}

    def _tested(self, x: np.ndarray, target: np.ndarray, noise: np.ndarray) -> float:
        """90 % quantile of the errors' size out of fold in units of the deviation that was expected there.

        Few networks tune a process too well to themselves, so each fold tunes its own.
        """
        assert self._process is not None
        n, theta = len(target), None if len(target) < MANY else self._process.theta
        folds = np.random.default_rng(0).permutation(n) % min(FOLDS, n)
        z = np.empty(n)
        for fold in np.unique(folds):
            inside, held = folds != fold, folds == fold
            process = repeatable(x[inside], target[inside], noise[inside], theta)
            z[held] = (target[held] - process.predict(x[held])) / process.deviation(x[held], noise[held])
        outer = min(1.0, np.ceil(CONFIDENCE * (n + 1)) / n)
        return float(np.quantile(np.abs(z), outer))


def _noise(found: Sums) -> np.ndarray:
    """Relative noise variances: what is not known of the units adds to what differs between networks."""
    return np.asarray(1 + (found.deviation / NOISE) ** 2)


def units_of(networks: Sequence[Sequence[Placed]]) -> list[Unit]:
    """The different units of networks."""
    return list({placed.unit: None for network in networks for placed in network})
