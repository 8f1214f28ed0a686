"""The end of a search: who is or may be on the front is measured again, and the test split is opened for the front."""

import time

from nas.execution.base import Executor
from nas.loop import Loop
from nas.progress import SearchProgress
from nas.together import measure_together
from nas.trial import Trial
from nas.uncertainty import DOUBT, undecided
from nas.worker import accuracies_on_test

SPARE_SHARE = 0.1  # of the budget's minutes, at most, to tell apart what could swap
SESSIONS = 5  # networks that so many sessions cannot tell apart are equal for all that matters


def finish(loop: Loop, executor: Executor, again: tuple[str, ...], progress: SearchProgress) -> None:
    """again: the costs that are measured once more on the campaign's device; none where only profiles are at hand."""
    if again:
        _settle(loop, executor, again, progress)
    run = loop.run()
    members = {
        t.number: (t.genotype.to_json(), t.checkpoint)
        for t in run.front() + run.references()
        if t.checkpoint and (loop.folder / t.checkpoint).is_file()
    }
    for trial, accuracy in executor.call(accuracies_on_test, loop.campaign, loop.folder.resolve(), members).items():
        loop.record("tested", trial=trial, accuracy=accuracy)


def contenders(loop: Loop) -> list[Trial]:
    """The front, and every other trial that is on it with a probability above 5 %."""
    run = loop.run()
    front, beaten = {t.number for t in run.front()}, run.p_dominated()
    return [t for t in run.complete() if t.number in front or beaten.get(t.number, 1.0) < 1 - DOUBT]


def _settle(loop: Loop, executor: Executor, again: tuple[str, ...], progress: SearchProgress) -> None:
    """Measure every contender once; then, while there is spare time, those that could swap."""
    tried: set[int] = set()
    while fresh := [t for t in contenders(loop) if t.number not in tried and not _done(t, again)]:
        references = [t for t in loop.run().references() if t.state == "complete"]
        group = fresh + [t for t in references if t.number not in tried and not _done(t, again)]
        tried |= {t.number for t in group}
        progress.say(f"measuring {len(group)} networks once more, together")
        _measure(loop, executor, again, group, progress)
    budget = 60 * loop.campaign.budget.minutes
    until = time.monotonic() + min(SPARE_SHARE * budget, budget - loop.elapsed())
    for _ in range(SESSIONS - 1):
        open_ = _open(loop)
        if not open_ or time.monotonic() + loop.campaign.latency.seconds > until:
            return
        progress.say(f"measuring {len(open_)} networks that could swap once more")
        _measure(loop, executor, again, open_, progress)


def _open(loop: Loop) -> list[Trial]:
    near = contenders(loop)
    numbers = undecided(near, loop.campaign.objective_list, seed=loop.campaign.seed)
    return [t for t in near if t.number in numbers]


def _done(trial: Trial, again: tuple[str, ...]) -> bool:
    return trial.measured_again.issuperset(again)


def _measure(
    loop: Loop, executor: Executor, again: tuple[str, ...], group: list[Trial], progress: SearchProgress
) -> None:
    """One session; what it could not measure keeps the value that it has, and a note says so."""
    genotypes = {str(t.number): t.genotype.to_json() for t in group}
    found = executor.call(measure_together, loop.campaign, genotypes, loop.history.reference_ms)
    for number, measured in found.found.items():
        costs = {name: cost for name, cost in measured.costs().items() if name in again}
        loop.record(
            "remeasured", trial=int(number), costs=costs, device=found.device, reference_ms=found.reference_ms
        )  # fmt: skip
        _turn_away(loop, int(number))
    failed = [f"trial {number} could not be measured again: {error}" for number, error in found.errors.items()]
    for note in (*found.notes, *failed):
        loop.record("note", text=note)
        progress.say(note)


def _turn_away(loop: Loop, number: int) -> None:
    """A trial whose whole interval breaks a constraint after all leaves the front."""
    trial = loop.history.trials[number]
    for constraint in loop.campaign.constraint_list:
        ends = trial.intervals.get(constraint.metric, ())
        if trial.state == "complete" and trial.kind == "search" and ends and not any(map(constraint.holds, ends)):
            value = trial.values[constraint.metric]
            loop.record("broken", trial=number, error=f"{constraint} is broken: {value:.4g} when measured again")
