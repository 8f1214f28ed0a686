"""NSGA-II (Deb et al., IEEE TEVC 2002), steady state: each trial is a child of the best found so far."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.pareto import crowding, ranks
from nas.samplers.base import SAMPLERS, Sampler, observed
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space

CROSSOVER = 0.9  # share of children with two parents


@SAMPLERS.register("nsga2")
class NSGA2Sampler(Sampler):
    """Random until `population` trials are complete, then crossover and mutation of tournament winners."""

    takes = frozenset({"population"})

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        rng = self.rng(number, attempt)
        seen, table = observed(history, self.objectives)
        if len(seen) < self.population:
            return space.sample(rng)
        order = survival_order(table)[: self.population]
        first, second = (seen[order[_tournament(len(order), rng)]].code for _ in range(2))
        child = space.crossover(first, second, rng) if rng.random() < CROSSOVER else first
        return space.mutate(child, rng)


def survival_order(losses: np.ndarray) -> np.ndarray:
    """Row indices from best to worst: by front, and within a front by falling crowding distance."""
    rank = ranks(losses)
    distance = np.zeros(len(losses))
    for front in np.unique(rank):
        members = np.flatnonzero(rank == front)
        distance[members] = crowding(losses[members])
    return np.lexsort((-distance, rank))


def _tournament(size: int, rng: np.random.Generator) -> int:
    """The better of two places in the survival order."""
    return int(min(rng.integers(size), rng.integers(size)))
