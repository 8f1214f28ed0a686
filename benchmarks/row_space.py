"""The architectures of a trained table as a finite space, and what stands for a network that is not among them.

A proposal is answered by the row that is nearest to it among those not tried yet. The distance (after Gower, Biometrics
1971) is the mean over all dimensions that matter for one of the two: 0 for the same choice, 0.5 for the same mechanism
with other parameters, the difference of their places (0 to 1) for ordered choices, else 1, and 1 where a dimension
matters for one only.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sampler_problem import Problem
from trained_table import Architecture, TrainedTable

from evaluators.cost import cost_metrics
from nas.genotype import Genotype
from nas.pareto import reference_point
from nas.samplers.encoding import kind_of
from search_spaces.space import Choice, Code, Dimension, Space

KINDRED = 0.5  # distance of two variants of one mechanism
NEIGHBOURS = 5  # rows that a mutant can be


class RowSpace:
    """The rows behind the interface of `search_spaces.space.Space`.

    A mutant is one of the rows nearest to its parent, a child one of those with the least sum of distances to both.
    """

    def __init__(self, whole: Space, rows: tuple[Architecture, ...]) -> None:
        self.whole, self.dimensions, self._rows = whole, whole.dimensions, rows
        self._places = {_key(row.code): i for i, row in enumerate(rows)}
        self._active = [whole.active(row.code) for row in rows]
        self._differences = [_differences(d) for d in self.dimensions]
        self._matters = np.array([self._mattering(row.code) for row in rows])
        self._choices = np.array([self._choice_places(row.code) for row in rows])
        self._apart = np.stack([self.distances(row.code) for row in rows])

    def nearest(self, code: Code, but: Collection[int] = ()) -> int:
        """The number of the row nearest to a code, the first of several; `but`: those that do not count."""
        distance = self.distances(code)
        distance[list(but)] = np.inf
        return int(np.argmin(distance))

    def distances(self, code: Code) -> np.ndarray:
        """(rows,) from a code, 0 to 1."""
        mine, places = self._mattering(code), self._choice_places(code)
        apart = np.stack([d[i, c] for d, i, c in zip(self._differences, places, self._choices.T, strict=True)], axis=1)
        either, both = self._matters | mine, self._matters & mine
        return np.where(both, apart, either).sum(axis=1) / either.sum(axis=1)

    def decode(self, code: Code) -> str:
        """A row's name, which is told apart faster than its genotype."""
        return self._rows[self._place(code)].hash

    def active(self, code: Code) -> frozenset[str]:
        return self._active[self._place(code)]

    def sample(self, rng: np.random.Generator) -> Code:
        return self._code(rng.integers(len(self._rows)))

    def mutate(self, code: Code, rng: np.random.Generator) -> Code:
        return self._near([self._place(code)], rng)

    def crossover(self, a: Code, b: Code, rng: np.random.Generator) -> Code:
        return self._near([self._place(a), self._place(b)], rng)

    def repair(self, code: Code, rng: np.random.Generator) -> Code:
        return self._code(self._place(code))

    def problems(self, network: str) -> list[str]:
        return []

    def _place(self, code: Code) -> int:
        place = self._places.get(_key(code))
        return self.nearest(code) if place is None else place

    def _code(self, place: int) -> Code:
        return dict(self._rows[place].code)

    def _near(self, parents: list[int], rng: np.random.Generator) -> Code:
        apart = self._apart[parents].sum(axis=0)
        apart[parents] = np.inf
        return self._code(np.argsort(apart, kind="stable")[rng.integers(NEIGHBOURS)])

    def _mattering(self, code: Code) -> np.ndarray:
        active = self.whole.active(code)
        return np.array([d.name in active for d in self.dimensions])

    def _choice_places(self, code: Code) -> list[int]:
        return [d.choices.index(code[d.name]) for d in self.dimensions]


def _key(code: Code) -> tuple[Choice, ...]:
    return tuple(code.values())


def _differences(dimension: Dimension) -> np.ndarray:
    """(choices, choices)"""
    count = len(dimension.choices)
    if dimension.ordered:
        places = np.arange(count)
        return np.abs(places[:, None] - places) / max(count - 1, 1)
    return np.array([[_difference(a, b) for b in dimension.choices] for a in dimension.choices])


def _difference(a: object, b: object) -> float:
    if a == b:
        return 0.0
    return KINDRED if kind_of(a) == kind_of(b) else 1.0


@dataclass(frozen=True, kw_only=True)
class RowProblem(Problem):
    """A trained table with one of its exact costs. Accuracy: validation, end of the schedule, first seed."""

    source: TrainedTable
    cost: str

    @property
    def table(self) -> str:
        return self.source.name

    @property
    def device(self) -> str:
        return self.cost

    @property
    def pictures(self) -> int:  # type: ignore[override]
        return self.source.pictures

    @property
    def whole(self) -> Space:
        return self.source.space

    @cached_property
    def space(self) -> RowSpace:
        return RowSpace(self.whole, self.source.rows)

    @property
    def size(self) -> int:
        return len(self.source.rows)

    def settle(self, code: Code, tried: Collection[int]) -> int:
        return self.space.nearest(code, but=tried)

    def code(self, place: int) -> Code:
        return self.source.rows[place].code

    def network(self, place: int) -> str:
        return self.source.rows[place].hash

    def costs(self, network: str | Genotype) -> dict[str, float]:
        """Of a row by its name, or of any network."""
        return self._costs[network] if isinstance(network, str) else cost_metrics(network, **self.source.shape)

    def accuracy(self, place: int) -> float:
        return self._accuracies[place]

    @cached_property
    def reference(self) -> np.ndarray:
        """That of a campaign's report: networks that failed to learn do not count."""
        return reference_point(self.losses)

    @cached_property
    def _costs(self) -> dict[str, dict[str, float]]:
        return {row.hash: row.costs for row in self.source.rows}

    @cached_property
    def _accuracies(self) -> list[float]:
        ends = self.source.wide()[self.source.epochs]
        return [float(ends[row.hash]) for row in self.source.rows]


def row_problems(table: TrainedTable, costs: Iterable[str] = ("macs_g", "params_m")) -> list[RowProblem]:
    return [RowProblem(source=table, cost=cost) for cost in costs]
