"""The end of a search: who is or may be on the front is measured again, and the test split is opened for the front."""

import time
from statistics import median

from nas.execution.base import Executor
from nas.loop import Loop
from nas.progress import SearchProgress
from nas.together import Together, measure_together
from nas.trial import Trial
from nas.uncertainty import DOUBT, undecided
from nas.worker import accuracies_on_test

SPARE_SHARE = 0.1  # of the budget's minutes, at most, to tell apart what could swap
ENOUGH = 5  # networks predicted and measured, to tell the factor between the two
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
    """Measure until every contender has been, or has failed to be; then, in spare time, until none could swap."""
    tried: set[int] = set()
    _put_on_scale(loop, again)  # trials that are new since an earlier end
    while any(t.number not in tried and not _done(t, again) for t in contenders(loop)):
        tried |= _measure(loop, executor, again, progress)
    budget = 60 * loop.campaign.budget.minutes
    until = time.monotonic() + min(SPARE_SHARE * budget, budget - loop.elapsed())
    for _ in range(SESSIONS - 1):
        open_ = undecided(contenders(loop), loop.campaign.objective_list, seed=loop.campaign.seed)
        if not open_ or time.monotonic() + loop.campaign.latency.seconds > until:
            return
        progress.say(f"{len(open_)} networks are too close to tell which is better; measuring more in spare time")
        _measure(loop, executor, again, progress)


def _group(loop: Loop) -> list[Trial]:
    """Contenders, references, and whoever was measured before: what stands beside a network in a session changes its
    time, since they share the caches, so no session may hold fewer than the one before."""
    numbers, run = {t.number for t in contenders(loop)}, loop.run()
    references = [t for t in run.references() if t.state == "complete"]
    return [t for t in run.complete() if t.number in numbers or t.measured_again] + references


def _done(trial: Trial, again: tuple[str, ...]) -> bool:
    return trial.measured_again.issuperset(again)


def _measure(loop: Loop, executor: Executor, again: tuple[str, ...], progress: SearchProgress) -> set[int]:
    """One session; what it could not measure keeps the value that it has, and a note says so. Returns who was asked."""
    group = _group(loop)
    progress.say(f"measuring {len(group)} networks once more, together")
    genotypes = {str(t.number): t.genotype.to_json() for t in group}
    try:
        session = executor.call(measure_together, loop.campaign, genotypes, loop.history.reference_ms)
    except Exception as error:  # a device that is gone must not cost the campaign its results
        notes = [f"the front could not be measured again: {str(error).strip().partition(chr(10))[0]}"]
    else:
        notes = [*session.notes, *_record(loop, again, session)]
    for note in notes:
        loop.record("note", text=note)
        progress.say(note)
    return {t.number for t in group}


def _record(loop: Loop, again: tuple[str, ...], session: Together) -> list[str]:
    """Returns what went wrong."""
    errors = session.errors | {n: f"found {m}" for n, m in session.found.items() if not m.finite}
    for number, measured in session.found.items():
        if number in errors:
            continue
        costs = {name: cost for name, cost in measured.costs().items() if name in again}
        loop.record(
            "remeasured", trial=int(number), costs=costs, device=session.device, reference_ms=session.reference_ms
        )  # fmt: skip
        _turn_away(loop, int(number))
    _put_on_scale(loop, again)
    return [f"trial {number} could not be measured again: {error}" for number, error in errors.items()]


def _put_on_scale(loop: Loop, again: tuple[str, ...]) -> None:
    """What is only predicted follows what was measured: a profile of another hour may be off by one factor for all."""
    for name in again:
        both = [t for t in loop.history.trials.values() if name in t.predicted and name in t.measured_again]
        if len(both) >= ENOUGH:
            factor = median(t.values[name] / t.predicted[name][0] for t in both)
            loop.record("scaled", metric=name, factor=factor)


def _turn_away(loop: Loop, number: int) -> None:
    """A trial whose whole interval breaks a constraint after all leaves the front."""
    trial = loop.history.trials[number]
    for constraint in loop.campaign.constraint_list:
        ends = trial.intervals.get(constraint.metric, ())
        if trial.state == "complete" and trial.kind == "search" and ends and not any(map(constraint.holds, ends)):
            value = trial.values[constraint.metric]
            loop.record("broken", trial=number, error=f"{constraint} is broken: {value:.4g} when measured again")
