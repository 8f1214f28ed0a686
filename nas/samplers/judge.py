"""Scores networks: the hypervolume that a trial is expected to add, times the chance that it keeps to the limits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from nas.objective import Constraint, Objective, metric_of
from nas.pareto import front_indices, reference_point, worst_inlier
from nas.samplers.candidates import Network, Rows
from nas.samplers.encoding import SMALLEST
from nas.samplers.improvement import spread_improvement
from nas.samplers.observations import FAR, Observations, observations
from nas.samplers.process import Process
from nas.trial import Trial
from nas.uncertainty import counting_variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A metric that only trials tell: losses, or logarithms of a cost, as a Gaussian process over networks.

    pictures: that an accuracy is counted on, where that is known.
    """

    process: Process
    seen: Observations
    pictures: int | None = None

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) means and standard deviations in the units of the observations."""
        mean, deviation = self.process.predict(rows)
        return self.seen.middle + self.seen.size * mean, self.seen.size * deviation

    def draw(self, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, n) what the metric may truly be, in the units of the observations, drawn together."""
        return self.seen.middle + self.seen.size * self.process.draw(rows, count, rng)

    def draw_observed(self, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, n) what trials may observe: the noise of each is in them."""
        true = self.draw(rows, count, rng)
        return true + np.sqrt(self._noise(true)) * rng.normal(size=true.shape)

    def observed(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) means and standard deviations of what a trial would observe: the noise is in them."""
        mean, deviation = self.predict(rows)
        return mean, np.sqrt(deviation**2 + self._noise(mean))

    def _noise(self, true: np.ndarray) -> np.ndarray:
        """Variance of an observation: what differs between trainings, and the counting of pictures."""
        common = np.full(true.shape, self.seen.size**2 * self.process.noise)
        return common + counting_variance(np.clip(-true, 0.0, 1.0), self.pictures) if self.pictures else common

    def believing(self, rows: np.ndarray) -> "Model":
        return replace(self, process=self.process.believing(rows))


def fit(pool: Rows, history: Sequence[Trial], metric: Objective, seed: int, far: float = FAR) -> Model:
    """The model of one metric. far: as for `observations`."""
    pictures = pool.knowledge.pictures
    seen = observations(history, metric, pictures, far)
    rows = pool.rows([pool.tried(t.code) for t in seen.trials])
    return Model(process=Process.fit(rows, seen.t, seen.extra, pool.groups, seed), seen=seen,
                 pictures=None if metric.metric.before_training else pictures)  # fmt: skip


def models_of(
    pool: Rows, objectives: Sequence[Objective], history: Sequence[Trial], seed: int, far: float = FAR
) -> dict[str, Model]:
    """One by name for each metric that only trials tell."""
    return {m.name: fit(pool, history, m, seed, far) for m in to_learn(pool, objectives, history)}


def to_learn(pool: Rows, objectives: Sequence[Objective], history: Sequence[Trial]) -> list[Objective]:
    """Objectives and limits of costs that are not known before a trial but were measured in some, each once."""
    measured = {name for t in history for name in t.values}
    limits = [Objective(name=c.metric, direction="minimize") for c in pool.knowledge.constraints if _is_cost(c)]
    metrics = {m.name: m for m in (*limits, *objectives) if m.name in measured and m.name not in pool.names}
    return list(metrics.values())


class Judge:
    """Knows the front, what is expected of pending trials, and what is known or expected of any network."""

    def __init__(
        self,
        pool: Rows,
        objectives: Sequence[Objective],
        models: dict[str, Model],
        table: np.ndarray,
        pending: Sequence[Network],
    ) -> None:
        """table: (trials, objectives) losses of the complete trials."""
        rows = pool.rows(pending) if pending else None
        self.pool = pool
        self.models = models if rows is None else {name: m.believing(rows) for name, m in models.items()}
        self.limits = [c for c in pool.knowledge.constraints if c.metric in models and _is_cost(c)]
        places = sorted(range(len(objectives)), key=lambda i: _rank(objectives[i], models))
        self.objectives = [objectives[i] for i in places]
        table = np.minimum(table, [_far(o, models) for o in objectives])[:, places]
        self.reference = self._reference(table)
        if pending:
            mean, _, costs, _ = self._expect(pending)
            table = np.vstack([table, np.column_stack([mean, costs])])
        self.front = table[front_indices(table)]

    def _reference(self, table: np.ndarray) -> np.ndarray:
        """That of the trials; a known cost counts as far as networks reach that could be tried."""
        reference = reference_point(table)
        for i, objective in enumerate(self.objectives):
            if objective.name not in self.models:
                costs = np.array([[n.costs[objective.name]] for n in self.pool.base])
                reference[i] = max(reference[i], worst_inlier(objective.sign * costs)[0])
        return reference

    def scores(self, networks: Sequence[Network]) -> np.ndarray:
        """(n,) expected improvements; larger is better."""
        mean, deviation, costs, spreads = self._expect(networks)
        gain = spread_improvement(self.front, mean, deviation, costs, spreads, self.reference)
        rows = self.pool.rows(networks)
        for limit in self.limits:
            gain = gain * _chance(limit, *self.models[limit.metric].predict(rows))
        return gain

    def _expect(self, networks: Sequence[Network]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Mean and deviation (n,) of the first loss; the other losses (n, m) and the deviations of their logarithms."""
        rows = self.pool.rows(networks)
        columns = [self._column(o, networks, rows) for o in self.objectives]
        means, spreads = (np.column_stack(part) for part in zip(*columns, strict=True))
        first = self.objectives[0]
        absolute = first.name in self.models and not first.metric.before_training
        deviation = spreads[:, 0] if absolute else np.abs(means[:, 0]) * spreads[:, 0]
        return means[:, 0], deviation, means[:, 1:], spreads[:, 1:]

    def _column(
        self, objective: Objective, networks: Sequence[Network], rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Losses and their deviations: of a cost, those of its logarithm."""
        name = objective.name
        if name not in self.models:
            costs = np.array([n.costs[name] for n in networks])
            return objective.sign * costs, np.array([n.spreads.get(name, 0.0) for n in networks])
        mean, deviation = self.models[name].predict(rows)
        if objective.metric.before_training:
            return objective.sign * np.exp(mean), deviation
        return mean, deviation


def _rank(objective: Objective, models: dict[str, Model]) -> int:
    """The objective that is integrated comes first: what only training tells, else what only a measurement tells."""
    return 2 - (objective.name in models) - (not objective.metric.before_training)


def _far(objective: Objective, models: dict[str, Model]) -> float:
    """The loss that counts for any that is worse."""
    learned = objective.name in models and not objective.metric.before_training
    return models[objective.name].seen.far if learned else np.inf


def _chance(limit: Constraint, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(n,) probability that a cost keeps to its limit; mean and deviation are those of its logarithm."""
    below = ndtr((np.log(max(limit.bound, SMALLEST)) - mean) / deviation)
    return below if limit.operator == "<" else 1 - below


def _is_cost(limit: Constraint) -> bool:
    return metric_of(limit.metric).before_training
