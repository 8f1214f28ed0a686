"""Regularized evolution (Real et al., AAAI 2019, arXiv 1802.01548) for several objectives.

Parents age: only the youngest trials have children, however good older ones were. Fitness is the non-dominated rank,
then the room around a network, as in NSGA-II.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.samplers.base import SAMPLERS, Sampler, observed
from nas.samplers.nsga2 import survival_order
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space

TOURNAMENT = 4  # a quarter of the population, as the authors had 25 of 100


@SAMPLERS.register("regularized_evolution")
class RegularizedEvolutionSampler(Sampler):
    """Random until `population` trials are complete, then mutants of the best of a few young ones."""

    takes = frozenset({"population"})

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        rng = self.rng(number, attempt)
        seen, table = observed(history, self.objectives)
        if len(seen) < self.population:
            return space.sample(rng)
        ages = sorted(range(len(seen)), key=lambda i: (seen[i].finished or 0.0, seen[i].number))
        young = ages[-self.population :]
        order = survival_order(table[young])
        winner = min(rng.choice(len(young), size=max(2, len(young) // TOURNAMENT), replace=False))
        return space.mutate(seen[young[order[winner]]].code, rng)
