"""What random search would have reached with the same budget, by a model of all that a campaign has found.

Networks are drawn as random search draws them. Costs are known, or learnt where only trials tell; accuracies are drawn
from the posterior of the model together, correlations and the noise of an observation included. Every draw is a random
search, so that its hypervolume has a distribution. The noise matters: a campaign's front holds what was found to be
accurate, luck included, and so does that of a random search. Hyperparameters are in doubt as well: they are those that
bootstrap samples of the trials suggest (Efron, Annals of Statistics 7, 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import betaincinv, ndtr

from nas.objective import Constraint, Objective, metric_of
from nas.pareto import hypervolume_history
from nas.samplers.candidates import Network, Pool
from nas.samplers.judge import Model
from nas.samplers.process import TUNING_ROWS, tuned

DRAWS, DOUBTS = 200, 5  # searches imagined; sets of hyperparameters that share them
MOST = 800  # networks drawn at most, and so trials looked at
TIMES = 10  # as many trials as the campaign's, to see how many more it would take
ROUNDS, FEWEST = 8, 100  # attempts at drawing networks within the limits, and how few of them are too few
LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95
EDGE, SHARPEST, WIDEST, TAIL = 1e-3, 1e-6, 0.5, 1e-9  # of means, deviations, weights and levels of beta distributions
_STREAM = 0x72  # keeps these draws apart from others of the same seed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomSearches:
    """volumes: (draws, 1 + trials) hypervolume, from before the first trial on. learnt: costs that trials told."""

    volumes: np.ndarray
    learnt: tuple[str, ...] = ()

    @property
    def trials(self) -> int:
        return self.volumes.shape[1] - 1

    def band(self) -> np.ndarray:
        """(3, 1 + trials): ends and middle of the interval that holds 90 % of the draws."""
        return np.quantile(self.volumes, [LOW, MIDDLE, HIGH], axis=0)

    def reaching(self, volume: float, trials: int) -> float:
        """Share of the draws that reach a hypervolume with so many trials, or with all where there are fewer."""
        return float((self.volumes[:, min(trials, self.trials)] >= volume).mean())

    def trials_for(self, volume: float) -> np.ndarray:
        """(3,) trials that reach a hypervolume: ends and middle of the 90 % interval; infinite beyond the last."""
        reached = self.volumes >= volume
        needed = np.where(reached.any(axis=1), reached.argmax(axis=1), np.inf)
        return np.quantile(needed, [LOW, MIDDLE, HIGH], method="inverted_cdf")


def random_searches(
    pool: Pool, objectives: Sequence[Objective], models: dict[str, Model], reference: np.ndarray, trials: int, seed: int
) -> RandomSearches:
    """Of TIMES the trials where the space has so many networks, each tried once. reference: of the hypervolume."""
    rng = np.random.default_rng((seed, _STREAM))
    networks = random_networks(pool, rng, min(TIMES * trials, MOST))
    names = dict.fromkeys([*(o.name for o in objectives), *models])
    drawn = {name: _values(pool, networks, name, models.get(name), rng) for name in names}
    table = np.stack([o.sign * drawn[o.name] for o in objectives], axis=-1)
    broken = _broken([c for c in pool.knowledge.constraints if c.metric in models], drawn, table.shape[:2])
    orders = np.argsort(rng.random(broken.shape) + broken, axis=1)  # what is turned away costs no training
    table[broken] = reference
    volumes = [hypervolume_history(rows[order], reference) for rows, order in zip(table, orders, strict=True)]
    return RandomSearches(
        volumes=np.column_stack([np.zeros(DRAWS), np.array(volumes)]),
        learnt=tuple(name for name in models if metric_of(name).before_training),
    )


def random_networks(pool: Pool, rng: np.random.Generator, count: int) -> list[Network]:
    """As random search would try them: within the limits that are known before a trial, each once.

    Where these are so tight that chance finds too few, the sampler's own pool of networks near them stands in.
    """
    found: dict[Any, Network] = {}
    for _ in range(ROUNDS):
        found |= {n.genotype: n for n in pool.random(rng, count)}
        if len(found) >= count:
            break
    if len(found) < min(count, FEWEST):
        found |= {n.genotype: n for n in pool.feasible([*pool.base, *pool.more])}
    return list(found.values())[:count]


def _values(
    pool: Pool, networks: Sequence[Network], name: str, model: Model | None, rng: np.random.Generator
) -> np.ndarray:
    """(draws, n) values of a metric, in its own units."""
    if model is None:
        spreads = np.array([n.spreads.get(name, 0.0) for n in networks])
        return np.array([n.costs[name] for n in networks]) * np.exp(rng.normal(size=(DRAWS, len(networks))) * spreads)
    rows = pool.rows(networks)
    draws = np.concatenate([_doubted(model, rng).draw_observed(rows, DRAWS // DOUBTS, rng) for _ in range(DOUBTS)])
    return np.exp(draws) if metric_of(name).before_training else as_shares(-draws)


def as_shares(draws: np.ndarray) -> np.ndarray:
    """Draws (draws, n) of normal distributions as draws of beta distributions with the same means and deviations.

    An accuracy ends at 1, and near that its luck falls further than it rises: cut off there, too many would be perfect.
    Who is above whom among the draws of a network stays as it was.
    """
    mean, deviation = draws.mean(axis=0), draws.std(axis=0)
    middle = np.clip(mean, EDGE, 1 - EDGE)
    weight = np.maximum(middle * (1 - middle) / np.maximum(deviation, SHARPEST) ** 2 - 1, WIDEST)
    level = ndtr((draws - mean) / np.maximum(deviation, SHARPEST))
    return np.asarray(betaincinv(middle * weight, (1 - middle) * weight, np.clip(level, TAIL, 1 - TAIL)))


def _doubted(model: Model, rng: np.random.Generator) -> Model:
    """The same observations, with the hyperparameters that a bootstrap sample of them suggests."""
    process, count = model.process, len(model.process.x)
    rows = rng.permutation(np.unique(rng.integers(count, size=count)))[:TUNING_ROWS]
    theta = tuned(process.x[rows], process.t[rows], process.extra[rows], process.groups)
    return replace(model, process=replace(process, theta=theta))


def _broken(limits: Sequence[Constraint], drawn: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """(draws, n) whether a limit breaks that only a measurement tells."""
    broken = np.zeros(shape, dtype=bool)
    for limit in limits:
        broken |= limit.excess(drawn[limit.metric]) > 0
    return broken
