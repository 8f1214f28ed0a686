"""A campaign on disk as one value: what was asked, what was tried, what came out. Report and export read nothing else."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.objective import losses
from nas.pareto import front_indices
from nas.trial import Trial

if TYPE_CHECKING:
    from nas.campaign import Campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A proposal that was replaced before any work. reason: "duplicate", "invalid" or "constraint"."""

    reason: str
    detail: str  # for a constraint, the metric
    hash: str
    at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything a run folder knows."""

    path: Path
    campaign: "Campaign"
    environment: dict[str, Any]
    trials: tuple[Trial, ...]
    rejections: tuple[Rejection, ...] = ()
    status: str = "running"  # "running", "interrupted", "finished"
    seconds: float = 0.0  # wall time spent, all sessions together
    test_accuracy: dict[int, float] = field(default_factory=dict)  # trial number -> accuracy on the test split
    notes: tuple[str, ...] = ()

    def searched(self) -> list[Trial]:
        return [t for t in self.trials if t.kind == "search"]

    def references(self) -> list[Trial]:
        return [t for t in self.trials if t.kind == "reference"]

    def complete(self) -> list[Trial]:
        """Search trials with every objective measured, in order of their numbers."""
        names = [o.name for o in self.campaign.objective_list]
        return [t for t in self.searched() if t.state == "complete" and all(n in t.values for n in names)]

    def front(self) -> list[Trial]:
        """The non-dominated search trials, cheapest first by the first objective that is to be minimised."""
        done = self.complete()
        objectives = self.campaign.objective_list
        if not done:
            return []
        chosen = [done[i] for i in front_indices(losses([t.values for t in done], objectives))]
        key = next((o.name for o in objectives if o.direction == "minimize"), objectives[0].name)
        return sorted(chosen, key=lambda t: t.values[key])
