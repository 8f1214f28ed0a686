"""Zero-cost scores in a search: those of its networks, remembered, and which of them the gate lets through."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import evaluators.zero_cost  # noqa: F401  registers the scores
from evaluators.threads import threads
from evaluators.zero_cost.base import SCORES, SIZES, Batch
from evaluators.zero_cost.batches import COUNT, SIZE
from evaluators.zero_cost.gate import LEAST_TRIALS, Verdict, judge
from evaluators.zero_cost.many import score_genotypes
from nas.errors import UserError, unknown
from nas.genotype import Genotype
from nas.trial import Trial

LONGEST = 32  # networks looked at for one proposal
KEPT = 5_000  # networks remembered: proposals ask for the same ones again and again
SHARE = 0.1  # at most, of the images that a training sees: each score takes about as much as a step over its images
Lease = Callable[[], AbstractContextManager[None]]


class NetworkScores:
    """Genotype -> scores of the network as it is before training, on one core. Same arguments, same numbers.

    lease: held while a network is scored, so that a measurement on the same device is not disturbed.
    """

    def __init__(
        self, names: Sequence[str], batches: Sequence[Batch], classes: int, seed: int, lease: Lease = nullcontext
    ) -> None:
        self.names, self._batches, self._classes, self._seed, self._lease = tuple(names), batches, classes, seed, lease
        self._values: dict[Genotype, Mapping[str, float]] = {}
        self._errors: dict[Genotype, Mapping[str, str]] = {}
        self._verdicts: dict[tuple[int, ...], tuple[Verdict, ...]] = {}

    def of(self, genotype: Genotype) -> Mapping[str, float]:
        """Its scores by name; one that fails is absent."""
        if genotype not in self._values:
            if len(self._values) >= KEPT:
                self._values.clear()
                self._errors.clear()
            with self._lease(), threads(1):  # a sum over threads would depend on how many; other cores are at work
                found = next(
                    score_genotypes([genotype], self._batches, self.names, classes=self._classes, seed=self._seed)
                )
            self._values[genotype], self._errors[genotype] = found.values, found.errors
        return self._values[genotype]

    def notes(self, genotype: Genotype) -> tuple[str, ...]:
        """Why scores are absent, one line each."""
        self.of(genotype)
        return tuple(f"score {name}: {reason}" for name, reason in self._errors[genotype].items())

    def judged(self, history: Sequence[Trial]) -> tuple[int, tuple[Verdict, ...]]:
        """How many of these trials the gate has looked at, and what it says of each score."""
        trials = judged_trials(history)
        mark = tuple(t.number for t in trials)
        if mark not in self._verdicts:
            self._verdicts[mark] = verdicts(trials, self.names, self._seed)
        return len(trials), self._verdicts[mark]

    def passed(self, history: Sequence[Trial]) -> tuple[str, ...]:
        """Names of the scores that may be used after these trials."""
        return tuple(v.score for v in self.judged(history)[1] if v.used)


def networks_to_score(names: Sequence[str], images: int) -> int:
    """How many a proposal may look at. images: that one training sees; a limit in seconds would depend on the load."""
    return min(LONGEST, int(SHARE * images / (COUNT * SIZE * max(len(names), 1))))


def judged_trials(history: Sequence[Trial]) -> list[Trial]:
    """Those that the gate has looked at: the first 20, 30, ..., 90, 100, 200, ... to be finished.

    In steps, so that a resumed search and one that went on judge the same trials, and a verdict is used for a while.
    """
    complete = {t.hash: t for t in reversed(history) if t.state == "complete" and "accuracy" in t.values and t.scores}
    ordered = sorted(complete.values(), key=lambda t: (t.finished or 0.0, t.number))
    step = max(10, 10 ** (len(str(len(ordered))) - 1))
    count = len(ordered) // step * step
    return ordered[:count] if count >= LEAST_TRIALS else []


def verdicts(trials: Sequence[Trial], names: Sequence[str], seed: int) -> tuple[Verdict, ...]:
    """The gate's, one per score; none before it has looked at any trial."""
    if not trials:
        return ()
    columns: dict[str, list[float | None]] = {
        "params": [t.values["params_m"] for t in trials],
        "macs": [t.values["macs_g"] for t in trials],
        "depth": [float(sum(stage.depth for stage in t.genotype.stages)) for t in trials],
    }
    columns |= {name: [t.scores.get(name) for t in trials] for name in names}
    accuracy = [t.values["accuracy"] for t in trials]
    return tuple(judge(name, columns, accuracy, seed=seed) for name in names)


def check_scores(names: Sequence[str]) -> None:
    """Raises UserError for a score that does not exist, or that samplers know already."""
    choices = [name for name in SCORES if name not in SIZES]
    for name in names:
        if name in SIZES:
            raise UserError(f"sampler.scores: {name} is a cost, which samplers know already; choose among {choices}")
        if name not in choices:
            raise unknown("score", name, choices, "sampler.scores")
