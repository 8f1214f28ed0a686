"""The contract of a rule: history in, decision out. It holds no state, so that a resumed campaign decides alike."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from nas.fidelity.chance import chances
from nas.objective import Objective
from nas.registry import Registry
from nas.trial import Trial

Decision = Literal["continue", "pause", "stop"]

RULES: "Registry[type[Rule]]" = Registry("fidelity")


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """Decides at rungs, which are shares of the schedule of `epochs`. Same arguments, same answer.

    keep: share of the trials at a rung that go on. threshold: probability of being on the front below which a trial
    is not trained further. startup: trials trained in full before anything is predicted. takes: what has an effect.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"rungs", "threshold", "check"})

    objectives: tuple[Objective, ...]
    epochs: int
    rungs: tuple[float, ...] = (0.25, 0.5)
    keep: float = 0.5
    threshold: float = 0.05
    startup: int = 12

    @abstractmethod
    def decide(self, trials: Sequence[Trial], trial: Trial) -> Decision:
        """What becomes of `trial`, which has reached a rung. pause: it may go on later; stop: it will not.

        trials: all of the campaign so far, this one included, in any state.
        """

    @abstractmethod
    def resume(self, trials: Sequence[Trial]) -> int | None:
        """The number of the paused trial that deserves a free worker more than a new one does, if there is one."""

    def next_rung(self, epoch: int) -> int | None:
        """The epoch of the first rung after `epoch`; None from the last one on."""
        return next((rung for rung in self.rung_epochs() if rung > epoch), None)

    def rung_epochs(self) -> tuple[int, ...]:
        """Shares of the schedule as whole epochs, rounded up, without the end of the schedule."""
        epochs = {max(1, math.ceil(round(share * self.epochs, 6))) for share in self.rungs}
        return tuple(sorted(e for e in epochs if e < self.epochs))

    def chances(self, trials: Sequence[Trial], asked: Sequence[Trial]) -> dict[int, float]:
        """Number of each partly trained trial -> probability that it ends on the front; absent where unknown."""
        return chances(trials, asked, self.objectives, self.epochs)

    def hopeful(self, trials: Sequence[Trial], asked: Sequence[Trial]) -> list[Trial]:
        """Those whose chance is not known to be below the threshold: their optimistic bound reaches the front."""
        found = self.chances(trials, asked) if asked else {}
        return [t for t in asked if found.get(t.number, 1.0) >= self.threshold]


def make_rule(name: str, objectives: Sequence[Objective], epochs: int, **settings: object) -> Rule:
    """A rule by name; settings are `rungs`, `keep`, `threshold` and `startup`."""
    return RULES[name](objectives=tuple(objectives), epochs=epochs, **settings)  # type: ignore[arg-type]


def cut_short(trials: Sequence[Trial]) -> list[Trial]:
    """Search trials that wait at a rung or were stopped there."""
    return [t for t in trials if t.kind == "search" and t.state in ("paused", "stopped")]
