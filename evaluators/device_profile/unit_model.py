"""Milliseconds of units, learnt from measured ones: a rough law for all, and for each family what that law misses.

The law is a ridge regression of the logarithm on costs and sizes, their products, and the part. A family, such as all
softmax mixers, has a Gaussian process on what is left, in its own sizes and parameters and in what the law says. For
two mixers that share the heads the law is what each takes alone, by its share. A unit that was measured is as measured.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any, Self

import numpy as np

from evaluators.device_profile.features import GENERAL, features, matrix
from evaluators.device_profile.units import SHARED_HEADS, Unit
from evaluators.prediction.gaussian_process import GaussianProcess, repeatable
from evaluators.prediction.ridge import Ridge

LAW = (*GENERAL, "heads", "height")
PARTS = ("stem", "position", "tokens", "down", "mixer", "local", "ffn", "reduction", "norm", "fusion", "bridge", "head")
OWN_LAW = 4  # the first so many features have a slope of their own in every part
FEWEST = 4  # units of a family that can be learnt from
MARGIN = 1.0  # in base-2 logarithms
FOLDS = 5
DEVIATIONS = (0.02, 1.0)  # of a logarithm: no measurement is better, and no guess need be worse
UNTOLD = 0.1  # deviation of the logarithm of a measurement, where no family tells how noisy they are
UNKNOWN = 0.5  # deviation of the logarithm for a family that was never measured, at least


@dataclass(frozen=True, kw_only=True)
class Family:
    """names: of its features. lowest, highest: GENERAL features of what was measured.
    centre, scale: of what the law misses."""

    names: tuple[str, ...]
    lowest: np.ndarray
    highest: np.ndarray
    centre: float
    scale: float
    process: GaussianProcess

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the law misses of the logarithm, and its standard deviation."""
        mean = self.centre + self.scale * self.process.predict(x)
        return mean, np.clip(self.scale * self.process.deviation(x, np.ones(len(x))), *DEVIATIONS)

    def beyond(self, x: np.ndarray) -> np.ndarray:
        """(n,) whether a GENERAL feature lies beyond what was measured by more than a doubling."""
        return np.asarray(((x < self.lowest - MARGIN) | (x > self.highest + MARGIN)).any(axis=1))

    @property
    def noise(self) -> float:
        """Deviation of the logarithm that a measurement has itself."""
        assert self.process.theta is not None
        return max(self.scale * float(np.exp(0.5 * self.process.theta[3])), DEVIATIONS[0])


class UnitModel:
    """`fit` on measured units; `predict` of any."""

    def fit(self, units: Sequence[Unit], ms: np.ndarray, state: dict[str, Any] | None = None) -> Self:
        """ms: (n,) above 0. state: hyperparameters that were tuned before; those that do not fit are tuned now."""
        self.known = dict(zip(units, ms.tolist(), strict=True))
        logs, x = np.log(ms), law_features(units)
        self._law, law = Ridge.fit(x, logs), _held_out(x, logs)
        self._law_deviation = max(UNKNOWN, float((logs - law).std()))
        self._families: dict[str, Family] = {}
        families = by_family(units)
        for name in sorted(families, key=lambda name: name == SHARED_HEADS):  # which rests on all others
            rows = families[name]
            if name == SHARED_HEADS:
                law[rows] = self._shared([units[i] for i in rows])
            if len(rows) >= FEWEST:
                tuned, missed = (state or {}).get(name), logs[rows] - law[rows]
                self._families[name] = _fit_family([units[i] for i in rows], law[rows], missed, tuned)
        return self

    def predict(self, units: Sequence[Unit]) -> tuple[np.ndarray, np.ndarray]:
        """(milliseconds, standard deviation of their logarithm), each (n,)."""
        logs = self._first_guess(units)
        deviation = np.full(len(units), self._law_deviation)
        for name, rows in by_family(units).items():
            family = self._families.get(name)
            if family is None:
                continue
            own = [units[i] for i in rows]
            missed, deviation[rows] = family.predict(_family_matrix(own, logs[rows], family.names))
            logs[rows] += missed
        for i in [i for i, unit in enumerate(units) if unit in self.known]:
            logs[i], deviation[i] = np.log(self.known[units[i]]), self._noise(units[i].family)
        return np.exp(logs), deviation

    def _first_guess(self, units: Sequence[Unit]) -> np.ndarray:
        """(n,) logarithms by the law; of two mixers that share the heads, by what each would take alone."""
        logs = self._law.predict(law_features(units))
        rows = by_family(units).get(SHARED_HEADS)
        if rows is not None:
            logs[rows] = self._shared([units[i] for i in rows])
        return logs

    def _shared(self, units: Sequence[Unit]) -> np.ndarray:
        shares, first, second = zip(*(unit.alone() for unit in units), strict=True)
        share = np.array(shares)
        return np.log(share * self.predict(first)[0] + (1 - share) * self.predict(second)[0])

    def _noise(self, family: str) -> float:
        """Of a measurement; where a family has too few, as in the others."""
        if family in self._families:
            return self._families[family].noise
        return float(np.median([f.noise for f in self._families.values()])) if self._families else UNTOLD

    def strange(self, units: Sequence[Unit]) -> np.ndarray:
        """(n,) whether a unit is unlike all that were measured: of an unknown family, or far larger or smaller."""
        found = np.array([u.family not in self._families and u not in self.known for u in units], dtype=bool)
        for name, rows in by_family(units).items():
            if name in self._families:
                found[rows] = self._families[name].beyond(matrix([features(units[i]) for i in rows], GENERAL))
        return found

    def state(self) -> dict[str, Any]:
        """Names of features and hyperparameters: with the measured units, all that `fit` needs."""
        return {
            name: {"features": list(family.names), "theta": theta.tolist()}
            for name, family in self._families.items()
            if (theta := family.process.theta) is not None
        }


def law_features(units: Sequence[Unit]) -> np.ndarray:
    """Sizes and costs, their products, the part, and slopes of each part."""
    x = matrix([features(u) for u in units], LAW)
    products = [x[:, i] * x[:, j] for i, j in combinations_with_replacement(range(x.shape[1]), 2)]
    part = np.array([[u.part == p for p in PARTS] for u in units], dtype=float).reshape(len(units), len(PARTS))
    own = [part * x[:, [i]] for i in range(OWN_LAW)]
    return np.column_stack([x, *products, part, *own])


def _held_out(x: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """(n,) what the law says of units that it was not fitted to, so that families learn what it will really miss."""
    folds = np.random.default_rng(0).permutation(len(logs)) % FOLDS
    found = np.empty(len(logs))
    for fold in range(FOLDS):
        found[folds == fold] = Ridge.fit(x[folds != fold], logs[folds != fold]).predict(x[folds == fold])
    return found


def by_family(units: Sequence[Unit]) -> dict[str, np.ndarray]:
    """Family -> indices of its units."""
    found: dict[str, list[int]] = defaultdict(list)
    for i, unit in enumerate(units):
        found[unit.family].append(i)
    return {name: np.array(rows) for name, rows in found.items()}


def _fit_family(units: list[Unit], law: np.ndarray, missed: np.ndarray, tuned: dict[str, Any] | None) -> Family:
    names = _varying(units)
    theta = np.asarray(tuned["theta"]) if tuned and tuple(tuned["features"]) == names else None
    x = _family_matrix(units, law, names)
    centre, scale = float(missed.mean()), float(missed.std()) or 1.0
    process = repeatable(x, (missed - centre) / scale, np.ones(len(x)), theta)
    general = matrix([features(u) for u in units], GENERAL)
    return Family(
        names=names, lowest=general.min(axis=0), highest=general.max(axis=0), centre=centre, scale=scale,
        process=process,
    )  # fmt: skip


def _varying(units: list[Unit]) -> tuple[str, ...]:
    """Names of features that differ within a family, without those that say the same as an earlier one."""
    rows = [features(u) for u in units]
    names = sorted(set().union(*rows))
    x = matrix(rows, names)
    kept: list[int] = []
    seen: set[bytes] = set()
    for j in range(len(names)):
        column = np.round(x[:, j] - x[:, j].mean(), 9)
        if column.any() and column.tobytes() not in seen:
            seen.add(column.tobytes())
            kept.append(j)
    return tuple(names[j] for j in kept)


def _family_matrix(units: Sequence[Unit], law: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    return np.column_stack([matrix([features(u) for u in units], names), law])
