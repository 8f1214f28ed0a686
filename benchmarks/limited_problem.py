"""A table searched under a limit on a cost: one of the objectives, or the latency of a second device."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from sampler_peers import costs_known, ours, trial_of
from sampler_problem import Problem
from sampler_tables import CellProblem

from nas.objective import Constraint
from nas.samplers.base import Knowledge
from nas.trial import Trial


@dataclass(frozen=True, kw_only=True)
class TwoDevices(CellProblem):
    """The latency on a second device is known as well and is no objective."""

    second: str

    @property
    def beside(self) -> str:
        """Its metric."""
        return f"latency_ms@{self.second}"

    def costs(self, network: tuple[str, ...]) -> dict[str, float]:
        second = float(self.source.costs[self.second][self.place[network]])
        return {**super().costs(network), self.beside: second}


def values_of(problem: Problem, metric: str) -> np.ndarray:
    """(rows,) of a cost."""
    return np.array([problem.costs(problem.network(place))[metric] for place in range(problem.size)])


def limits_at(problem: Problem, metric: str, shares: list[float]) -> Iterator[tuple[float, Constraint]]:
    """Each share of the rows that may keep to a limit, with the bound that is nearest to it."""
    values = np.sort(values_of(problem, metric))
    for share in shares:
        place = min(int(share * len(values)), len(values) - 1)
        yield share, Constraint(metric=metric, operator="<", bound=float(values[place]))


def history_within(problem: Problem, limit: Constraint, trials: int, seed: int) -> list[Trial]:
    """What `pareto` tries within a limit that it knows; a proposal beyond it is turned away."""

    def known(problem: Problem) -> Knowledge:
        return replace(costs_known(problem), constraints=(limit,))

    places = ours("pareto", known, problem, trials, seed)
    found = [trial_of(problem, place, i) for i, place in enumerate(dict.fromkeys(places))]
    return [t for t in found if limit.holds(t.values[limit.metric])]
