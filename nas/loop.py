"""Ask, reject, evaluate, record, stop: the search itself. The record is written before anything is believed."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from nas.campaign import Campaign
from nas.genotype import Genotype
from nas.history import History, replay
from nas.journal import Journal
from nas.known_costs import Known
from nas.proposals import Candidate, Exhausted, Proposer, Refusal
from nas.run import Run, nondominated, run_from_history
from nas.trial import Job, Outcome, Point, Trial
from nas.worker import Measured

LAYERS = 3  # non-dominated layers whose weights are kept: measuring again may move a trial up
Listener = Callable[[str, Trial], None]  # ("started" | "progressed" | "finished", trial)


class Loop:
    """A JobSource over a journal. Every change is an event: appended, synced, then applied to `history`."""

    def __init__(
        self,
        campaign: Campaign,
        folder: Path,
        journal: Journal,
        proposer: Proposer,
        references: list[tuple[str, Genotype, Known]],
        device: str,
        listeners: tuple[Listener, ...] = (),
    ) -> None:
        self.campaign, self.folder, self.journal, self.proposer = campaign, folder, journal, proposer
        self.device, self.listeners = device, listeners
        self.history: History = replay(journal.events)
        self.exhausted: str | None = None
        self._again = deque(self.history.running())
        known = {t.name for t in self.history.trials.values() if t.kind == "reference"}
        self._references = deque(r for r in references if r[0] not in known)
        self._begun = time.monotonic()
        self._before = self.history.seconds

    # -- what an executor asks ------------------------------------------------------------------------------------

    def next_job(self) -> Job | None:
        if self._again:
            trial = self._again.popleft()
            self.record("restarted", trial=trial.number)
            return self._job(self.history.trials[trial.number])
        if self.out_of_budget():
            return None
        if self._references:
            name, genotype, known = self._references.popleft()
            return self._start("reference", name, genotype, genotype.hash(), {}, known)
        candidate = self._propose()
        if candidate is None:
            return None
        number = self._next_number()
        return self._start(
            "search", f"trial {number}", candidate.genotype, candidate.hash, dict(candidate.code), candidate.known
        )

    def measured(self, job: Job, latency: Measured) -> None:
        self.record("measured", trial=job.trial, hash=job.hash, device=self.device, latency=asdict(latency))

    def progressed(self, job: Job, points: list[Point]) -> None:
        self._tell("progressed", self.history.trials[job.trial])

    def finished(self, job: Job, outcome: Outcome) -> None:
        self.record("finished", trial=job.trial, outcome=outcome)
        self._drop_checkpoints()
        self._tell("finished", self.history.trials[job.trial])

    # -- budget ---------------------------------------------------------------------------------------------------

    def elapsed(self) -> float:
        """Wall seconds of the campaign, earlier sessions included."""
        return self._before + time.monotonic() - self._begun

    def out_of_budget(self) -> bool:
        budget = self.campaign.budget
        return self.spent_trials() >= budget.trials or self.elapsed() >= 60 * budget.minutes

    def spent_trials(self) -> int:
        """Search trials that count: those rejected by a measured constraint before training do not."""
        return sum(1 for t in self.history.trials.values() if t.kind == "search" and not untrained(t))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _propose(self) -> Candidate | None:
        trials = list(self.history.trials.values())
        taken = {t.hash for t in trials if t.kind == "search"}
        refusals: list[Refusal] = []
        try:
            return self.proposer.next(trials, self._next_number(), refusals.append, taken)
        except Exhausted as reason:
            self.exhausted = str(reason)
            return None
        finally:
            for refusal in refusals:
                self.record("rejected", **{f: getattr(refusal, f) for f in ("reason", "detail", "hash")})

    def _start(
        self, kind: str, name: str, genotype: Genotype, name_hash: str, code: dict[str, object], known: Known
    ) -> Job:
        number = self._next_number()
        self.record(
            "started",
            trial=number,
            kind=kind,
            name=name,
            code=code,
            genotype=genotype.to_json(),
            hash=name_hash,
            costs=known.values,
            predicted=known.predicted,
            notes=known.notes,
        )
        return self._job(self.history.trials[number])

    def _job(self, trial: Trial) -> Job:
        self._tell("started", trial)
        return Job(
            trial=trial.number, kind=trial.kind, name=trial.name, genotype=trial.genotype.to_json(), hash=trial.hash,
            seed=self.campaign.seed * 100_003 + trial.number,
            latency=self.history.latencies.get((trial.hash, self.device)),
        )  # fmt: skip

    def _next_number(self) -> int:
        return max(self.history.trials, default=-1) + 1

    def record(self, event: str, **payload: object) -> None:
        """Write an event, then believe it."""
        self.history.apply(self.journal.append(event, **payload))

    def _tell(self, what: str, trial: Trial) -> None:
        for listener in self.listeners:
            listener(what, trial)

    def first_layers(self) -> list[Trial]:
        """The front and the two layers behind it."""
        run = self.run()
        rest, layers = run.complete(), []
        for _ in range(LAYERS):
            front = {t.number for t in nondominated(rest, self.campaign.objective_list)}
            layers += [t for t in rest if t.number in front]
            rest = [t for t in rest if t.number not in front]
        return layers

    def run(self) -> Run:
        """The campaign so far, as report and export see it."""
        return run_from_history(self.folder, self.history, self.campaign)

    def _drop_checkpoints(self) -> None:
        """Keep the weights of references and of what may still be on the front only."""
        kept = {t.number for t in self.first_layers()}
        for trial in self.history.trials.values():
            if trial.kind == "search" and trial.state != "running" and trial.checkpoint and trial.number not in kept:
                (self.folder / trial.checkpoint).unlink(missing_ok=True)


def untrained(trial: Trial) -> bool:
    """Turned away by a measured constraint before training began."""
    return trial.state == "infeasible" and not trial.curve
