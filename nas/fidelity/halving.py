"""Asynchronous successive halving (Li et al., MLSys 2020, arXiv 1810.05934) on the order of several objectives.

The order within a rung is that of non-dominated rank, then of the hypervolume that a member alone contributes to its
rank. Accuracy is that at the rung, for all alike; costs are known, so they are final from the start. Once enough trials
have ended for a forecast, those that it leaves no hope of the front wait whatever their place.
"""

from collections.abc import Sequence

import numpy as np

from nas.fidelity.base import RULES, Decision, Rule
from nas.objective import losses
from nas.pareto import contributions, ranks
from nas.trial import Trial


@RULES.register("halving")
class HalvingRule(Rule):
    """The best `keep` share of the trials at a rung goes on, unless beaten beyond hope; the rest waits there."""

    takes = Rule.takes | {"keep"}

    def decide(self, trials: Sequence[Trial], trial: Trial) -> Decision:
        if trial.number not in self.promoted(trials, len(trial.curve)):
            return "pause"
        return "continue" if self.hopeful(trials, [trial]) else "pause"

    def resume(self, trials: Sequence[Trial]) -> int | None:
        waiting = [t for t in trials if t.state == "paused"]
        paused = {t.number: len(t.curve) for t in self.hopeful(trials, waiting)}
        for rung in sorted(set(paused.values()), reverse=True):
            found = next((n for n in self.promoted(trials, rung) if paused.get(n) == rung), None)
            if found is not None:
                return found
        return None

    def promoted(self, trials: Sequence[Trial], epoch: int) -> list[int]:
        """Numbers of the best share of the trials that have reached this epoch, best first."""
        costs = [o.name for o in self.objectives if o.name != "accuracy"]
        reached = [
            t for t in trials
            if t.kind == "search" and len(t.curve) >= epoch and all(name in t.values for name in costs)
        ]  # fmt: skip
        values = [t.values | {"accuracy": t.curve[epoch - 1].accuracy} for t in reached]
        order = promotion_order(losses(values, self.objectives))
        return [reached[i].number for i in order[: int(round(self.keep * len(reached), 6))]]


def promotion_order(table: np.ndarray) -> np.ndarray:
    """Row indices from best to worst: by non-dominated rank, within a rank by falling exclusive hypervolume."""
    rank, alone = ranks(table), np.zeros(len(table))
    for front in np.unique(rank):
        members = np.flatnonzero(rank == front)
        alone[members] = contributions(table[members])
    return np.lexsort((-alone, rank))
