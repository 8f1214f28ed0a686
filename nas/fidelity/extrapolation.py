"""Learning curves extrapolated to the end (as in Domhan et al., IJCAI 2015), held against the front so far."""

from collections.abc import Sequence

from nas.fidelity.base import RULES, Decision, Rule
from nas.trial import Trial

HOPELESS = 0.1  # of the threshold: what is less probable than that is not looked at again


@RULES.register("extrapolation")
class ExtrapolationRule(Rule):
    """Pauses a trial whose probability of ending on the front is below `threshold`; nothing before `startup` ends."""

    takes = Rule.takes | {"startup"}

    def decide(self, trials: Sequence[Trial], trial: Trial) -> Decision:
        chance = self._chances(trials, [trial]).get(trial.number, 1.0)
        if chance >= self.threshold:
            return "continue"
        return "pause" if chance >= HOPELESS * self.threshold else "stop"

    def resume(self, trials: Sequence[Trial]) -> int | None:
        paused = [t for t in trials if t.state == "paused"]
        found = self._chances(trials, paused)
        best = max(paused, key=lambda t: found.get(t.number, 1.0), default=None)
        return best.number if best and found.get(best.number, 1.0) >= self.threshold else None

    def _chances(self, trials: Sequence[Trial], asked: Sequence[Trial]) -> dict[int, float]:
        """None of them before enough trials have been trained in full."""
        full = sum(t.state == "complete" for t in trials)
        return self.chances(trials, asked) if asked and full >= self.startup else {}
