"""A campaign on disk as one value: what was asked, tried and found. Report and export read nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import UserError, nearest
from nas.history import History, replay
from nas.journal import read_journal
from nas.objective import Objective, losses
from nas.pareto import front_indices
from nas.trial import Trial
from nas.uncertainty import dominated_probability

if TYPE_CHECKING:
    from nas.campaign import Campaign


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A proposal that was replaced before any work. reason: "duplicate", "invalid", "constraint" or "memory"."""

    reason: str
    detail: str  # for a constraint, the metric; for memory, what is needed and what is free
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
    scales: dict[str, float] = field(default_factory=dict)  # metric -> what its predictions were multiplied by
    chances: dict[int, float] = field(default_factory=dict)  # trial number -> of ending on the front, when it was cut
    checked: frozenset[int] = frozenset()  # trials cut short and finished after all, to check the chances

    gates: tuple[tuple[int, float, list[dict[str, Any]]], ...] = ()  # (trials judged, when, verdict on each score)

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
        objectives = self.campaign.objective_list
        chosen = nondominated(self.complete(), objectives)
        key = next((o.name for o in objectives if o.direction == "minimize"), objectives[0].name)
        return sorted(chosen, key=lambda t: t.values[key])

    def p_dominated(self) -> dict[int, float]:
        """Number of each complete trial -> how probable it is that another dominates it; empty without intervals."""
        objectives, done = self.campaign.objective_list, self.complete()
        if not any(o.name in t.intervals for o in objectives for t in done):
            return {}
        return dominated_probability(done, objectives, seed=self.campaign.seed)


def nondominated(trials: Sequence[Trial], objectives: tuple[Objective, ...]) -> list[Trial]:
    """Those that no other trial beats in every objective, in their order."""
    if not trials:
        return []
    return [trials[i] for i in sorted(front_indices(losses([t.values for t in trials], objectives)))]


def load_run(path: Path | str) -> Run:
    """Read a run folder, also of a running or broken campaign. Raises UserError when it is none."""
    folder = Path(path)
    journal = folder / "journal.jsonl"
    if not journal.is_file():
        raise UserError(f"{folder}: not a run folder (no journal.jsonl); {_hint(folder)}")
    history = replay(read_journal(journal))
    if not history.campaign:
        raise UserError(f"{folder}: the campaign stopped before it began; start it again with nas search")
    return run_from_history(folder, history)


def _hint(folder: Path) -> str:
    guess = nearest(folder.name, [p.parent.name for p in folder.parent.glob("*/journal.jsonl")])
    return f"did you mean {folder.parent / guess}?" if guess else "a search writes one under runs/NAME"


def run_from_history(folder: Path, history: History, campaign: "Campaign | None" = None) -> Run:
    """The run that a history amounts to; its campaign is read from the record unless it is at hand."""
    from nas.campaign import Campaign

    return Run(
        path=folder,
        campaign=campaign or Campaign.model_validate(history.campaign),
        environment=history.environment,
        trials=tuple(history.trials[n] for n in sorted(history.trials)),
        rejections=tuple(Rejection(reason=r, detail=d, hash=h, at=a) for r, d, h, a in history.rejections),
        status=history.status,
        seconds=history.seconds,
        test_accuracy=dict(history.test_accuracy),
        notes=tuple(history.notes),
        scales=dict(history.scales),
        chances=dict(history.chances),
        checked=frozenset(history.checked),
        gates=tuple(history.gates),
    )
