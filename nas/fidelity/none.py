"""Every trial is trained over its whole schedule."""

from collections.abc import Sequence

from nas.fidelity.base import RULES, Decision, Rule
from nas.trial import Trial


@RULES.register("none")
class NoRule(Rule):
    """Trains every trial in full; the baseline that a rule has to beat."""

    takes = frozenset[str]()

    def rung_epochs(self) -> tuple[int, ...]:
        return ()

    def decide(self, trials: Sequence[Trial], trial: Trial) -> Decision:
        return "continue"

    def resume(self, trials: Sequence[Trial]) -> int | None:
        return None
