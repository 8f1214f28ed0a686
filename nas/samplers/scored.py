"""A shortlist looked at twice: rows of networks with those of their zero-cost scores that the gate lets through.

Scores are too dear for thousands of candidates. The model without them names the best few; the model with them, which
has learned from the trials what they are worth here, puts these in order.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.samplers.base import Knowledge
from nas.samplers.candidates import Network, Pool
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code


class ScoredPool:
    """A pool whose rows have one column more for each believed score: where it lies among the scores of the trials.

    0 in the middle, variance 1; 0 as well where a score is absent, so that it speaks neither for nor against.
    """

    def __init__(self, pool: Pool, names: Sequence[str], trials: Sequence[Trial]) -> None:
        self.pool, self.score_names, self.names, self.base = pool, tuple(names), pool.names, pool.base
        self._recorded: dict[Any, Mapping[str, float]] = {pool.tried(t.code).genotype: t.scores for t in trials}
        self.groups = np.append(pool.groups, pool.groups.max() + 1 + np.arange(len(names)))

    @property
    def knowledge(self) -> Knowledge:
        return self.pool.knowledge

    def tried(self, code: "Code") -> Network:
        return self.pool.tried(code)

    def rows(self, networks: Sequence[Network]) -> np.ndarray:
        """(n, f + scores)."""
        found = [self._scores(n) for n in networks]
        columns = [[self._place(name, each.get(name)) for each in found] for name in self.score_names]
        return np.column_stack([self.pool.rows(networks), *columns])

    def _scores(self, network: Network) -> Mapping[str, float]:
        recorded = self._recorded.get(network.genotype)
        return self.knowledge.scores(network.genotype) if recorded is None else recorded

    def _place(self, name: str, value: float | None) -> float:
        if value is None:
            return 0.0
        seen = self._seen[name]
        below = (np.searchsorted(seen, value, "left") + np.searchsorted(seen, value, "right")) / 2
        return float(np.sqrt(12) * (below / len(seen) - 0.5))

    @cached_property
    def _seen(self) -> dict[str, np.ndarray]:
        """Sorted scores of the trials."""
        recorded = self._recorded.values()
        return {name: np.sort([each[name] for each in recorded if name in each]) for name in self.score_names}
