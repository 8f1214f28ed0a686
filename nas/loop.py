"""Ask, reject, evaluate, record, stop: the search itself. The record is written before anything is believed."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from nas.campaign import Campaign
from nas.errors import DiskFullError
from nas.fidelity import Rule, make_rule
from nas.fidelity.base import cut_short
from nas.fidelity.risk import drawn
from nas.genotype import Genotype
from nas.history import History, replay
from nas.journal import Journal, read_journal
from nas.known_costs import Known
from nas.proposals import Candidate, Exhausted, Proposer, Refusal
from nas.run import Run, nondominated, run_from_history
from nas.trial import Expectation, Job, Outcome, Point, Trial, sound, trained_share
from nas.worker import Measured

LAYERS = 3  # non-dominated layers whose weights are kept: measuring again may move a trial up
Listener = Callable[[str, Trial], None]  # ("started" | "progressed" | "paused" | "finished", trial)


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
    ) -> None:
        self.campaign, self.folder, self.journal, self.proposer = campaign, folder, journal, proposer
        self.device = device
        self.listeners: tuple[Listener, ...] = ()  # told what becomes of each trial
        self.history: History = replay(read_journal(journal.path))
        self.exhausted: str | None = None
        self._again = deque(self.history.running())
        self._unjudged = deque(self.history.unjudged())
        known = {t.name for t in self.history.trials.values() if t.kind == "reference"}
        self._references = deque(r for r in references if r[0] not in known)
        self.rule = rule_of(campaign)
        self._checks: deque[int] | None = None  # trials to finish in the end; None before the end
        self._begun = time.monotonic()
        self._before = self.history.seconds
        self._sweep()

    # -- what an executor asks ------------------------------------------------------------------------------------

    def next_job(self) -> Job | None:
        while self._unjudged:
            self._judge(self._unjudged.popleft())
        if self._again:
            trial = self._again.popleft()
            self.record("restarted", trial=trial.number)
            return self._job(self.history.trials[trial.number])
        if self._checks is not None:
            return self._resume(self._checks.popleft()) if self._checks else None
        if self.out_of_budget():
            return None
        onward = next((n for n, decision in self.history.decisions.items() if decision == "continue"), None)
        if onward is not None:
            return self._resume(onward)
        if self._references:
            name, genotype, known = self._references.popleft()
            return self._start("reference", name, genotype, genotype.hash(), {}, known)
        paused = self.rule.resume(list(self.history.trials.values()))
        if paused is not None:
            return self._resume(paused)
        candidate = self._propose()
        if candidate is None:
            return self._resume_any()
        number = self._next_number()
        return self._start(
            "search", f"trial {number}", candidate.genotype, candidate.hash, dict(candidate.code), candidate.known,
            expected=candidate.expected, scores=candidate.scores, notes=candidate.notes,
        )  # fmt: skip

    def measured(self, job: Job, latency: Measured) -> None:
        if not latency.finite:
            return  # nothing to go on with; the trial fails by it
        self.record("measured", trial=job.trial, hash=job.hash, device=self.device, latency=asdict(latency))

    def progressed(self, job: Job, points: list[Point]) -> None:
        self._tell("progressed", self.history.trials[job.trial])

    def finished(self, job: Job, outcome: Outcome) -> None:
        outcome = sound(outcome)
        if outcome.state == "refused":
            name = self.history.trials[job.trial].name
            raise DiskFullError(f"{self.folder}: {name}: {outcome.error}; make room and resume, it begins again")
        if outcome.state == "paused":
            self.record("paused", trial=job.trial, outcome=outcome)
            self._drop_state(job)
            self._judge(self.history.trials[job.trial])
            return
        self.record("finished", trial=job.trial, outcome=outcome)
        self._drop_state(job)
        self._drop_checkpoints()
        self._tell("finished", self.history.trials[job.trial])

    def waiting(self) -> bool:
        """A trial on its way to a rung may go on from there; one that a limit turns away gives its place to another."""
        running = [t for t in self.history.running() if t.kind == "search"]
        if self._checks is not None or not running:
            return False
        if self.out_of_budget():
            return self.elapsed() < 60 * self.campaign.budget.minutes and self._measures_limits()
        return any(map(self._until, running))

    def _measures_limits(self) -> bool:
        return any(c.metric in self.campaign.measured() for c in self.campaign.constraint_list)

    # -- budget ---------------------------------------------------------------------------------------------------

    def elapsed(self) -> float:
        """Wall seconds of the campaign, earlier sessions included."""
        return self._before + time.monotonic() - self._begun

    def out_of_budget(self) -> bool:
        """Whether nothing more may start. What the check in the end takes of trials and time is set aside."""
        budget, spent, reserved = self.campaign.budget, self.spent_trials(), self._reserved()
        return (
            spent + reserved >= budget.trials - 1e-9
            or self.elapsed() * (1 + reserved / max(spent, 1.0)) >= 60 * budget.minutes
        )

    def spent_trials(self) -> float:
        """Whole schedules trained by search trials: one for each, less for one that was cut short, and what is running.

        Those rejected by a measured constraint before training do not count.
        """
        return sum(self._share(t) for t in self.history.trials.values() if t.kind == "search")

    def ended_trials(self) -> float:
        """The same without what is running."""
        return self.spent_trials() - sum(self._share(t) for t in self.history.running() if t.kind == "search")

    def _share(self, trial: Trial) -> float:
        """Of a schedule; of a running trial with all that its job trains."""
        if trial.state != "running":
            return trained_share(trial, self.rule.epochs)
        until = self._until(trial)
        return 1.0 if until is None else until / self.rule.epochs

    def _reserved(self) -> float:
        """Schedules that the check would take now."""
        return sum(1 - self._share(self.history.trials[n]) for n in self._to_finish())

    # -- inside ---------------------------------------------------------------------------------------------------

    def _propose(self) -> Candidate | None:
        if self.exhausted is not None:
            return None
        trials = list(self.history.trials.values())
        self._ask_the_gate([t for t in trials if t.kind == "search" and t.state != "running"])
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

    def _ask_the_gate(self, ended: list[Trial]) -> None:
        """Record what is thought of zero-cost scores whenever the gate has looked at more trials."""
        if self.proposer.scores is None:
            return
        count, verdicts = self.proposer.scores.judged(ended)
        if count > max((looked for looked, _, _ in self.history.gates), default=0):
            self.record("gated", trials=count, verdicts=list(verdicts))

    def _start(
        self,
        kind: str,
        name: str,
        genotype: Genotype,
        name_hash: str,
        code: dict[str, object],
        known: Known,
        *,
        expected: Mapping[str, Expectation] = MappingProxyType({}),
        scores: Mapping[str, float] = MappingProxyType({}),
        notes: tuple[str, ...] = (),
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
            expected=dict(expected),
            notes=(*known.notes, *notes),
            **({"scores": dict(scores)} if scores else {}),
        )
        return self._job(self.history.trials[number])

    def _job(self, trial: Trial) -> Job:
        self._tell("started", trial)
        return Job(
            trial=trial.number, kind=trial.kind, name=trial.name, genotype=trial.genotype.to_json(), hash=trial.hash,
            seed=self.campaign.seed * 100_003 + trial.number,
            latency=self.history.latencies.get((trial.hash, self.device)), until=self._until(trial),
            training_state=trial.training_state,
        )  # fmt: skip

    # -- rungs ----------------------------------------------------------------------------------------------------

    def open_check(self) -> int:
        """Start nothing but the trials that are finished after all; how many they are.

        What the rule expects of every trial that was cut short is recorded before any of them is finished.
        """
        trials = list(self.history.trials.values())
        cut, self._checks = cut_short(trials), deque(self._to_finish())
        if cut and not self._assessed(cut):
            chances = self.rule.chances(trials, cut)
            self.record("assessed", chances=chances, checked=list(self._checks), cut=[t.number for t in cut])
        for trial in cut:
            if trial.state == "stopped" and trial.number not in self._checks and trial.training_state:
                (self.folder / trial.training_state).unlink(missing_ok=True)
        return len(self._checks)

    def _assessed(self, cut: list[Trial]) -> bool:
        """Whether a search that was stopped in the middle of this did so: asked again, the rule knows some answers."""
        asked = self._drawn()
        begun = bool(asked) and self.history.checked.issuperset(asked)
        return begun and self.history.assessed.issuperset(t.number for t in cut)

    def _drawn(self) -> list[int]:
        """Trials that were cut short and are to be finished in the end, or have been."""
        cut = {t.number for t in cut_short(list(self.history.trials.values()))}
        return drawn(cut | self.history.checked, self.campaign.fidelity.check, self.campaign.seed)

    def _to_finish(self) -> list[int]:
        return [n for n in self._drawn() if self.history.trials[n].state in ("paused", "stopped")]

    def _judge(self, trial: Trial) -> None:
        """At a rung. The chance is recorded with whatever decision the rule takes, since the report states it."""
        trials = list(self.history.trials.values())
        decision = self.rule.decide(trials, trial)
        chance = self.rule.chances(trials, [trial]).get(trial.number)
        self.record("judged", trial=trial.number, decision=decision, chance=chance)
        if decision != "continue":
            self._tell("paused", self.history.trials[trial.number])

    def _resume(self, number: int) -> Job:
        """From where the training stands, or from its first epoch where its state has been lost."""
        kept = self.history.trials[number].training_state
        self.record("resumed", trial=number, anew=kept is None or not (self.folder / kept).is_file())
        return self._job(self.history.trials[number])

    def _resume_any(self) -> Job | None:
        """Where nothing new is left to try, what was paused deserves the rest of the budget: the furthest first."""
        paused = [t for t in self.history.trials.values() if t.state == "paused"]
        best = max(paused, key=lambda t: (len(t.curve), self.history.chances.get(t.number, 0.0)), default=None)
        return None if best is None else self._resume(best.number)

    def _until(self, trial: Trial) -> int | None:
        """The epoch of the rung that a job of this trial ends at; None for the end of the schedule."""
        if trial.kind == "reference" or trial.number in self.history.checked:
            return None
        return self.rule.next_rung(len(trial.curve))

    def _sweep(self) -> None:
        """States that a killed process left behind and nothing in the record points at."""
        kept = {t.training_state for t in self.history.trials.values()}
        for path in (self.folder / "checkpoints").glob("*.state.safetensors*"):
            if f"checkpoints/{path.name}" not in kept:
                path.unlink()

    def _drop_state(self, job: Job) -> None:
        """What the job went on from, once the record holds what came of it."""
        if job.training_state is not None:
            (self.folder / job.training_state).unlink(missing_ok=True)

    # -- the record -----------------------------------------------------------------------------------------------

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


def rule_of(campaign: Campaign) -> Rule:
    """The rule that the campaign names, with its settings."""
    settings = campaign.fidelity.model_dump(exclude={"name", "check"})
    return make_rule(campaign.fidelity.name, campaign.objective_list, campaign.training.epochs, **settings)
