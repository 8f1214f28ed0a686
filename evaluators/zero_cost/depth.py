"""Number of blocks: the third baseline, and what scores that add up layers mostly measure."""

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("depth")
def depth(probe: Probe) -> float:
    """Over all stages or branches."""
    return float(probe.subject.depth)
