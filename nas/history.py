"""Journal events -> trials: the state of a campaign as a pure function of its record."""

from dataclasses import dataclass, field, replace
from typing import Any

from nas.genotype import Genotype
from nas.journal import Event
from nas.trial import Expectation, Outcome, Point, Trial
from nas.uncertainty import pooled


@dataclass(slots=True, kw_only=True)
class History:
    """What the events so far amount to. `apply` is the only way it changes."""

    trials: dict[int, Trial] = field(default_factory=dict)
    rejections: list[tuple[str, str, str, float]] = field(default_factory=list)
    latencies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)  # (hash, device) -> a Measured
    again: dict[tuple[int, str], list[dict[str, Any]]] = field(default_factory=dict)  # (trial, device) -> sessions
    reference_ms: dict[str, float | None] = field(default_factory=dict)  # device -> the first session's reference
    test_accuracy: dict[int, float] = field(default_factory=dict)
    chances: dict[int, float] = field(default_factory=dict)  # trial -> of ending on the front, said at its last rung
    decisions: dict[int, str] = field(default_factory=dict)  # trial that waits at a rung -> what the rule said there
    assessed: set[int] = field(default_factory=set)  # trials cut short when the rule was last asked about all of them
    checked: set[int] = field(default_factory=set)  # trials cut short that are finished to check these chances
    campaign: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)  # metric -> measured over predicted
    gates: list[tuple[int, float, list[dict[str, Any]]]] = field(default_factory=list)  # (trials, time, verdicts)
    notes: list[str] = field(default_factory=list)
    status: str = "running"
    seconds: float = 0.0  # wall time of all sessions
    _session_start: float = 0.0
    _session_end: float = 0.0

    def apply(self, event: Event) -> None:
        self._clock(event)
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _clock(self, event: Event) -> None:
        if event["event"] == "session":
            self._session_start = self._session_end = event["at"]
            return
        self.seconds += max(0.0, event["at"] - self._session_end) if self._session_end else 0.0
        self._session_end = event["at"]

    def _on_session(self, event: Event) -> None:
        self.campaign, self.environment, self.status = event["campaign"], event["environment"], "running"

    def _on_note(self, event: Event) -> None:
        self.notes.append(event["text"])

    def _on_gated(self, event: Event) -> None:
        self.gates.append((event["trials"], event["at"], event["verdicts"]))

    def _on_rejected(self, event: Event) -> None:
        self.rejections.append((event["reason"], event["detail"], event["hash"], event["at"]))

    def _on_started(self, event: Event) -> None:
        self.trials[event["trial"]] = Trial(
            number=event["trial"], kind=event["kind"], name=event["name"], state="running",
            genotype=Genotype.from_json(event["genotype"]), hash=event["hash"], code=event["code"],
            values=event["costs"], started=event["at"], notes=tuple(event.get("notes", ())),
            predicted={name: (mean, low, high) for name, (mean, low, high) in event.get("predicted", {}).items()},
            intervals={name: (low, high) for name, (_, low, high) in event.get("predicted", {}).items()},
            expected={name: Expectation(**found) for name, found in event.get("expected", {}).items()},
            scores=event.get("scores", {}),
        )  # fmt: skip

    def _on_restarted(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        self.trials[event["trial"]] = replace(trial, state="running", started=event["at"])

    def _on_measured(self, event: Event) -> None:
        self.latencies[event["hash"], event["device"]] = event["latency"]

    def _on_finished(self, event: Event) -> None:
        outcome = outcome_from_json(event["outcome"])
        trial = joined(self.trials[event["trial"]], outcome)
        self.trials[event["trial"]] = replace(
            trial, error=outcome.error, checkpoint=outcome.checkpoint, training_state=None, finished=event["at"]
        )  # fmt: skip

    def _on_paused(self, event: Event) -> None:
        """At a rung, with the state of the training kept."""
        outcome = outcome_from_json(event["outcome"])
        trial = joined(self.trials[event["trial"]], outcome)
        self.trials[event["trial"]] = replace(trial, training_state=outcome.checkpoint, finished=event["at"])

    def _on_judged(self, event: Event) -> None:
        number = event["trial"]
        self.decisions[number] = event["decision"]
        if event["chance"] is not None:
            self.chances[number] = event["chance"]
        if event["decision"] == "stop":
            self.trials[number] = replace(self.trials[number], state="stopped")

    def _on_resumed(self, event: Event) -> None:
        """anew: from the first epoch, since the state of the training is gone."""
        self.decisions.pop(event["trial"], None)
        trial = replace(self.trials[event["trial"]], state="running", finished=None)
        self.trials[event["trial"]] = replace(trial, curve=(), training_state=None) if event["anew"] else trial

    def _on_assessed(self, event: Event) -> None:
        self.chances |= {int(number): chance for number, chance in event["chances"].items()}
        self.checked |= set(event["checked"])
        self.assessed = set(event.get("cut", ()))  # absent in earlier records

    def _on_remeasured(self, event: Event) -> None:
        """A measurement beside the other contenders; all of one device are taken together."""
        event = _with_device(event)
        number, device = event["trial"], event["device"]
        self.again.setdefault((number, device), []).append(event["costs"])
        self.reference_ms.setdefault(device, event["reference_ms"])
        sessions, trial = self.again[number, device], self.trials[number]
        found = {name: pooled([tuple(s[name]) for s in sessions if name in s]) for name in event["costs"]}
        self.trials[number] = replace(
            trial,
            values={**trial.values, **{name: value for name, (value, _, _) in found.items()}},
            intervals={**trial.intervals, **{name: (low, high) for name, (_, low, high) in found.items()}},
            measured_again=trial.measured_again | found.keys(),
        )

    def _on_scaled(self, event: Event) -> None:
        """Predictions of what was not measured, times the factor that the measured ones ask for."""
        name, factor = event["metric"], event["factor"]
        self.scales[name] = factor
        for number, trial in self.trials.items():
            if name in trial.predicted and name not in trial.measured_again:
                value, low, high = (factor * x for x in trial.predicted[name])
                self.trials[number] = replace(
                    trial, values={**trial.values, name: value}, intervals={**trial.intervals, name: (low, high)}
                )

    def _on_broken(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        self.trials[event["trial"]] = replace(trial, state="infeasible", error=event["error"])

    def _on_tested(self, event: Event) -> None:
        self.test_accuracy[event["trial"]] = event["accuracy"]

    def _on_closed(self, event: Event) -> None:
        self.status = event["status"]

    def running(self) -> list[Trial]:
        return [t for t in self.trials.values() if t.state == "running"]

    def unjudged(self) -> list[Trial]:
        """Trials that reached a rung when the search was killed, before the rule could say what becomes of them."""
        return [t for t in self.trials.values() if t.state == "paused" and t.number not in self.decisions]


def _with_device(event: Event) -> Event:
    """Earlier records knew one device and one cost."""
    if "device" in event:
        return event
    found = event["latency"]
    costs = {"latency_ms": [found["ms"], found["low"], found["high"]]}
    return {**event, "device": "", "costs": costs, "reference_ms": None}


def replay(events: list[Event]) -> History:
    history = History()
    for event in events:
        history.apply(event)
    return history


def joined(trial: Trial, outcome: Outcome) -> Trial:
    """A trial and what one more job found out about it."""
    seconds = {k: trial.seconds.get(k, 0.0) + outcome.seconds.get(k, 0.0) for k in trial.seconds | outcome.seconds}
    counted = [j for j in (trial.joules, outcome.joules) if j is not None]
    return replace(
        trial, state=outcome.state, values={**trial.values, **outcome.values},
        intervals={**trial.intervals, **outcome.intervals}, curve=trial.curve + outcome.curve,
        seconds={k: round(v, 4) for k, v in seconds.items()}, notes=tuple(dict.fromkeys(trial.notes + outcome.notes)),
        joules=sum(counted) if counted else None,
    )  # fmt: skip


def outcome_from_json(data: dict[str, Any]) -> Outcome:
    """The inverse of dataclasses.asdict for an Outcome."""
    return Outcome(
        state=data["state"],
        values=dict(data["values"]),
        intervals={k: (v[0], v[1]) for k, v in data["intervals"].items()},
        curve=tuple(Point(**p) for p in data["curve"]),
        seconds=dict(data["seconds"]),
        notes=tuple(data["notes"]),
        error=data["error"],
        checkpoint=data["checkpoint"],
        joules=data.get("joules"),
    )
